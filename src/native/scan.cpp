#include "scan.h"

#include <cstring>
#include <memory>
#include <new>

#include "kernels/kernels.h"
#include "threads.h"
#include "top_k.h"

namespace grainhash {
namespace {

constexpr std::size_t kTileBytes = 8 << 10;     // codes that stay in L1 while the queries pass over them
constexpr std::size_t kFirstRows = 256;         // codes that give each query a limit before blocks are compared
constexpr std::size_t kThreadBytes = 1 << 20;   // compared bytes that are worth starting a thread
constexpr std::size_t kQueries = 1024;          // scanned together
constexpr std::size_t kBufferedHits = 1 << 20;  // bound on the k of those queries together

struct Queries {
  const std::uint8_t* codes;
  std::size_t n;
  std::size_t n_bytes;

  const std::uint8_t* operator[](std::size_t q) const { return codes + q * n_bytes; }
  Queries part(std::size_t begin, std::size_t count) const { return {(*this)[begin], count, n_bytes}; }
};

constexpr std::align_val_t kAligned{64};

struct Delete {
  void operator()(void* memory) const { ::operator delete(memory, kAligned); }
};
using Memory = std::unique_ptr<void, Delete>;

std::size_t lowest_bit(std::uint64_t word) {
#if defined(__GNUC__)
  return static_cast<std::size_t>(__builtin_ctzll(word));
#else
  std::size_t bit = 0;
  while (!((word >> bit) & 1)) ++bit;
  return bit;
#endif
}

// One thread's share: items `begin` to before `end` against some queries. `Best` is what is kept of
// the hits of a query.
//
// Whatever the items are, codes are compared in one stream. Only a code nearer than its query's limit
// is looked at again, for its item; so a best of many regions costs hardly more than a scan of them.
template <class Best>
class RangeScan {
 public:
  RangeScan(const Collection& collection, const Queries& queries, std::size_t begin, std::size_t end,
            const Best& nothing)
      : collection_(collection),
        queries_(queries),
        kernels_(grainhash::kernels()),
        end_item_(end),
        item_(begin),
        first_(collection.offsets ? collection.first(begin) : begin),
        last_(collection.offsets ? (end == collection.n_items ? collection.n_codes : collection.first(end)) : end),
        best_(queries.n, nothing),
        last_items_(queries.n, -1) {}

  std::vector<Best> run() {
    const BatchKernel& batch = kernels_.batch(queries_.n_bytes);
    const bool worth = queries_.n >= batch.worth_from && last_ > first_ && last_ - first_ >= batch.block;
    if (worth) {
      const std::size_t begin = std::min(first_ + kFirstRows, last_);
      scan_rows(first_, begin);
      scan_blocks(batch, begin);
    } else {
      scan_rows(first_, last_);
    }
    return std::move(best_);
  }

 private:
  Rows rows(std::size_t begin, std::size_t n) const {
    return {collection_.code(begin), n, collection_.stride, collection_.n_bytes};
  }

  // With a filter, whether any code of a block may be a hit; true where that would take long to say.
  bool allows_any(std::size_t begin, std::size_t n) const {
    return !collection_.allow || collection_.offsets || std::memchr(collection_.allow + begin, 1, n) != nullptr;
  }

  void scan_rows(std::size_t first, std::size_t last) {
    const std::size_t tile = std::max<std::size_t>(kTileBytes / collection_.stride, 1);
    std::vector<std::int32_t> distances(tile);
    for (std::size_t begin = first; begin < last; begin += tile) {
      const std::size_t n = std::min(tile, last - begin);
      if (!allows_any(begin, n)) continue;
      for (std::size_t q = 0; q < queries_.n; ++q) {
        if (kernels_.least(queries_[q], rows(begin, n)) >= best_[q].limit()) continue;
        kernels_.distances(queries_[q], rows(begin, n), distances.data());
        for (std::size_t i = 0; i < n; ++i) {
          if (distances[i] < best_[q].limit()) offer(q, begin + i, distances[i]);
        }
      }
    }
  }

  void scan_blocks(const BatchKernel& batch, std::size_t first) {
    const Memory memory(::operator new(batch.memory_bytes(queries_.n, queries_.n_bytes), kAligned));
    batch.prepare(memory.get(), queries_.codes, queries_.n, queries_.n_bytes);
    for (std::size_t q = 0; q < queries_.n; ++q) batch.set_limit(memory.get(), q, best_[q].limit());
    const std::unique_ptr<BlockHit[]> hits(new BlockHit[queries_.n * batch.hits_a_query]);
    for (std::size_t begin = first; begin < last_; begin += batch.block) {
      const std::size_t n = std::min(batch.block, last_ - begin);
      if (!allows_any(begin, n)) continue;
      const std::size_t n_hits = batch.below(memory.get(), rows(begin, n), last_ - begin - n, hits.get());
      for (std::size_t h = 0; h < n_hits; ++h) {
        offer_hit(hits[h], batch.n_words, begin, n);
        batch.set_limit(memory.get(), hits[h].query, best_[hits[h].query].limit());
      }
    }
  }

