// Hits that come in no order and not by item, as buckets yield them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace grainhash {

// An item and the best of its codes that was found.
struct TableHit {
  std::uint64_t rank;  // distance of the code, then its position: the order of answers in one number
  std::size_t item;

  std::int32_t distance() const { return static_cast<std::int32_t>(rank >> 32); }
  std::size_t position() const { return static_cast<std::uint32_t>(rank); }
};

inline bool by_rank(const TableHit& a, const TableHit& b) { return a.rank < b.rank; }

inline std::uint64_t first_rank(std::uint64_t distance) { return distance << 32; }

// Leaves the best hit of each item, in the order of items.
inline void keep_best_of_items(std::vector<TableHit>& hits) {
  std::sort(hits.begin(), hits.end(), [](const TableHit& a, const TableHit& b) {
    return a.item != b.item ? a.item < b.item : a.rank < b.rank;
  });
  const auto same = [](const TableHit& a, const TableHit& b) { return a.item == b.item; };
  hits.erase(std::unique(hits.begin(), hits.end(), same), hits.end());
}

// The `k` best of hits that come in no order, in constant time a hit.
class Nearest {
 public:
  Nearest(std::size_t k, bool grouped) : k_(k), grouped_(grouped) {}

  void clear() {
    hits_.clear();
    limit_ = std::numeric_limits<std::uint64_t>::max();
    full_ = k_ + std::max<std::size_t>(k_, 64);
    is_cut_ = true;
  }

  // Only hits of a lower rank matter any more.
  std::uint64_t limit() const { return limit_; }

  // The largest distance of those; more than any code has while there are not `k`.
  std::size_t farthest() const { return (limit_ - 1) >> 32; }

  void push(const TableHit& hit) {
    hits_.push_back(hit);
    is_cut_ = false;
    if (hits_.size() == full_) cut();
  }

  // Whether there are `k`, none of them farther than `distance`.
  bool all_within(std::size_t distance) {
    if (hits_.size() < k_) return false;
    cut();
    return hits_.size() == k_ && limit_ >> 32 <= distance;
  }

  bool all() { return all_within(std::numeric_limits<std::size_t>::max()); }

  std::vector<TableHit>& sorted() {
    std::sort(hits_.begin(), hits_.end(), by_rank);
    return hits_;
  }

 private:
  void cut() {
    if (is_cut_) return;
    if (grouped_) keep_best_of_items(hits_);
    if (hits_.size() >= k_) {
      const auto last = hits_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
      std::nth_element(hits_.begin(), last, hits_.end(), by_rank);
      limit_ = last->rank;
      hits_.resize(k_);
    }
    full_ = std::max(full_, 2 * hits_.size());
    is_cut_ = true;
  }

  std::size_t k_;
  bool grouped_;
  std::size_t full_ = 0;
  std::uint64_t limit_ = 0;
  bool is_cut_ = true;
  std::vector<TableHit> hits_;
};

// All hits up to a distance.
class Within {
 public:
  Within(std::size_t radius, bool grouped) : limit_(first_rank(radius + 1)), grouped_(grouped) {}

  void clear() { hits_.clear(); }
  std::uint64_t limit() const { return limit_; }
  std::size_t farthest() const { return (limit_ - 1) >> 32; }
  void push(const TableHit& hit) { hits_.push_back(hit); }

  std::vector<TableHit>& sorted() {
    if (grouped_) keep_best_of_items(hits_);
    std::sort(hits_.begin(), hits_.end(), by_rank);
    return hits_;
  }

 private:
  std::uint64_t limit_;
  bool grouped_;
  std::vector<TableHit> hits_;
};

}  // namespace grainhash
