// Random searches, sound and damaged, with every kernel in turn, until the time is up.
//
//     fuzz SEED SECONDS [FIRST_ROUND]
//
// Where the input is sound, answers must be those of a naive loop. Where it is damaged they may be wrong, but
// have to be well-formed, and the sanitizers that this is compiled with must have nothing to say. A failure
// names its seed and round, and is met again at once with that round as the first.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>

#include "asymmetric.h"
#include "buffers.h"
#include "find.h"
#include "kernels/kernels.h"
#include "multi_index.h"
#include "naive.h"
#include "scan.h"

namespace grainhash {
namespace {

constexpr std::size_t kMaxCompared = 3 << 20;  // bytes a round, of which a naive loop takes some tens of milliseconds

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

// ---- What is searched ----

struct Case {
  Buffer<std::uint8_t> codes;
  std::optional<Buffer<std::int64_t>> offsets;
  std::optional<Buffer<bool>> allow;
  Buffer<std::uint8_t> queries;
  std::size_t n_queries;
  std::size_t n_threads;
  Collection collection;

  const std::uint8_t* query(std::size_t q) const { return queries.data() + q * collection.n_bytes; }
};

std::size_t some_width(Random& random) {
  return random.chance(0.4) ? random.one_of<std::size_t>({8, 16, 24, 32, 64, 128}) : random.between(1, 128);
}

// Sizes about those of words, tiles and blocks.
std::size_t some_size(Random& random, std::size_t most) {
  const std::size_t base = random.one_of<std::size_t>({0, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536});
  return std::min(base + random.below(4) - std::min<std::size_t>(base, 1), most);
}

// Codes that are all alike, a few different ones, near to few or to none: ties are what goes wrong.
Buffer<std::uint8_t> some_codes(Random& random, std::size_t n, std::size_t width) {
  Buffer<std::uint8_t> codes(random, n * width);
  const std::size_t n_centres = random.one_of<std::size_t>({1, 1, 5, 50, 5000});
  const double flips = random.one_of({0.0, 0.01, 0.1, 1.0});
  const std::uint64_t centres_seed = random.chance(0.2) ? random.bits() : 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::minstd_rand centre(static_cast<unsigned>(centres_seed + 1 + random.below(n_centres)));
    for (std::size_t b = 0; b < width; ++b) {
      codes[i * width + b] = static_cast<std::uint8_t>(centre() >> 8);
      if (random.chance(flips)) codes[i * width + b] ^= static_cast<std::uint8_t>(random.bits() & random.bits());
    }
  }
  return codes;
}

// Some items without codes, some of many.
Buffer<std::int64_t> some_offsets(Random& random, std::size_t n_codes) {
  const std::size_t n_items = n_codes / random.one_of<std::size_t>({1, 3, 10, 600}) + 1;
  Buffer<std::int64_t> offsets(random, n_items + 1);
  for (std::int64_t& offset : offsets) offset = static_cast<std::int64_t>(random.below(n_codes + 1));
  std::sort(offsets.begin(), offsets.end());
  offsets[0] = 0;
  offsets[n_items] = static_cast<std::int64_t>(n_codes);
  return offsets;
}

Case some_case(Random& random, std::size_t most_codes, bool whole_codes) {
  const std::size_t n_bytes = some_width(random);
  const std::size_t stride = whole_codes || random.chance(0.7) ? n_bytes : n_bytes + random.below(40);
  const std::size_t n_codes = some_size(random, most_codes);
  std::size_t n_queries = random.one_of<std::size_t>({0, 1, 2, 3, 11, 12, 13, 15, 16, 17, 31, 32, 33, 100, 300});
  n_queries = std::min(n_queries, kMaxCompared / (n_bytes * (n_codes + 1)));
  Case made{some_codes(random, n_codes, stride), {}, {}, some_codes(random, n_queries, n_bytes), n_queries,
            random.between(1, 4), {}};
  for (std::size_t q = 0; n_codes && q < n_queries; q += 3) {
    std::copy_n(made.codes.data() + random.below(n_codes) * stride, n_bytes, made.queries.data() + q * n_bytes);
  }
  if (random.chance(0.5)) made.offsets = some_offsets(random, n_codes);
  const std::size_t n_items = made.offsets ? made.offsets->size() - 1 : n_codes;
  if (random.chance(0.5)) {
    const double share = random.one_of({0.0, 0.01, 0.5, 1.0});
    made.allow.emplace(random, n_items);
    for (bool& allowed : *made.allow) allowed = random.chance(share);
  }
  made.collection = {made.codes.data(), stride, n_bytes, n_codes, made.offsets ? made.offsets->data() : nullptr,
                     made.allow ? made.allow->data() : nullptr, n_items};
  return made;
}

template <class T>
void damage(Random& random, Buffer<T>& values, std::uint64_t plausible) {
  const std::size_t n_damaged = random.chance(0.3) ? values.size() : std::min<std::size_t>(values.size(), 5);
  for (std::size_t i = 0; i < n_damaged; ++i) {
    const std::size_t last = values.size() - 1;
    const std::size_t at = random.one_of({std::size_t{0}, last, random.between(0, last), random.between(0, last)});
    const std::uint64_t wild = random.bits() >> random.below(64);
    values[at] = static_cast<T>(random.chance(0.6) ? random.below(plausible + 2) : wild);
  }
}

// ---- Answers ----

std::vector<naive::Answer> row(const Found& found, std::size_t q) {
  std::vector<naive::Answer> answers;
  for (auto i = static_cast<std::size_t>(found.limits[q]); i < static_cast<std::size_t>(found.limits[q + 1]); ++i) {
    answers.push_back({found.distances[i], found.positions[i], found.members[i]});
  }
  return answers;
}

void require_well_formed(const Found& found, const Case& searched) {
  require(found.limits.size() == searched.n_queries + 1 && found.limits[0] == 0, "a limit for each query");
  require(std::is_sorted(found.limits.begin(), found.limits.end()), "limits ascend");
  const auto n = static_cast<std::size_t>(found.limits.back());
  require(found.distances.size() == n && found.positions.size() == n && found.members.size() == n, "columns are equal");
  for (std::size_t i = 0; i < n; ++i) {
    require(found.distances[i] >= 0 && found.distances[i] <= static_cast<std::int32_t>(searched.collection.n_bytes * 8),
            "a distance is a number of bits");
    require(found.positions[i] >= 0 && found.positions[i] < static_cast<std::int64_t>(searched.collection.n_items),
            "a position is one of an item");
  }
}

// The naive answers to each query: the `k` best of those up to a radius.
struct Expected {
  std::vector<std::vector<naive::Answer>> rankings;

