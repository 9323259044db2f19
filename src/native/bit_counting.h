// The two loops of multi-index hashing that count bits, each for scattered codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collection.h"

namespace grainhash {

struct BitCounting {
  // Distances from a query to the codes at some positions.
  void (*distances_at)(const Collection& collection, const std::uint8_t* query,
                       const std::uint32_t* positions, std::size_t n, std::uint32_t* out);

  // Of `n` entries, each a tag in the upper 32 bits and a position in the lower, writes the positions of
  // those whose tags differ from `tag` in at most `most` bits, and returns how many there are.
  std::size_t (*near_tags)(const std::uint64_t* entries, std::size_t n, std::uint32_t tag,
                           std::uint32_t most, std::uint32_t* out);
};

// For codes of `n_bytes` bytes, with the instruction that counts bits unless the portable kernels are in
// use.
BitCounting bit_counting(std::size_t n_bytes);

// Where it is not worth choosing between instruction sets.
inline std::uint32_t portable_popcount(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<std::uint32_t>((x * 0x0101010101010101u) >> 56);
}

}  // namespace grainhash
