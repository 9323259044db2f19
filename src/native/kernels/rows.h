// The row kernel: one code after the other, eight bytes at a time. Included like `sliced.h`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

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

// Codes may start at any address.
template <typename Word = std::uint64_t>
inline std::uint64_t load(const std::uint8_t* bytes) {
  Word word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// A code of less than eight bytes, put together in a register: copied into a word in memory piece by piece, it
// would wait there until all pieces are written.
inline std::uint64_t load_short(const std::uint8_t* bytes, std::size_t n) {
  std::uint64_t word = 0;
  if (n & 4) word = load<std::uint32_t>(bytes);
  if (n & 2) word |= load<std::uint16_t>(bytes + (n & 4)) << (8 * (n & 4));
  if (n & 1) word |= load<std::uint8_t>(bytes + (n & 6)) << (8 * (n & 6));
  return word;
}

// `kBytes` is the width where it is known while compiling, 0 where it is not: then it is more than eight.
template <std::size_t kBytes>
inline std::int32_t distance_of(const std::uint8_t* query, const std::uint8_t* code, std::size_t n_bytes) {
  const std::size_t width = kBytes ? kBytes : n_bytes;
  if (width < 8) return popcount(load_short(query, width) ^ load_short(code, width));
  std::int32_t distance = 0;
  std::size_t b = 0;
  for (; b + 8 <= width; b += 8) distance += popcount(load(query + b) ^ load(code + b));
  // The last word starts where it still fits, and gives up the bytes that are counted already: on every
  // processor that this runs on, the first byte of memory is the lowest of a word.
  if (b < width) {
    const std::size_t last = width - 8;
    distance += popcount((load(query + last) ^ load(code + last)) >> (8 * (b - last)));
  }
  return distance;
}

// Calls `f` with the width as a constant where there is a loop compiled for it, else with 0.
template <typename F>
inline auto with_width(std::size_t n_bytes, F f) {
  switch (n_bytes) {
    case 1: return f(std::integral_constant<std::size_t, 1>{});
    case 2: return f(std::integral_constant<std::size_t, 2>{});
    case 3: return f(std::integral_constant<std::size_t, 3>{});
    case 4: return f(std::integral_constant<std::size_t, 4>{});
    case 5: return f(std::integral_constant<std::size_t, 5>{});
    case 6: return f(std::integral_constant<std::size_t, 6>{});
    case 7: return f(std::integral_constant<std::size_t, 7>{});
    case 8: return f(std::integral_constant<std::size_t, 8>{});
    case 16: return f(std::integral_constant<std::size_t, 16>{});
    case 32: return f(std::integral_constant<std::size_t, 32>{});
    case 64: return f(std::integral_constant<std::size_t, 64>{});
    default: return f(std::integral_constant<std::size_t, 0>{});
  }
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
  with_width(rows.n_bytes, [&](auto width) { distances_of<width>(query, rows, out); });
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
  with_width(rows.n_bytes, [&](auto width) { distances_at_of<width>(query, rows, positions, n, out); });
}

template <std::size_t kBytes>
void nearest_of(const Rows& rows, const std::uint8_t* centres, std::size_t n_centres, std::int32_t* labels,
                std::int32_t* out) {
  const std::size_t width = kBytes ? kBytes : rows.n_bytes;
  const std::uint8_t* code = rows.codes;
  for (std::size_t i = 0; i < rows.n; ++i, code += rows.stride) {
    auto nearest = static_cast<std::int32_t>(rows.n_bytes * 8 + 1);
    std::int32_t label = 0;
    const std::uint8_t* centre = centres;
    for (std::size_t c = 0; c < n_centres; ++c, centre += width) {
      const std::int32_t distance = distance_of<kBytes>(code, centre, width);
      label = distance < nearest ? static_cast<std::int32_t>(c) : label;
      nearest = distance < nearest ? distance : nearest;
    }
    labels[i] = label;
    out[i] = nearest;
  }
}

void nearest(const Rows& rows, const std::uint8_t* centres, std::size_t n_centres, std::int32_t* labels,
             std::int32_t* out) {
  with_width(rows.n_bytes, [&](auto width) { nearest_of<width>(rows, centres, n_centres, labels, out); });
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
  return with_width(rows.n_bytes, [&](auto width) { return least_row_of<width>(query, rows); });
}

}  // namespace
}  // namespace grainhash