  explicit Expected(const Case& searched) {
    for (std::size_t q = 0; q < searched.n_queries; ++q) {
      rankings.push_back(naive::ranking(searched.collection, searched.query(q)));
    }
  }

  std::vector<naive::Answer> nearest(std::size_t q, std::size_t k) const {
    const auto& all = rankings[q];
    return {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min(k, all.size()))};
  }

  std::vector<naive::Answer> within(std::size_t q, std::size_t radius) const {
    std::vector<naive::Answer> answers = rankings[q];
    while (!answers.empty() && answers.back().distance > static_cast<std::int32_t>(radius)) answers.pop_back();
    return answers;
  }
};

std::size_t some_k(Random& random) { return random.one_of<std::size_t>({0, 1, 1, 2, 10, 100, 5000, ~std::size_t{0}}); }

std::size_t some_radius(Random& random, const Case& searched) {
  return random.below(searched.collection.n_bytes * random.one_of<std::size_t>({1, 4, 8}) + 2);
}

// ---- One check of each part ----

void check_kernel(Random& random) {
  const BatchKernel& batch = kernels().batch(1);
  const Case made = some_case(random, std::max<std::size_t>(batch.block, 512), false);
  const Collection& collection = made.collection;
  if (collection.n_codes == 0 || made.n_queries == 0) return;
  const Rows rows{collection.codes, collection.n_codes, collection.stride, collection.n_bytes};
  Buffer<std::int32_t> distances(random, rows.n);
  for (std::size_t q = 0; q < made.n_queries; ++q) {
    kernels().distances(made.query(q), rows, distances.data());
    for (std::size_t i = 0; i < rows.n; ++i) {
      require(distances[i] == naive::distance(made.query(q), collection.code(i), rows.n_bytes), "kernel distances");
    }
    require(kernels().least(made.query(q), rows) == *std::min_element(distances.begin(), distances.end()), "least");
  }

  Buffer<std::uint32_t> positions(random, random.below(100));
  Buffer<std::int32_t> at(random, positions.size());
  for (std::uint32_t& position : positions) position = static_cast<std::uint32_t>(random.below(rows.n));
  kernels().distances_at(made.query(0), rows, positions.data(), positions.size(), at.data());
  for (std::size_t i = 0; i < at.size(); ++i) {
    const std::int32_t expected = naive::distance(made.query(0), collection.code(positions[i]), rows.n_bytes);
    require(at[i] == expected, "distances at positions");
  }
}

