// What the native code has to compute, in the plainest way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "collection.h"

namespace grainhash::naive {

struct Answer {
  std::int32_t distance;
  std::int64_t position;
  std::int64_t member;

  bool operator==(const Answer& other) const {
    return distance == other.distance && position == other.position && member == other.member;
  }
  bool operator<(const Answer& other) const {
    return std::tie(distance, position) < std::tie(other.distance, other.position);
  }
};

// Bit 0 is the highest of the first byte.
inline unsigned bit_of(const std::uint8_t* code, std::size_t bit) { return code[bit / 8] >> (7 - bit % 8) & 1; }

inline std::int32_t distance(const std::uint8_t* a, const std::uint8_t* b, std::size_t n_bytes) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n_bytes; ++i) {
    for (unsigned differing = a[i] ^ b[i]; differing; differing &= differing - 1) ++sum;
  }
  return sum;
}

// Some consecutive bits as a number whose highest bit comes first.
inline std::uint32_t number(const std::uint8_t* code, std::size_t first, std::size_t last) {
  std::uint32_t value = 0;
  for (std::size_t bit = first; bit < last; ++bit) value = value << 1 | bit_of(code, bit);
  return value;
}

// Every item that can be a hit, in the order of answers. The offsets are sound.
inline std::vector<Answer> ranking(const Collection& collection, const std::uint8_t* query) {
  std::vector<Answer> answers;
  for (std::size_t item = 0; item < collection.n_items; ++item) {
    if (collection.allow && !collection.allow[item]) continue;
    const std::size_t first = collection.offsets ? static_cast<std::size_t>(collection.offsets[item]) : item;
    const std::size_t last = collection.offsets ? static_cast<std::size_t>(collection.offsets[item + 1]) : item + 1;
    Answer best{std::numeric_limits<std::int32_t>::max(), static_cast<std::int64_t>(item), -1};
    for (std::size_t i = first; i < last; ++i) {
      const std::int32_t d = distance(query, collection.codes + i * collection.stride, collection.n_bytes);
      if (d < best.distance) best.distance = d, best.member = static_cast<std::int64_t>(i - first);
    }
    if (first < last) answers.push_back(best);
  }
  std::sort(answers.begin(), answers.end());
  return answers;
}

inline std::int32_t weighted_sum(const std::uint8_t* query, const std::uint8_t* code, const std::int32_t* weights,
                                 std::size_t n_bytes) {
  std::int32_t sum = 0;
  for (std::size_t bit = 0; bit < n_bytes * 8; ++bit) {
    if (bit_of(query, bit) != bit_of(code, bit)) sum += weights[bit];
  }
  return sum;
}

}  // namespace grainhash::naive
