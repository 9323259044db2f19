// Exact search by a scan over all codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "collection.h"

namespace grainhash {

// Results for each query, in rows ordered by (distance, position). Row `q` has the entries from
// `limits[q]` to before `limits[q + 1]`.
struct Found {
  std::vector<std::int64_t> limits{0};
  std::vector<std::int32_t> distances;
  std::vector<std::int64_t> positions;  // of the item in the collection
  std::vector<std::int64_t> members;    // of its best code among its codes, the lowest of equals
};

// The `k` items nearest to each query, or as many as are allowed and have a code. The answer does
// not depend on `n_threads`, which is an upper bound: little work runs on fewer.
Found knn(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries, std::size_t k,
          std::size_t n_threads);

// All items at a distance of at most `radius` from each query.
Found range_search(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries,
                   std::int32_t radius, std::size_t n_threads);

}  // namespace grainhash
