// The ones of a word, on any processor.
#pragma once

#include <cstdint>

namespace grainhash {

// Static, so that each file has its own: some are compiled for instruction sets of their own.
static inline std::uint32_t portable_popcount(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<std::uint32_t>((x * 0x0101010101010101u) >> 56);
}

}  // namespace grainhash
