#include "multi_index.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "hits.h"
#include "kernels/kernels.h"
#include "popcount.h"
#include "prefetch.h"
#include "threads.h"

namespace grainhash {
namespace {

constexpr std::size_t kBlock = 256;  // look-ups or codes that are asked of memory at once
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kTagBits = 32;

double binomial(unsigned n, unsigned r) {
  double value = 1;
  for (unsigned i = 0; i < r; ++i) value = value * (n - i) / (i + 1);
  return value;
}

// The numbers of `n_bits` bits of which `n_ones` are ones, ascending (R. W. Gosper, HAKMEM 175).
class Masks {
 public:
  Masks(unsigned n_bits, unsigned n_ones) : mask_((1u << n_ones) - 1), end_(1u << n_bits) {}

  bool done() const { return mask_ >= end_; }

  std::uint32_t next() {
    const std::uint32_t mask = mask_;
    const std::uint32_t lowest = mask & (~mask + 1);
    const std::uint32_t carried = mask + lowest;
    mask_ = mask ? ((mask ^ carried) / lowest >> 2) | carried : end_;
    return mask;
  }

 private:
  std::uint32_t mask_;
  std::uint32_t end_;
};

// What the queries of one call may cost, and what has become of those before.
class Spending {
 public:
  Spending(double budget, std::size_t n_queries) : budget_(budget), n_queries_(n_queries) {}

  double most_of_one() const { return kPatience * budget_; }

  // Whether no more than was allowed would be wasted if this cost were, too.
  bool may_waste(double cost) const {
    const double n_budgets = static_cast<double>(n_queries_) + kPatience * static_cast<double>(n_ended_);
    return static_cast<double>(wasted_) + cost <= budget_ * n_budgets;
  }

  void ended() { ++n_ended_; }
  void wasted(double cost) { wasted_ += static_cast<std::int64_t>(cost); }

 private:
  double budget_;
  std::size_t n_queries_;
  std::atomic<std::size_t> n_ended_{0};
  std::atomic<std::int64_t> wasted_{0};
};

// One query after the other on its way through the tables, with the memory that takes.
class Probe {
 public:
  Probe(const Collection& collection, const Tables& tables, Spending& spending)
      : collection_(collection), tables_(tables), spending_(spending),
        kernels_(kernels()), keys_(tables.bits.size()) {
    const std::uint32_t* starts = tables.starts;
    for (const TableBits& bits : tables.bits) {
      starts_.push_back(starts);
      starts += bits.key.n_values() + 1;
    }
  }

  std::size_t n_tables() const { return keys_.size(); }
  unsigned n_bits(std::size_t table) const { return tables_.bits[table].key.n_bits; }

  void start(const std::uint8_t* query) {
    query_ = query;
    n_lookups_ = n_candidates_ = n_reads_ = spent_ = 0;
    for (std::size_t t = 0; t < n_tables(); ++t) {
      keys_[t] = tables_.bits[t].key.of(query);
      prefetch(starts_[t] + keys_[t]);
    }
  }

  // Looks up the buckets of a table whose keys differ from the query's in `radius` bits, and pushes those
  // of their codes that no step before this one can have found and whose rank is below the limit of
  // `hits`. The steps before this one must be those of smaller radius, and of this radius in the tables
  // before. Returns whether the budget sufficed.
  template <class Hits>
  bool step(std::size_t table, unsigned radius, Hits& hits) {
    n_lookups_ += binomial(n_bits(table), radius);
    if (!affords(hits)) return false;
    for (Masks masks(n_bits(table), radius); !masks.done();) {
      std::size_t n = 0;
      for (; n < kBlock && !masks.done(); ++n) {
        wanted_[n] = keys_[table] ^ masks.next();
        prefetch(starts_[table] + wanted_[n]);
      }
      look_up(table, n, hits.farthest() >= radius + kTagTells);
      if (!affords(hits)) return false;
      read_buckets(table, radius, hits);
    }
    return true;
  }

 private:
  struct Bucket {
    std::uint32_t begin;
    std::uint32_t end;
  };

  double cost() const { return multi_index_cost(n_lookups_, n_candidates_, n_reads_); }

  template <class Hits>
  bool affords(const Hits& hits) {
    const double most = spending_.most_of_one();
    if (cost() <= most && (spending_.may_waste(cost()) || cost_within(hits.farthest()) <= most)) {
      spent_ = cost();
      return true;
    }
    spending_.wasted(spent_);
    return false;
  }

  // Of all codes up to a distance, with as many candidates and reads a look-up as there were so far.
  double cost_within(std::size_t distance) const {
    if (distance > collection_.n_bytes * 8) return std::numeric_limits<double>::infinity();
    double n_lookups = 0;
    for (std::size_t t = 0; t < n_tables(); ++t) {
      // Of m tables, table t is looked up to the largest radius r with m * r + t <= distance.
      for (std::size_t r = 0; n_tables() * r + t <= distance && r <= n_bits(t); ++r) {
        n_lookups += binomial(n_bits(t), static_cast<unsigned>(r));
      }
    }
    const double times = n_lookups / n_lookups_;
    return multi_index_cost(n_lookups, n_candidates_ * times, n_reads_ * times);
  }

