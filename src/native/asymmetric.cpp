#include "asymmetric.h"

#include <limits>

#include "kernels/kernels.h"

namespace grainhash {
namespace {

// The sums of one query, by half bytes: two look-ups a byte take the place of eight bits, and the tables of
// 1024 bits still fit into the first cache.
class NibbleSums {
 public:
  explicit NibbleSums(std::size_t n_bytes) : n_bytes_(n_bytes), sums_(n_bytes * 2 * kValues) {}

  // The first bit of a code is the highest of its first byte.
  void set(const std::uint8_t* query, const std::int32_t* weights) {
    for (std::size_t nibble = 0; nibble < n_bytes_ * 2; ++nibble) {
      const unsigned bits = nibble % 2 ? query[nibble / 2] & 15 : query[nibble / 2] >> 4;
      for (unsigned value = 0; value < kValues; ++value) {
        std::int32_t sum = 0;
        for (unsigned bit = 0; bit < 4; ++bit) {
          if ((value ^ bits) >> (3 - bit) & 1) sum += weights[nibble * 4 + bit];
        }
        sums_[nibble * kValues + value] = sum;
      }
    }
  }

  std::int32_t of(const std::uint8_t* code) const {
    const std::int32_t* sums = sums_.data();
    std::int32_t sum = 0;
    for (std::size_t b = 0; b < n_bytes_; ++b, sums += 2 * kValues) {
      sum += sums[code[b] >> 4] + sums[kValues + (code[b] & 15)];
    }
    return sum;
  }

 private:
  static constexpr unsigned kValues = 16;

  std::size_t n_bytes_;
  std::vector<std::int32_t> sums_;
};

}  // namespace

WeightedSums asymmetric(const Collection& collection, const std::uint8_t* queries,
                        const std::int32_t* weights, std::size_t n_queries, const std::int64_t* items,
                        std::size_t items_stride, std::size_t k) {
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  WeightedSums found;
  found.sums.assign(n_queries * k, kNone);
  found.members.assign(n_queries * k, -1);
  found.distances.assign(n_queries * k, kNone);
  NibbleSums nibbles(collection.n_bytes);
  for (std::size_t q = 0; q < n_queries; ++q) {
    const std::uint8_t* query = queries + q * collection.n_bytes;
    nibbles.set(query, weights + q * collection.n_bytes * 8);
    for (std::size_t i = 0, slot = q * k; i < k; ++i, ++slot) {
      if (items[q * items_stride + i] < 0) continue;
      const auto item = static_cast<std::size_t>(items[q * items_stride + i]);
      const std::size_t first = collection.first(item);
      for (std::size_t position = first; position < collection.last(item); ++position) {
        const std::int32_t sum = nibbles.of(collection.code(position));
        if (found.members[slot] >= 0 && sum >= found.sums[slot]) continue;
        found.sums[slot] = sum;
        found.members[slot] = static_cast<std::int64_t>(position - first);
      }
      if (found.members[slot] < 0) continue;
      const std::uint8_t* best = collection.code(first + static_cast<std::size_t>(found.members[slot]));
      found.distances[slot] = kernels().least(query, {best, 1, collection.stride, collection.n_bytes});
    }
  }
  return found;
}

}  // namespace grainhash
