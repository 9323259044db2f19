// The row kernel: one code after the other, eight bytes at a time. Included like `sliced.h`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace grainhash {
namespace {

inline std::int32_t popcount(std::uint64_t x) {
#if defined(__POPCNT__) || defined(__aarch64__)
  return __builtin_popcountll(x);
#else
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<std::int32_t>((x * 0x0101010101010101u) >> 56);
#endif
}

// Codes may start at any address, and the last word of a code may be a part of one.
inline std::uint64_t load(const std::uint8_t* bytes, std::size_t n = 8) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, n);
  return word;
}

// `kBytes` is the width where it is known while compiling, 0 where it is not.
template <std::size_t kBytes>
inline std::int32_t distance_of(const std::uint8_t* query, const std::uint8_t* code, std::size_t n_bytes) {
  const std::size_t width = kBytes ? kBytes : n_bytes;
  std::int32_t distance = 0;
  std::size_t b = 0;
  for (; b + 8 <= width; b += 8) distance += popcount(load(query + b) ^ load(code + b));
  if (b < width) distance += popcount(load(query + b, width - b) ^ load(code + b, width - b));
  return distance;
}

template <std::size_t kBytes>
void distances_of(const std::uint8_t* query, const Rows& rows, std::int32_t* out) {
  const std::uint8_t* code = rows.codes;
  for (std::size_t i = 0; i < rows.n; ++i, code += rows.stride) {
    out[i] = distance_of<kBytes>(query, code, rows.n_bytes);
  }
}

template <std::size_t kBytes>
std::int32_t least_row_of(const std::uint8_t* query, const Rows& rows) {
  const std::uint8_t* code = rows.codes;
  auto least = static_cast<std::int32_t>(rows.n_bytes * 8);
  for (std::size_t i = 0; i < rows.n; ++i, code += rows.stride) {
    const std::int32_t distance = distance_of<kBytes>(query, code, rows.n_bytes);
    least = distance < least ? distance : least;
  }
  return least;
}

void distances(const std::uint8_t* query, const Rows& rows, std::int32_t* out) {
  switch (rows.n_bytes) {
    case 8: return distances_of<8>(query, rows, out);
    case 16: return distances_of<16>(query, rows, out);
    case 32: return distances_of<32>(query, rows, out);
    case 64: return distances_of<64>(query, rows, out);
    default: return distances_of<0>(query, rows, out);
  }
}

std::int32_t least_row(const std::uint8_t* query, const Rows& rows) {
  switch (rows.n_bytes) {
    case 8: return least_row_of<8>(query, rows);
    case 16: return least_row_of<16>(query, rows);
    case 32: return least_row_of<32>(query, rows);
    case 64: return least_row_of<64>(query, rows);
    default: return least_row_of<0>(query, rows);
  }
}

}  // namespace
}  // namespace grainhash