  // The codes of a hit, by ascending position.
  void offer_hit(const BlockHit& hit, std::size_t n_words, std::size_t begin, std::size_t n) {
    std::uint64_t any = 0;
    for (std::size_t w = 0; w < n_words; ++w) any |= hit.words[w];
    for (; any; any &= any - 1) {
      const std::size_t bit = lowest_bit(any);
      for (std::size_t w = 0; w < n_words; ++w) {
        const std::size_t i = hit.first + bit * n_words + w;
        if (!((hit.words[w] >> bit) & 1) || i >= n) continue;
        std::int32_t distance;
        kernels_.distances(queries_[hit.query], rows(begin + i, 1), &distance);
        if (distance < best_[hit.query].limit()) offer(hit.query, begin + i, distance);
      }
    }
  }

  // A code nearer than the limit. Codes come by ascending position, so those of an item follow each
  // other, and items come by ascending position too.
  void offer(std::size_t q, std::size_t position, std::int32_t distance) {
    if (collection_.offsets) {
      offer_group(q, position);
    } else if (collection_.allows(position)) {
      best_[q].push({distance, static_cast<std::int64_t>(position), 0});
    }
  }

  void offer_group(std::size_t q, std::size_t position) {
    const std::size_t item = collection_.item_of(position, item_, end_item_);
    if (last_items_[q] == static_cast<std::int64_t>(item)) return;
    last_items_[q] = static_cast<std::int64_t>(item);
    if (q + 1 == queries_.n) item_ = item;
    if (!collection_.allows(item)) return;
    const std::size_t first = collection_.first(item), last = collection_.last(item);
    if (first >= last) return;
    if (group_.size() < last - first) group_.resize(last - first);
    kernels_.distances(queries_[q], rows(first, last - first), group_.data());
    const auto* nearest = std::min_element(group_.data(), group_.data() + (last - first));
    if (*nearest >= best_[q].limit()) return;  // a code of no item: the offsets are damaged
    best_[q].push({*nearest, static_cast<std::int64_t>(item), nearest - group_.data()});
  }

  const Collection& collection_;
  const Queries queries_;
  const Kernels& kernels_;
  std::size_t end_item_;
  std::size_t item_;   // no later code belongs to an item before this
  std::size_t first_;  // of the codes
  std::size_t last_;
  std::vector<Best> best_;
  std::vector<std::int64_t> last_items_;  // that each query has seen
  std::vector<std::int32_t> group_;       // distances of one item's codes
};

// Splits the items into `n` ranges of about as many codes each: `n + 1` ascending bounds.
std::vector<std::size_t> split(const Collection& collection, std::size_t n) {
  std::vector<std::size_t> bounds(n + 1, 0);
  for (std::size_t i = 1; i < n; ++i) {
    const std::size_t code = collection.n_codes / n * i;
    bounds[i] = std::max(bounds[i - 1], collection.offsets ? collection.item_of(code, 0, collection.n_items) : code);
  }
  bounds[n] = collection.n_items;
  return bounds;
}

void append(Found& found, const std::vector<Hit>& hits) {
  for (const Hit& hit : hits) {
    found.distances.push_back(hit.distance);
    found.positions.push_back(hit.position);
    found.members.push_back(hit.member);
  }
  found.limits.push_back(static_cast<std::int64_t>(found.distances.size()));
}

// Scans for all queries, `together` at a time, and keeps of each what `nothing` grows into.
template <class Best>
Found scan(const Collection& collection, const Queries& queries, std::size_t together, const Best& nothing,
           std::size_t n_threads) {
  Found found;
  for (std::size_t begin = 0; begin < queries.n; begin += together) {
    const Queries part = queries.part(begin, std::min(together, queries.n - begin));
    const std::size_t bytes = collection.n_codes * collection.n_bytes * part.n;
    const std::size_t n = std::min({n_threads, kMaxThreads, 1 + bytes / kThreadBytes});
    const std::vector<std::size_t> bounds = split(collection, n);
    auto ranges = on_threads(n, [&](std::size_t i) {
      return RangeScan<Best>(collection, part, bounds[i], bounds[i + 1], nothing).run();
    });
    for (std::size_t q = 0; q < part.n; ++q) {
      // Ranges come in the order of their positions, which is the order that `Best` asks for.
      Best best = nothing;
      for (auto& range : ranges) {
        for (const Hit& hit : range[q].sorted()) {
          if (hit.distance < best.limit()) best.push(hit);
        }
      }
      append(found, best.sorted());
    }
  }
  return found;
}

}  // namespace

Found knn(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries, std::size_t k,
          std::size_t n_threads) {
  k = std::min(k, collection.n_items);
  Found found;
  if (k == 0) {
    found.limits.resize(n_queries + 1, 0);
    return found;
  }
  const std::size_t together = std::clamp<std::size_t>(kBufferedHits / k, 1, kQueries);
  const TopK nothing(k, collection.n_bytes * 8);
  return scan(collection, {queries, n_queries, collection.n_bytes}, together, nothing, n_threads);
}

Found range_search(const Collection& collection, const std::uint8_t* queries, std::size_t n_queries,
                   std::int32_t radius, std::size_t n_threads) {
  const auto n_bits = static_cast<std::int32_t>(collection.n_bytes * 8);
  if (collection.n_items == 0) {
    Found found;
    found.limits.resize(n_queries + 1, 0);
    return found;
  }
  const AllNear nothing(std::min(radius, n_bits), collection.n_bytes * 8);
  return scan(collection, {queries, n_queries, collection.n_bytes}, kQueries, nothing, n_threads);
}

}  // namespace grainhash
