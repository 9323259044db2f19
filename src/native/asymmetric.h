// Asymmetric distance: the bits of a code against the real values that a query's bits are the signs of.
//
// A bit that differs counts for as much as the query was sure of it (A. Gordo, F. Perronnin, Y. Gong, S.
// Lazebnik, "Asymmetric distances for binary embeddings", TPAMI 2014). Weights are integers, so that sums
// and the order they make are the same on every processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "collection.h"

namespace grainhash {

constexpr std::int32_t kMaxWeight = 1 << 20;  // a sum over 1024 bits still fits

// A row for each query.
struct WeightedSums {
  std::vector<std::int32_t> sums;     // least over the item's codes; the largest int32 where it has none
  std::vector<std::int64_t> members;  // which of its codes, the lowest of equals; -1 where it has none
  std::vector<std::int32_t> distances;  // how many bits of that code differ; the largest int32 where there is none
};

// For each of `n_queries` queries, sums over the bits that differ, for `k` items each. `weights` are
// n_queries rows of a weight a bit, 0 to kMaxWeight; `items` rows of k below `n_items`, negative for no
// item, `items_stride` from one query's to the next's: 0 where they share one.
WeightedSums asymmetric(const Collection& collection, const std::uint8_t* queries,
                        const std::int32_t* weights, std::size_t n_queries, const std::int64_t* items,
                        std::size_t items_stride, std::size_t k);

}  // namespace grainhash