void check_near_tags(Random& random) {
  Buffer<std::uint64_t> entries(random, random.below(600));
  Buffer<std::uint32_t> near(random, entries.size());
  const std::uint64_t mask = random.bits() | random.bits();
  for (std::uint64_t& entry : entries) entry = random.bits() & mask;
  const auto tag = static_cast<std::uint32_t>(random.bits() & mask >> 32);
  const auto most = static_cast<std::uint32_t>(random.below(34));
  const std::size_t n_near = kernels().near_tags(entries.data(), entries.size(), tag, most, near.data());
  std::vector<std::uint32_t> expected;
  for (const std::uint64_t entry : entries) {
    std::size_t differing = 0;
    for (std::uint64_t bits = entry >> 32 ^ tag; bits; bits &= bits - 1) ++differing;
    if (differing <= most) expected.push_back(static_cast<std::uint32_t>(entry));
  }
  require(n_near == expected.size() && std::equal(expected.begin(), expected.end(), near.data()), "near tags");
}

struct alignas(64) Line {
  unsigned char bytes[64];
};

void check_batch_kernel(Random& random) {
  const Case made = some_case(random, 1536, false);
  const Collection& collection = made.collection;
  const BatchKernel& batch = kernels().batch(collection.n_bytes);
  const std::size_t n = std::min(collection.n_codes, batch.block);
  if (n == 0 || made.n_queries == 0) return;
  const std::size_t n_bytes = batch.memory_bytes(made.n_queries, collection.n_bytes);
  Buffer<Line> memory(random, (n_bytes + sizeof(Line) - 1) / sizeof(Line));
  auto* bytes = reinterpret_cast<unsigned char*>(memory.data());
  auto* after = reinterpret_cast<unsigned char*>(memory.end());
  std::fill(bytes, after, 0xa5);
  batch.prepare(bytes, made.queries.data(), made.n_queries, collection.n_bytes);
  std::vector<std::int32_t> limits;
  for (std::size_t q = 0; q < made.n_queries; ++q) {
    limits.push_back(static_cast<std::int32_t>(some_radius(random, made)));
    batch.set_limit(bytes, q, limits.back());
  }
  Buffer<BlockHit> hits(random, made.n_queries * batch.hits_a_query);
  const Rows rows{collection.codes, n, collection.stride, collection.n_bytes};
  const std::size_t n_hits = batch.below(bytes, rows, collection.n_codes - n, hits.data());
  require(n_hits <= hits.size(), "no more hits than there is room for");
  require(std::all_of(bytes + n_bytes, after, [](unsigned char b) { return b == 0xa5; }), "memory is kept to");

  std::vector<std::vector<std::size_t>> below(made.n_queries);
  for (std::size_t h = 0; h < n_hits; ++h) {
    std::vector<std::size_t> codes;
    for (std::size_t bit = 0; bit < 64 * batch.n_words; ++bit) {
      const std::size_t i = hits[h].first + bit;
      if (i < n && (hits[h].words[bit % batch.n_words] >> (bit / batch.n_words) & 1)) codes.push_back(i);
    }
    auto& known = below[hits[h].query];
    require(known.empty() || codes.empty() || known.back() < codes.front(), "hits of a query ascend");
    known.insert(known.end(), codes.begin(), codes.end());
  }
  for (std::size_t q = 0; q < made.n_queries; ++q) {
    std::vector<std::size_t> expected;
    for (std::size_t i = 0; i < n; ++i) {
      // A kernel may take a limit of 0 for one of 1: a hit is compared again before it is believed.
      const std::int32_t limit = limits[q] == 0 && !below[q].empty() ? 1 : limits[q];
      if (naive::distance(made.query(q), collection.code(i), collection.n_bytes) < limit) expected.push_back(i);
    }
    require(below[q] == expected, "codes below the limit");
  }
}

