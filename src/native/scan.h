// Exact k nearest items of a collection of codes, by a scan over all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace grainhash {

// Items of one code each, or of the run of codes that `offsets` gives them. Nothing is owned.
struct Collection {
  const std::uint8_t* codes;
  std::size_t n_bytes;          // of one code
  const std::int64_t* offsets;  // n_items + 1, ascending from 0; null where an item is one code
  const bool* allow;            // n_items; null where every item may be a hit
  std::size_t n_items;

  std::size_t first_code(std::size_t item) const {
    return offsets ? static_cast<std::size_t>(offsets[item]) : item;
  }
  bool allows(std::size_t item) const { return !allow || allow[item]; }

  // Items that can be hits: allowed, with at least one code.
  std::size_t n_eligible() const;
};

// `k` results for each query, in rows ordered by (distance, position).
struct Neighbours {
  std::vector<std::int32_t> distances;
  std::vector<std::int64_t> positions;  // of the item in the collection
  std::vector<std::int64_t> members;    // of its best code among its codes, the lowest of equals
};

// Finds the `k` items nearest to each query, for `k` of at most `n_eligible()`. The answer does
// not depend on `n_threads`, which is an upper bound: little work runs on fewer.
Neighbours knn(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries,
               std::size_t k, std::size_t n_threads);

}  // namespace grainhash
