// The row kernel: one code after the other, eight bytes at a time. Included like `sliced.h`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../popcount.h"
#include "kernels.h"

namespace grainhash {
namespace {

inline std::int32_t popcount(std::uint64_t x) {
#if defined(__POPCNT__) || defined(__aarch64__)
  return __builtin_popcountll(x);
#else
  return static_cast<std::int32_t>(portable_popcount(x));
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

template <std::size_t kBytes>
void distances_at_of(const std::uint8_t* query, const Rows& rows, const std::uint32_t* positions, std::size_t n,
                     std::int32_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = distance_of<kBytes>(query, rows.codes + positions[i] * rows.stride, rows.n_bytes);
  }
}

void distances_at(const std::uint8_t* query, const Rows& rows, const std::uint32_t* positions, std::size_t n,
                  std::int32_t* out) {
  switch (rows.n_bytes) {
    case 8: return distances_at_of<8>(query, rows, positions, n, out);
    case 16: return distances_at_of<16>(query, rows, positions, n, out);
    case 32: return distances_at_of<32>(query, rows, positions, n, out);
    case 64: return distances_at_of<64>(query, rows, positions, n, out);
    default: return distances_at_of<0>(query, rows, positions, n, out);
  }
}

std::size_t near_tags(const std::uint64_t* entries, std::size_t n, std::uint32_t tag, std::uint32_t most,
                      std::uint32_t* out) {
  std::size_t n_near = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out[n_near] = static_cast<std::uint32_t>(entries[i]);
    n_near += static_cast<std::uint32_t>(popcount((entries[i] >> 32) ^ tag)) <= most;
  }
  return n_near;
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