void check_scan(Random& random) {
  const Case made = some_case(random, 3000, false);
  const Expected expected(made);
  const std::size_t k = some_k(random), radius = some_radius(random, made);
  const Found nearest = knn(made.collection, made.queries.data(), made.n_queries, k, made.n_threads);
  const Found within = range_search(made.collection, made.queries.data(), made.n_queries,
                                    static_cast<std::int32_t>(radius), made.n_threads);
  require_well_formed(nearest, made);
  require_well_formed(within, made);
  for (std::size_t q = 0; q < made.n_queries; ++q) {
    require(row(nearest, q) == expected.nearest(q, k), "knn by a scan");
    require(row(within, q) == expected.within(q, radius), "range search by a scan");
  }
}

void check_damaged_scan(Random& random) {
  Case made = some_case(random, 1300, false);
  if (!made.offsets) return;
  for (int i = 0; i < 5; ++i) {
    damage(random, *made.offsets, made.collection.n_codes);
    made.collection.n_eligible();
    const std::size_t k = some_k(random);
    const auto radius = static_cast<std::int32_t>(some_radius(random, made));
    const std::uint8_t* queries = made.queries.data();
    require_well_formed(knn(made.collection, queries, made.n_queries, k, made.n_threads), made);
    require_well_formed(range_search(made.collection, queries, made.n_queries, radius, made.n_threads), made);
  }
}

// Searches of one collection by several callers at once, each on some threads.
void check_callers(Random& random) {
  const Case made = some_case(random, 2000, false);
  const std::size_t k = some_k(random);
  const auto search = [&] { return knn(made.collection, made.queries.data(), made.n_queries, k, 2); };
  std::vector<std::future<Found>> others;
  for (int i = 0; i < 3; ++i) others.push_back(std::async(std::launch::async, search));
  const Found own = search();
  for (auto& other : others) {
    const Found found = other.get();
    require(found.limits == own.limits && found.distances == own.distances && found.positions == own.positions &&
                found.members == own.members,
            "every caller finds the same");
  }
}

void check_find(Random& random) {
  const std::size_t n = some_size(random, 2000);
  Buffer<std::int64_t> ids(random, n), wanted(random, some_size(random, 2000)), positions(random, wanted.size());
  std::int64_t id = random.chance(0.5) ? 0 : static_cast<std::int64_t>(random.bits() >> 2) * -1;
  const std::size_t gap = random.one_of<std::size_t>({1, 3, 1000, std::size_t{1} << 48});
  for (std::int64_t& next : ids) next = id += static_cast<std::int64_t>(random.between(1, gap));
  for (std::int64_t& one : wanted) {
    const bool is_there = n && random.chance(0.7);
    one = is_there ? ids[random.below(n)] + random.chance(0.2) : static_cast<std::int64_t>(random.bits());
  }
  if (random.chance(0.5)) std::sort(wanted.begin(), wanted.end());
  const bool sound = random.chance(0.7);
  if (!sound) damage(random, ids, n);
  find(ids.data(), n, wanted.data(), wanted.size(), positions.data());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const bool found = positions[i] >= 0;
    require(positions[i] < static_cast<std::int64_t>(n), "a position inside the ids");
    require(!found || ids[static_cast<std::size_t>(positions[i])] == wanted[i], "where the wanted id is");
    require(found || !sound || !std::binary_search(ids.begin(), ids.end(), wanted[i]), "an id that is there is found");
  }
}