  const std::uint64_t* entries(std::size_t table) const {
    return tables_.entries + table * collection_.n_codes;
  }

  void look_up(std::size_t table, std::size_t n, bool reads_all) {
    const double before = n_candidates_;
    n_buckets_ = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t begin = starts_[table][wanted_[i]];
      const std::uint32_t end = starts_[table][wanted_[i] + 1];
      if (begin >= end || end > collection_.n_codes) continue;
      buckets_[n_buckets_++] = {begin, end};
      n_candidates_ += end - begin;
      prefetch(entries(table) + begin);
      prefetch(entries(table) + end - 1);
    }
    if (reads_all) n_reads_ += n_candidates_ - before;
  }

  template <class Hits>
  void read_buckets(std::size_t table, unsigned radius, Hits& hits) {
    const std::uint32_t tag = tables_.bits[table].tag.of(query_);
    std::size_t n = 0;
    for (std::size_t i = 0; i < n_buckets_; ++i) {
      for (std::size_t begin = buckets_[i].begin; begin < buckets_[i].end; begin += kBlock) {
        const std::size_t end = std::min<std::size_t>(begin + kBlock, buckets_[i].end);
        const std::size_t farthest = hits.farthest();
        if (farthest < radius) break;
        const auto most = static_cast<std::uint32_t>(std::min(farthest - radius, kTagBits));
        const std::size_t n_near =
            kernels_.near_tags(entries(table) + begin, end - begin, tag, most, candidates_ + n);
        n = ask_for(n, n + n_near);
        if (n >= kBlock) {
          compare(table, radius, n, hits);
          n = 0;
        }
      }
    }
    compare(table, radius, n, hits);
  }

  // Prefetches the codes of some candidates, drops positions outside the codes, and returns the new end.
  std::size_t ask_for(std::size_t begin, std::size_t end) {
    std::size_t n = begin;
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint32_t position = candidates_[i];
      if (position >= collection_.n_codes) continue;
      candidates_[n++] = position;
      const std::uint8_t* code = collection_.code(position);
      for (std::size_t b = 0; b < collection_.n_bytes; b += kCacheLine) prefetch(code + b);
    }
    return n;
  }

  template <class Hits>
  void compare(std::size_t table, unsigned radius, std::size_t n, Hits& hits) {
    const Rows rows{collection_.codes, collection_.n_codes, collection_.stride, collection_.n_bytes};
    kernels_.distances_at(query_, rows, candidates_, n, distances_);
    std::uint64_t limit = hits.limit();
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t rank = first_rank(static_cast<std::uint64_t>(distances_[i])) | candidates_[i];
      if (rank >= limit || !is_new(candidates_[i], table, radius)) continue;
      const std::size_t item = item_of(candidates_[i]);
      if (!collection_.allows(item)) continue;
      hits.push({rank, item});
      limit = hits.limit();
    }
  }

  // Whether this step is the first that finds a code. It says no as well to a code that does not belong
  // into the bucket, so that damaged tables cannot make many hits of one.
  bool is_new(std::size_t position, std::size_t table, unsigned radius) const {
    const std::uint8_t* code = collection_.code(position);
    for (std::size_t t = 0; t < n_tables(); ++t) {
      const std::uint32_t distance = portable_popcount(tables_.bits[t].key.of(code) ^ keys_[t]);
      const bool found_before = distance < radius || (distance == radius && t < table);
      if (found_before || (t == table && distance != radius)) return false;
    }
    return true;
  }

  // Most items have about as many codes as any other, so the search starts where that would lead.
  std::size_t item_of(std::size_t position) const {
    if (!collection_.offsets) return position;
    const auto wanted = static_cast<std::int64_t>(position);
    const double share = static_cast<double>(position) / static_cast<double>(collection_.n_codes);
    const auto guess = static_cast<std::size_t>(share * static_cast<double>(collection_.n_items));
    std::size_t begin = std::min(guess, collection_.n_items - 1);
    std::size_t end = begin + 1;
    for (std::size_t n = 1; begin > 0 && collection_.offsets[begin] > wanted; n *= 2) {
      begin -= std::min(begin, n);
    }
    for (std::size_t n = 1; end < collection_.n_items && collection_.offsets[end] <= wanted; n *= 2) {
      end += std::min(collection_.n_items - end, n);
    }
    return collection_.item_of(position, begin, end);
  }

  const Collection& collection_;
  const Tables& tables_;
  Spending& spending_;
  const Kernels& kernels_;
  std::vector<const std::uint32_t*> starts_;  // of each table

  const std::uint8_t* query_ = nullptr;
  std::vector<std::uint32_t> keys_;  // of the query in each table
  double n_lookups_ = 0;
  double n_candidates_ = 0;
  double n_reads_ = 0;
  double spent_ = 0;  // as was affordable

  std::uint32_t wanted_[kBlock];
  Bucket buckets_[kBlock];
  std::size_t n_buckets_ = 0;
  std::uint32_t candidates_[2 * kBlock];
  std::int32_t distances_[2 * kBlock];
};

