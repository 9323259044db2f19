// What a scan keeps of the hits that it finds: the k best, or all within a radius.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace grainhash {

struct Hit {
  std::int32_t distance;
  std::int64_t position;
  std::int64_t member;
};

// Orders hits by distance, equal ones as they came, and keeps the first `n`. Distances are small
// integers, so that counting does it in one pass.
inline void sort_and_cut(std::vector<Hit>& hits, std::size_t n_bits, std::size_t n) {
  std::vector<std::size_t> slots(n_bits + 2, 0);
  for (const Hit& hit : hits) ++slots[hit.distance + 1];
  for (std::size_t d = 1; d < slots.size(); ++d) slots[d] += slots[d - 1];
  std::vector<Hit> sorted(std::min(n, hits.size()));
  for (const Hit& hit : hits) {
    const std::size_t slot = slots[hit.distance]++;
    if (slot < sorted.size()) sorted[slot] = hit;
  }
  hits.swap(sorted);
}

// Keeps the k least hits by (distance, position) of those pushed by ascending position.
//
// Hits are counted by distance, so that the limit is always the distance of the k-th best, and cut to
// k each time a buffer fills up. A heap would pay log k for every hit and need positions to break
// ties; here arrival breaks them, and a million copies of one code are turned away by one compare each.
class TopK {
 public:
  TopK(std::size_t k, std::size_t n_bits)
      : k_(k), n_bits_(n_bits), capacity_(k + std::max<std::size_t>(k, 256)), limit_(n_bits + 1), counts_(n_bits + 1) {}

  // A later hit must be nearer than this to matter.
  std::int32_t limit() const { return limit_; }

  // `hit.distance` is below the limit.
  void push(const Hit& hit) {
    hits_.push_back(hit);
    ++counts_[hit.distance];
    for (++n_below_; n_below_ >= k_; n_below_ -= counts_[limit_]) --limit_;
    if (hits_.size() == capacity_) sorted();
  }

  // The best so far, in order.
  const std::vector<Hit>& sorted() {
    sort_and_cut(hits_, n_bits_, k_);
    return hits_;
  }

 private:
  std::size_t k_;
  std::size_t n_bits_;
  std::size_t capacity_;
  std::int32_t limit_;
  std::size_t n_below_ = 0;            // hits nearer than the limit
  std::vector<std::uint32_t> counts_;  // of hits at each distance; those at the limit and above are not kept up
  std::vector<Hit> hits_;
};

// Keeps all hits of at most a distance, pushed by ascending position.
class AllNear {
 public:
  AllNear(std::int32_t radius, std::size_t n_bits) : limit_(radius + 1), n_bits_(n_bits) {}

  std::int32_t limit() const { return limit_; }
  void push(const Hit& hit) { hits_.push_back(hit); }

  const std::vector<Hit>& sorted() {
    sort_and_cut(hits_, n_bits_, hits_.size());
    return hits_;
  }

 private:
  std::int32_t limit_;
  std::size_t n_bits_;
  std::vector<Hit> hits_;
};

}  // namespace grainhash