void check_asymmetric(Random& random) {
  Case made = some_case(random, 300, true);
  const Collection& collection = made.collection;
  if (collection.n_items == 0) return;
  const std::size_t n_queries = std::min<std::size_t>(made.n_queries, 5), k = random.below(20);
  Buffer<std::int32_t> weights(random, n_queries * collection.n_bytes * 8);
  const std::size_t most = random.one_of<std::size_t>({1, 100, kMaxWeight});
  for (std::int32_t& weight : weights) weight = static_cast<std::int32_t>(random.between(most == 1 ? 0 : 1, most));
  const bool shared = random.chance(0.3);
  Buffer<std::int64_t> items(random, (shared ? 1 : n_queries) * k);
  for (std::int64_t& item : items) item = static_cast<std::int64_t>(random.below(collection.n_items + 1)) - 1;
  const bool sound = !made.offsets || random.chance(0.6);
  if (!sound) damage(random, *made.offsets, collection.n_codes);
  const WeightedSums found = asymmetric(collection, made.queries.data(), weights.data(), n_queries, items.data(),
                                        shared ? 0 : k, k);
  require(found.sums.size() == n_queries * k && found.members.size() == n_queries * k &&
              found.distances.size() == n_queries * k,
          "a sum for each item");
  for (std::size_t slot = 0; sound && slot < n_queries * k; ++slot) {
    const std::int64_t item = items[shared ? slot % k : slot];
    const std::size_t first = item < 0 ? 0 : collection.first(static_cast<std::size_t>(item));
    const std::size_t last = item < 0 ? 0 : collection.last(static_cast<std::size_t>(item));
    std::int32_t sum = std::numeric_limits<std::int32_t>::max(), distance = sum;
    std::int64_t member = -1;
    for (std::size_t i = first; i < last; ++i) {
      const std::int32_t of_code = naive::weighted_sum(made.query(slot / k), collection.code(i),
                                                       &weights[slot / k * collection.n_bytes * 8], collection.n_bytes);
      if (of_code >= sum) continue;
      sum = of_code, member = static_cast<std::int64_t>(i - first);
      distance = naive::distance(made.query(slot / k), collection.code(i), collection.n_bytes);
    }
    require(found.sums[slot] == sum && found.members[slot] == member, "asymmetric sums");
    require(found.distances[slot] == distance, "the distance of the code with the least sum");
  }
}

// ---- Multi-index hashing ----

struct MultiIndexCase : Case {
  std::vector<std::int64_t> bounds{0};
  Tables tables;
  Buffer<std::uint32_t> starts;
  Buffer<std::uint64_t> entries;
};

std::vector<std::int64_t> some_bounds(Random& random, std::size_t n_bytes) {
  const auto n_bits = static_cast<std::int64_t>(n_bytes * 8);
  const std::size_t longest = random.chance(0.1) ? 16 : 11;
  std::vector<std::int64_t> bounds{0};
  while (bounds.back() < n_bits) {
    bounds.push_back(std::min(n_bits, bounds.back() + static_cast<std::int64_t>(random.between(1, longest))));
  }
  return bounds;
}

MultiIndexCase some_tables(Random& random) {
  Case made = some_case(random, 600, true);
  made.n_queries = std::min<std::size_t>(made.n_queries, 4);
  const Collection& collection = made.collection;
  std::vector<std::int64_t> bounds = some_bounds(random, collection.n_bytes);
  std::vector<TableBits> bits = cut(bounds.data(), bounds.size(), collection.n_bytes);
  Buffer<std::uint32_t> starts(random, n_starts(bits));
  Buffer<std::uint64_t> entries(random, bits.size() * collection.n_codes);
  build_tables(collection.codes, collection.n_codes, collection.n_bytes, bits, starts.data(), entries.data(),
               made.n_threads);
  const Tables tables{bits, starts.data(), entries.data()};
  return {std::move(made), std::move(bounds), tables, std::move(starts), std::move(entries)};
}