// Returns whether all of them are found.
bool find_nearest(Probe& probe, Nearest& hits) {
  for (unsigned radius = 0;; ++radius) {
    for (std::size_t t = 0; t < probe.n_tables(); ++t) {
      if (!probe.step(t, radius, hits)) return false;
      if (hits.all_within(probe.n_tables() * radius + t)) return true;
      if (radius == probe.n_bits(t)) return hits.all();  // this table has no buckets left
    }
  }
}

bool find_within(Probe& probe, std::size_t radius, Within& hits) {
  for (std::size_t distance = 0; distance <= radius; ++distance) {
    const std::size_t t = distance % probe.n_tables();
    const auto of_substring = static_cast<unsigned>(distance / probe.n_tables());
    if (!probe.step(t, of_substring, hits)) return false;
    if (of_substring == probe.n_bits(t)) return true;
  }
  return true;
}

// The number of items that can be hits, counted up to `most`.
std::size_t n_eligible(const Collection& collection, std::size_t most) {
  if (!collection.allow && !collection.offsets) return std::min(most, collection.n_items);
  std::size_t n = 0;
  for (std::size_t item = 0; item < collection.n_items && n < most; ++item) {
    n += collection.allows(item) && collection.first(item) < collection.last(item);
  }
  return n;
}

std::int64_t member_of(const TableHit& hit, const Collection& collection) {
  return static_cast<std::int64_t>(hit.position()) - static_cast<std::int64_t>(collection.first(hit.item));
}

// Queries are shared out over threads one at a time: some cost a thousand times as much as others. Each
// thread makes a search of its own, which takes a probe that has started and the number of the query, and
// returns whether the query ended well.
template <class MakeSearch>
void for_each_query(const Collection& collection, const Tables& tables, const std::uint8_t* queries,
                    std::size_t n_queries, double budget, std::size_t n_threads,
                    const MakeSearch& make_search) {
  Spending spending(budget, n_queries);
  std::atomic<std::size_t> next{0};
  on_threads(std::min({n_threads, n_queries, kMaxThreads}), [&](std::size_t) {
    Probe probe(collection, tables, spending);
    auto search = make_search();
    for (std::size_t q = next++; q < n_queries; q = next++) {
      probe.start(queries + q * collection.n_bytes);
      if (search(probe, q)) spending.ended();
    }
    return true;
  });
}

}  // namespace

TableAnswers multi_index_knn(const Collection& collection, const Tables& tables,
                             const std::uint8_t* queries, std::size_t n_queries, std::size_t k,
                             double budget, std::size_t n_threads) {
  k = n_eligible(collection, k);
  TableAnswers answers{k, {}, std::vector<std::uint8_t>(n_queries, k == 0)};
  Found& found = answers.found;
  found.distances.resize(n_queries * k);
  found.positions.resize(n_queries * k);
  found.members.resize(n_queries * k);
  for (std::size_t q = 1; q <= n_queries; ++q) found.limits.push_back(static_cast<std::int64_t>(q * k));
  if (k == 0) return answers;

  for_each_query(collection, tables, queries, n_queries, budget, n_threads, [&] {
    return [&, hits = Nearest(k, collection.offsets)](Probe& probe, std::size_t q) mutable {
      hits.clear();
      if (!find_nearest(probe, hits)) return false;
      answers.finished[q] = true;
      std::size_t slot = q * k;
      for (const TableHit& hit : hits.sorted()) {
        found.distances[slot] = hit.distance();
        found.positions[slot] = static_cast<std::int64_t>(hit.item);
        found.members[slot++] = member_of(hit, collection);
      }
      return true;
    };
  });
  return answers;
}

TableAnswers multi_index_range(const Collection& collection, const Tables& tables,
                               const std::uint8_t* queries, std::size_t n_queries, std::size_t radius,
                               double budget, std::size_t n_threads) {
  TableAnswers answers{0, {}, std::vector<std::uint8_t>(n_queries, collection.n_items == 0)};
  std::vector<std::vector<TableHit>> rows(n_queries);
  radius = std::min(radius, collection.n_bytes * 8);
  if (collection.n_items > 0) {
    for_each_query(collection, tables, queries, n_queries, budget, n_threads, [&] {
      return [&, hits = Within(radius, collection.offsets)](Probe& probe, std::size_t q) mutable {
        hits.clear();
        if (!find_within(probe, radius, hits)) return false;
        answers.finished[q] = true;
        rows[q] = hits.sorted();
        return true;
      };
    });
  }
  for (const std::vector<TableHit>& row : rows) {
    for (const TableHit& hit : row) {
      answers.found.distances.push_back(hit.distance());
      answers.found.positions.push_back(static_cast<std::int64_t>(hit.item));
      answers.found.members.push_back(member_of(hit, collection));
    }
    answers.found.limits.push_back(static_cast<std::int64_t>(answers.found.distances.size()));
  }
  return answers;
}

}  // namespace grainhash
