#include "asymmetric.h"

#include <algorithm>
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

// The sums of one query after another, the fastest way on this processor.
class Sums {
 public:
  explicit Sums(std::size_t n_bytes)
      : n_bytes_(n_bytes), weighted_(kernels().weighted), nibbles_(weighted_ ? 0 : n_bytes),
        weights_(weighted_ ? (n_bytes + 3) / 4 * 32 : 0) {}

  void set(const std::uint8_t* query, const std::int32_t* weights) {
    query_ = query;
    if (weighted_) {
      std::copy(weights, weights + n_bytes_ * 8, weights_.begin());
    } else {
      nibbles_.set(query, weights);
    }
  }

  void of(const Rows& rows, std::int32_t* out) const {
    if (weighted_) return weighted_(query_, weights_.data(), rows, out);
    for (std::size_t i = 0; i < rows.n; ++i) out[i] = nibbles_.of(rows.codes + i * rows.stride);
  }

 private:
  std::size_t n_bytes_;
  decltype(Kernels::weighted) weighted_;
  NibbleSums nibbles_;
  std::vector<std::int32_t> weights_;
  const std::uint8_t* query_ = nullptr;
};

constexpr std::size_t kTogether = 64;  // codes of an item

}  // namespace

WeightedSums asymmetric(const Collection& collection, const std::uint8_t* queries,
                        const std::int32_t* weights, std::size_t n_queries, const std::int64_t* items,
                        std::size_t items_stride, std::size_t k) {
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  WeightedSums found;
  found.sums.assign(n_queries * k, kNone);
  found.members.assign(n_queries * k, -1);
  found.distances.assign(n_queries * k, kNone);
  Sums sums(collection.n_bytes);
  for (std::size_t q = 0; q < n_queries; ++q) {
    const std::uint8_t* query = queries + q * collection.n_bytes;
    sums.set(query, weights + q * collection.n_bytes * 8);
    const std::int64_t* asked = items + q * items_stride;
    for (std::size_t i = 0; i < k;) {
      const std::size_t slot = q * k + i, first = asked[i] < 0 ? 0 : collection.first(static_cast<std::size_t>(asked[i]));
      if (asked[i] < 0) {
        ++i;
      } else if (!collection.offsets) {  // a run of items of one code each
        std::size_t n = 1;
        while (i + n < k && asked[i + n] == asked[i] + static_cast<std::int64_t>(n)) ++n;
        const Rows rows{collection.code(first), n, collection.stride, collection.n_bytes};
        sums.of(rows, &found.sums[slot]);
        kernels().distances(query, rows, &found.distances[slot]);
        std::fill_n(found.members.begin() + static_cast<std::ptrdiff_t>(slot), n, 0);
        i += n;
      } else {
        const std::size_t last = collection.last(static_cast<std::size_t>(asked[i]));
        std::int32_t some[kTogether];
        for (std::size_t begin = first; begin < last; begin += kTogether) {
          const std::size_t n = std::min(kTogether, last - begin);
          sums.of({collection.code(begin), n, collection.stride, collection.n_bytes}, some);
          const std::size_t best = static_cast<std::size_t>(std::min_element(some, some + n) - some);
          if (found.members[slot] >= 0 && some[best] >= found.sums[slot]) continue;
          found.sums[slot] = some[best];
          found.members[slot] = static_cast<std::int64_t>(begin + best - first);
        }
        if (first < last) {
          const std::uint8_t* best = collection.code(first + static_cast<std::size_t>(found.members[slot]));
          kernels().distances(query, {best, 1, collection.stride, collection.n_bytes}, &found.distances[slot]);
        }
        ++i;
      }
    }
  }
  return found;
}

}  // namespace grainhash
