#include "scan.h"

#include <algorithm>
#include <cstring>
#include <future>

#include "distances.h"
#include "top_k.h"

namespace grainhash {
namespace {

constexpr std::size_t kBlockBytes = 16 << 10;   // codes that stay in L1 while all queries pass over them
constexpr std::size_t kThreadBytes = 1 << 20;   // compared bytes that are worth starting a thread
constexpr std::size_t kQueries = 64;            // scanned together
constexpr std::size_t kBufferedHits = 1 << 20;  // bound on the k of those queries together
constexpr std::size_t kMaxThreads = 1024;

// One thread's share: items `begin` to `end` against a few queries.
class RangeScan {
 public:
  RangeScan(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries, std::size_t k)
      : collection_(collection),
        queries_(queries),
        kernel_(distances_kernel(collection.n_bytes)),
        block_(std::max<std::size_t>(kBlockBytes / collection.n_bytes, 1)),
        top_(n_queries, TopK(k, collection.n_bytes * 8)) {}

  std::vector<TopK> run(std::size_t begin, std::size_t end) {
    while (begin < end) {
      const std::size_t stop = block_end(begin, end);
      if (allows_any(begin, stop)) scan_block(begin, stop);
      begin = stop;
    }
    return std::move(top_);
  }

 private:
  // Whole items, as many as fill a block, and at least one.
  std::size_t block_end(std::size_t begin, std::size_t end) const {
    if (!collection_.offsets) return std::min(begin + block_, end);
    const std::size_t last_code = collection_.first_code(begin) + block_;
    std::size_t stop = begin + 1;
    while (stop < end && collection_.first_code(stop + 1) <= last_code) ++stop;
    return stop;
  }

  bool allows_any(std::size_t begin, std::size_t stop) const {
    return !collection_.allow || std::memchr(collection_.allow + begin, 1, stop - begin) != nullptr;
  }

  void scan_block(std::size_t begin, std::size_t stop) {
    const std::size_t first = collection_.first_code(begin);
    const std::size_t n_codes = collection_.first_code(stop) - first;
    const std::uint8_t* codes = collection_.codes + first * collection_.n_bytes;
    if (distances_.size() < n_codes) distances_.resize(n_codes);
    for (std::size_t q = 0; q < top_.size(); ++q) {
      const std::uint8_t* query = queries_ + q * collection_.n_bytes;
      const std::int32_t least = kernel_(query, codes, n_codes, collection_.n_bytes, distances_.data());
      if (least >= top_[q].threshold()) continue;
      if (collection_.offsets) {
        select_groups(begin, stop, top_[q]);
      } else {
        select_codes(begin, stop, top_[q]);
      }
    }
  }

  void select_codes(std::size_t begin, std::size_t stop, TopK& top) const {
    const std::int32_t* distance = distances_.data();
    std::int32_t threshold = top.threshold();
    for (std::size_t item = begin; item < stop; ++item, ++distance) {
      if (*distance < threshold && collection_.allows(item)) {
        top.push({*distance, static_cast<std::int64_t>(item), 0});
        threshold = top.threshold();
      }
    }
  }

  void select_groups(std::size_t begin, std::size_t stop, TopK& top) const {
    const std::int32_t* distance = distances_.data();
    std::int32_t threshold = top.threshold();
    for (std::size_t item = begin; item < stop; ++item) {
      const std::int32_t* group_end = distance + (collection_.offsets[item + 1] - collection_.offsets[item]);
      // An empty group keeps the threshold, so it is never below it.
      std::int32_t best = threshold;
      for (const std::int32_t* d = distance; d < group_end; ++d) best = std::min(best, *d);
      if (best < threshold && collection_.allows(item)) {
        top.push({best, static_cast<std::int64_t>(item), std::find(distance, group_end, best) - distance});
        threshold = top.threshold();
      }
      distance = group_end;
    }
  }

  const Collection& collection_;
  const std::uint8_t* queries_;
  Distances kernel_;
  std::size_t block_;  // codes
  std::vector<TopK> top_;
  std::vector<std::int32_t> distances_;
};

// Splits the items into `n` ranges of about as many codes each: `n + 1` ascending bounds.
std::vector<std::size_t> split(const Collection& collection, std::size_t n) {
  const std::size_t n_codes = collection.first_code(collection.n_items);
  std::vector<std::size_t> bounds(n + 1, 0);
  for (std::size_t i = 1; i < n; ++i) {
    const std::size_t code = n_codes / n * i;
    bounds[i] = code;
    if (collection.offsets) {
      const std::int64_t* offsets = collection.offsets;
      const auto target = static_cast<std::int64_t>(code);
      bounds[i] = std::lower_bound(offsets, offsets + collection.n_items, target) - offsets;
    }
  }
  bounds[n] = collection.n_items;
  return bounds;
}

// The hits of every thread's range for a few queries; `[range][query]`.
std::vector<std::vector<TopK>> scan(const Collection& collection, const std::uint8_t* queries,
                                    std::size_t n_queries, std::size_t k, std::size_t n_threads) {
  const std::size_t bytes = collection.first_code(collection.n_items) * collection.n_bytes * n_queries;
  n_threads = std::min({n_threads, kMaxThreads, 1 + bytes / kThreadBytes});
  const std::vector<std::size_t> bounds = split(collection, n_threads);
  const auto scan_range = [&](std::size_t i) {
    return RangeScan(collection, queries, n_queries, k).run(bounds[i], bounds[i + 1]);
  };

  // A future's destructor waits for its thread and `get` throws what the thread threw, so that no
  // failure, not even to start a thread, leaves one running.
  std::vector<std::future<std::vector<TopK>>> others;
  for (std::size_t i = 1; i < n_threads; ++i) {
    others.push_back(std::async(std::launch::async, scan_range, i));
  }
  std::vector<std::vector<TopK>> ranges;
  ranges.push_back(scan_range(0));
  for (auto& other : others) ranges.push_back(other.get());
  return ranges;
}

void append(Neighbours& neighbours, const std::vector<Hit>& hits) {
  for (const Hit& hit : hits) {
    neighbours.distances.push_back(hit.distance);
    neighbours.positions.push_back(hit.position);
    neighbours.members.push_back(hit.member);
  }
}

}  // namespace

std::size_t Collection::n_eligible() const {
  if (!offsets) return allow ? std::count(allow, allow + n_items, true) : n_items;
  std::size_t n = 0;
  for (std::size_t item = 0; item < n_items; ++item) n += allows(item) && offsets[item] < offsets[item + 1];
  return n;
}

Neighbours knn(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries,
               std::size_t k, std::size_t n_threads) {
  Neighbours neighbours;
  if (k == 0) return neighbours;
  const std::size_t together = std::clamp<std::size_t>(kBufferedHits / k, 1, kQueries);
  for (std::size_t q = 0; q < n_queries; q += together) {
    const std::size_t n = std::min(together, n_queries - q);
    auto ranges = scan(collection, queries + q * collection.n_bytes, n, k, n_threads);
    for (std::size_t i = 0; i < n; ++i) {
      // Ranges come in the order of their positions, which is the order that `TopK` asks for.
      TopK best(k, collection.n_bytes * 8);
      for (auto& range : ranges) {
        for (const Hit& hit : range[i].sorted()) best.push(hit);
      }
      append(neighbours, best.sorted());
    }
  }
  return neighbours;
}

}  // namespace grainhash
