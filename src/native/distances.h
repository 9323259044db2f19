// Hamming distances from one query to consecutive codes: the innermost loop of every search.
#pragma once

#include <cstddef>
#include <cstdint>

namespace grainhash {

// Writes the distances from `query` to `n` codes of `n_bytes` bytes each to `out`, and returns the
// least of them, so that a caller can pass over a block without a look at each.
using Distances = std::int32_t (*)(const std::uint8_t* query, const std::uint8_t* codes, std::size_t n,
                                   std::size_t n_bytes, std::int32_t* out);

// The fastest kernel this processor runs for codes of `n_bytes` bytes.
Distances distances_kernel(std::size_t n_bytes);

}  // namespace grainhash
