// The k best of a stream of hits, in constant time a hit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace grainhash {

struct Hit {
  std::int32_t distance;
  std::int64_t position;
  std::int64_t member;
};

// Keeps the k least hits by (distance, position) of those pushed by ascending position.
//
// Distances are small integers, so a stable counting sort orders the hits and cuts them to k each
// time a buffer fills up. A heap would pay log k for every hit and need positions to break ties;
// here arrival breaks them, and a million copies of one code are turned away by one compare each.
class TopK {
 public:
  TopK(std::size_t k, std::size_t n_bits)
      : k_(k), n_bits_(n_bits), capacity_(k + std::max<std::size_t>(k, 256)) {}

  // A later hit must be nearer than this to matter.
  std::int32_t threshold() const { return threshold_; }

  void push(const Hit& hit) {
    hits_.push_back(hit);
    if (hits_.size() == capacity_) sort();
  }

  // The best so far, in order.
  const std::vector<Hit>& sorted() {
    sort();
    return hits_;
  }

 private:
  void sort() {
    std::vector<std::size_t> slots(n_bits_ + 2, 0);
    for (const Hit& hit : hits_) ++slots[hit.distance + 1];
    for (std::size_t d = 1; d < slots.size(); ++d) slots[d] += slots[d - 1];
    std::vector<Hit> best(std::min(k_, hits_.size()));
    for (const Hit& hit : hits_) {
      const std::size_t slot = slots[hit.distance]++;
      if (slot < best.size()) best[slot] = hit;
    }
    hits_.swap(best);
    if (hits_.size() == k_) threshold_ = hits_.back().distance;
  }

  std::size_t k_;
  std::size_t n_bits_;
  std::size_t capacity_;
  std::int32_t threshold_ = std::numeric_limits<std::int32_t>::max();
  std::vector<Hit> hits_;
};

}  // namespace grainhash