void check_tables(Random& random) {
  MultiIndexCase made = some_tables(random);
  const Collection& collection = made.collection;
  const std::size_t n_bits = collection.n_bytes * 8;
  const std::uint32_t* starts = made.starts.data();
  const std::uint64_t* entries = made.entries.data();
  for (std::size_t t = 0; t + 1 < made.bounds.size(); ++t, entries += collection.n_codes) {
    const auto first = static_cast<std::size_t>(made.bounds[t]), last = static_cast<std::size_t>(made.bounds[t + 1]);
    const std::size_t after = std::min<std::size_t>(32, n_bits - last), before = std::min<std::size_t>(32, first);
    const std::size_t tag_first = after >= before ? last : first - before;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> expected;  // key and entry
    std::vector<std::uint32_t> sizes((std::size_t{1} << (last - first)) + 1, 0);
    for (std::size_t i = 0; i < collection.n_codes; ++i) {
      const std::uint8_t* code = collection.code(i);
      const std::uint64_t tag = naive::number(code, tag_first, tag_first + std::max(after, before));
      expected.push_back({naive::number(code, first, last), tag << 32 | i});
      ++sizes[expected.back().first + 1];
    }
    std::stable_sort(expected.begin(), expected.end(), [](auto& a, auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < expected.size(); ++i) require(entries[i] == expected[i].second, "entries of a table");
    std::uint32_t start = 0;
    for (const std::uint32_t size : sizes) require(*starts++ == (start += size), "starts of a table");
  }
}

void check_multi_index(Random& random) {
  const MultiIndexCase made = some_tables(random);
  const Expected expected(made);
  const std::size_t k = some_k(random), radius = some_radius(random, made);
  const bool endless = random.chance(0.7);
  const double budget = endless ? INFINITY : static_cast<double>(random.bits() >> random.between(40, 60));
  const TableAnswers nearest = multi_index_knn(made.collection, made.tables, made.queries.data(), made.n_queries, k,
                                               budget, made.n_threads);
  const TableAnswers within = multi_index_range(made.collection, made.tables, made.queries.data(), made.n_queries,
                                                radius, budget, made.n_threads);
  require_well_formed(nearest.found, made);
  require_well_formed(within.found, made);
  require(nearest.finished.size() == made.n_queries && within.finished.size() == made.n_queries, "a flag a query");
  for (std::size_t q = 0; q < made.n_queries; ++q) {
    require(!endless || (nearest.finished[q] && within.finished[q]), "a query without a bound is finished");
    require(!nearest.finished[q] || row(nearest.found, q) == expected.nearest(q, k), "knn by tables");
    require(!within.finished[q] || row(within.found, q) == expected.within(q, radius), "range search by tables");
  }
}

void check_damaged_multi_index(Random& random) {
  MultiIndexCase made = some_tables(random);
  const std::size_t n_codes = made.collection.n_codes;
  if (random.chance(0.7)) damage(random, made.starts, n_codes);
  if (made.entries.size() && random.chance(0.7)) damage(random, made.entries, n_codes);
  if (made.offsets && random.chance(0.7)) damage(random, *made.offsets, n_codes);
  const double budget = random.one_of({0.0, 1e4, 1e5, 1e6, double{NAN}});
  const TableAnswers nearest = multi_index_knn(made.collection, made.tables, made.queries.data(), made.n_queries,
                                               some_k(random), budget, made.n_threads);
  require_well_formed(nearest.found, made);
  const TableAnswers within =
      multi_index_range(made.collection, made.tables, made.queries.data(), made.n_queries,
                        some_radius(random, made), budget, made.n_threads);
  require_well_formed(within.found, made);
}

// ---- Rounds ----

using Check = void (*)(Random&);
constexpr Check kChecks[] = {check_kernel,     check_near_tags, check_batch_kernel, check_scan,
                             check_damaged_scan, check_callers,   check_find,         check_asymmetric,
                             check_tables,     check_multi_index, check_damaged_multi_index};
constexpr std::size_t kNumberOfChecks = sizeof(kChecks) / sizeof(kChecks[0]);

unsigned long long seed, current_round;

void say_where() {
  std::fprintf(stderr, "in round %llu of seed %llu, kernel %s\n", current_round, seed, kernels().name);
}

void run_round() {
  const auto& all = all_kernels();
  use_kernels(all[current_round % all.size()]->name);
  Random random(seed * 0x9e3779b97f4a7c15u + current_round);
  kChecks[current_round / all.size() % kNumberOfChecks](random);
}

int run(double seconds) {
  const auto begin = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  const unsigned long long first_round = current_round;
  for (; current_round == first_round || elapsed() < seconds; ++current_round) {
    try {
      run_round();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "FAILED: %s\n", error.what());
      say_where();
      return 1;
    }
  }
  std::printf("%llu rounds of seed %llu with", current_round - first_round, seed);
  for (const Kernels* kernels : all_kernels()) std::printf(" %s", kernels->name);
  std::printf("\n");
  return 0;
}

}  // namespace
}  // namespace grainhash

// The runtime of a sanitizer has this, which then says what was being done when it stopped the program.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

int main(int n_arguments, char** arguments) {
  if (n_arguments < 3) {
    std::fprintf(stderr, "usage: fuzz SEED SECONDS [FIRST_ROUND]\n");
    return 2;
  }
  grainhash::seed = std::strtoull(arguments[1], nullptr, 10);
  if (n_arguments > 3) grainhash::current_round = std::strtoull(arguments[3], nullptr, 10);
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(grainhash::say_where);
  return grainhash::run(std::strtod(arguments[2], nullptr));
}
