// The sliced kernel: a block of codes turned on its side, compared bit by bit with many queries.
//
// Included by the file of each instruction set, which first defines `Word`, a vector of 64-bit words,
// one bit a code, and the few operations on it. Bit `b` of all codes of a block is then one word, and a
// distance is the sum of as many words as there are bits, kept as binary digits that are words too
// (bit-sliced arithmetic).
//
// - Bits are taken in groups of three. What three bits of a query make of three bits of all codes is
//   a number from 0 to 3, two digits; there are eight possible triples in a query, so both digits
//   are looked up in a table made once a block (the method of the Four Russians).
// - Digits are summed by carry-save adders: each takes three words of one weight and leaves one of it
//   and one of twice the weight. Which adder takes which words is settled while compiling.
// - Sums are never read. A borrow chain compares them with the query's limit, digit by digit, and
//   leaves one bit a code; almost always all are 0.
//
// No function of the standard library is called here: an inline one would be compiled for this
// instruction set and might be taken by the linker for processors without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace grainhash {
namespace {

#if defined(_MSC_VER)
#define GRAINHASH_INLINE __forceinline
#else
#define GRAINHASH_INLINE inline __attribute__((always_inline))
#endif

constexpr std::size_t kWords = sizeof(Word) / 8;
constexpr std::size_t kLanes = kWords * 64;

constexpr std::size_t kMaxChunks = 11;   // of a code: of 127 bytes
constexpr std::size_t kPlanes = 130;     // bits of a chunk, and two that are always 0 to fill up the last group
constexpr std::size_t kTableWords = 10;  // of a group: the low digit of even and odd patterns, and the high one of each
constexpr std::size_t kDigits = 11;      // of a distance up to 1024, and of a limit one above it
constexpr std::size_t kTogether = 16;    // queries whose sums stay in the L1 cache beside the tables of a chunk

// The bytes of a code are taken in chunks, whose tables stay in the L1 cache.
constexpr std::size_t chunk_bytes(std::size_t left) {
  return left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

constexpr std::size_t groups_of(std::size_t chunk) { return (chunk * 8 + 2) / 3; }

constexpr std::size_t groups_of_code(std::size_t n_bytes) {
  std::size_t n_groups = 0;
  while (n_bytes) {
    const std::size_t chunk = chunk_bytes(n_bytes);
    n_groups += groups_of(chunk);
    n_bytes -= chunk;
  }
  return n_groups;
}

// Where a pattern's high digit is among eight; the lowest bit says which low digit goes with it.
constexpr std::size_t slot_of(std::size_t pattern) {
  return ((pattern ^ (pattern >> 1) ^ (pattern >> 2)) & 1) | (pattern & 6);
}

// The piece of memory of a batch of queries.
struct Batch {
  std::size_t n_queries;
  std::size_t n_bytes;
  std::size_t n_groups;
  Word* planes;              // of one chunk
  Word* sums;                // kDigits for each of kTogether queries
  Word* tables;              // of all chunks
  std::uint64_t* limits;     // kDigits a query: all ones where the limit has that digit
  std::uint16_t* patterns;   // n_groups a query: where in bytes the digits of its pattern are in a table
};

constexpr std::size_t kHeaderBytes = 128;
static_assert(sizeof(Batch) <= kHeaderBytes);

// Turns 64 words of 64 bits on their side, in each 64-bit lane: bit `b` of word `r` becomes bit `r`
// of word `b`. Blocks are swapped across the diagonal at sizes 32 to 1, three sizes a pass so that
// eight words at a time stay in registers.
template <int kSize>
GRAINHASH_INLINE void swap_blocks(Word& a, Word& b) {
  constexpr std::uint64_t kMask = kSize == 32   ? 0x00000000ffffffff
                                  : kSize == 16 ? 0x0000ffff0000ffff
                                  : kSize == 8  ? 0x00ff00ff00ff00ff
                                  : kSize == 4  ? 0x0f0f0f0f0f0f0f0f
                                  : kSize == 2  ? 0x3333333333333333
                                                : 0x5555555555555555;
  const Word moved = and_(xor_(shift_right<kSize>(a), b), broadcast(kMask));
  b = xor_(b, moved);
  a = xor_(a, shift_left<kSize>(moved));
}

template <int kSize>
GRAINHASH_INLINE void turn_eight(Word* words, std::size_t step) {
  Word w[8];
  for (int i = 0; i < 8; ++i) w[i] = words[i * step];
  for (int i = 0; i < 4; ++i) swap_blocks<kSize>(w[i], w[i + 4]);
  for (int i = 0; i < 8; i += 4) {
    swap_blocks<kSize / 2>(w[i], w[i + 2]);
    swap_blocks<kSize / 2>(w[i + 1], w[i + 3]);
  }
  for (int i = 0; i < 8; i += 2) swap_blocks<kSize / 4>(w[i], w[i + 1]);
  for (int i = 0; i < 8; ++i) words[i * step] = w[i];
}

GRAINHASH_INLINE void turn(Word* words) {
  for (std::size_t i = 0; i < 8; ++i) turn_eight<32>(words + i, 8);
  for (std::size_t i = 0; i < 8; ++i) turn_eight<4>(words + 8 * i, 1);
}

// Lays bytes `begin` to `begin + width` of each code into `words`, a 64-bit lane a code.
GRAINHASH_INLINE void gather(const Rows& rows, std::size_t begin, std::size_t width, Word* words) {
  auto* lanes = reinterpret_cast<unsigned char*>(words);
  const std::uint8_t* code = rows.codes + begin;
  if (width == 8 && rows.n == kLanes) {
    for (std::size_t i = 0; i < 64; ++i, code += kWords * rows.stride) words[i] = load_strided(code, rows.stride);
  } else {
    std::memset(lanes, 0, kLanes * 8);
    for (std::size_t i = 0; i < rows.n; ++i, code += rows.stride) std::memcpy(lanes + 8 * i, code, width);
  }
}

// For each triple of bits and each of the eight patterns of a query: the two digits of how many differ.
GRAINHASH_INLINE void make_tables(Word* planes, std::size_t n_groups, Word* tables) {
  for (std::size_t g = 0; g < n_groups; ++g, tables += kTableWords) {
    const Word a = planes[3 * g], b = planes[3 * g + 1], c = planes[3 * g + 2];
    const Word even = xor3(a, b, c), odd = not_(even);
    const Word carry[4] = {majority(a, b, c), majority(not_(a), b, c), majority(a, not_(b), c),
                           majority(not_(a), not_(b), c)};
    tables[0] = even;
    tables[1] = odd;
    for (std::size_t p = 0; p < 8; ++p) tables[2 + slot_of(p)] = p < 4 ? carry[p] : not_(carry[7 - p]);
  }
}

// Carry-save adders over the digits of `kGroups` groups. At each weight the first word stays in
// `sum`; of the following ones every second waits in `waiting` for the next to be added with it.
// `kFrom` is 1 where `sum` starts out with the digits of earlier groups.
template <std::size_t kGroups, std::size_t kFrom, std::size_t kSums>
class Adders {
 public:
  explicit Adders(Word* sum) : sum_(sum) {}

  GRAINHASH_INLINE void add_all(const unsigned char* tables, const std::uint16_t* patterns) {
    add_group<0>(tables, patterns);
    finish<0, false>(Word{});
  }

 private:
  // Words that reach a weight once `ones` sums and `twos` carries of groups have been added.
  static constexpr std::size_t carries(std::size_t n) { return n == 0 ? 0 : (n - 1) / 2; }
  static constexpr std::size_t arrived(std::size_t weight, std::size_t ones, std::size_t twos) {
    if (weight == 0) return kFrom + ones;
    return kFrom + (weight == 1 ? twos : 0) + carries(arrived(weight - 1, ones, twos));
  }

  template <std::size_t kGroup>
  GRAINHASH_INLINE void add_group(const unsigned char* tables, const std::uint16_t* patterns) {
    if constexpr (kGroup < kGroups) {
      const unsigned char* table = tables + kGroup * kTableWords * sizeof(Word);
      const std::size_t slot = patterns[kGroup];
      add<0, kGroup, kGroup>(*reinterpret_cast<const Word*>(table + (slot & sizeof(Word))));
      add<1, kGroup + 1, kGroup>(*reinterpret_cast<const Word*>(table + 2 * sizeof(Word) + slot));
      add_group<kGroup + 1>(tables, patterns);
    }
  }

  template <std::size_t kWeight, std::size_t kOnes, std::size_t kTwos>
  GRAINHASH_INLINE void add(Word word) {
    if constexpr (kWeight < kSums) {
      constexpr std::size_t kArrived = arrived(kWeight, kOnes, kTwos);
      if constexpr (kArrived == 0) {
        sum_[kWeight] = word;
      } else if constexpr (kArrived % 2 == 1) {
        waiting_[kWeight] = word;
      } else {
        const Word carry = add3(sum_[kWeight], waiting_[kWeight], word);
        add<kWeight + 1, kOnes, kTwos>(carry);
      }
    }
  }

  // Adds what still waits, from the lowest weight up.
  template <std::size_t kWeight, bool kCarried>
  GRAINHASH_INLINE void finish(Word carry) {
    if constexpr (kWeight < kSums) {
      constexpr std::size_t kArrived = arrived(kWeight, kGroups, kGroups);
      constexpr bool kWaits = kArrived != 0 && kArrived % 2 == 0;
      if constexpr (kArrived == 0) {
        sum_[kWeight] = kCarried ? carry : Word{};
        finish<kWeight + 1, false>(Word{});
      } else if constexpr (kWaits && kCarried) {
        const Word next = add3(sum_[kWeight], waiting_[kWeight], carry);
        finish<kWeight + 1, true>(next);
      } else if constexpr (kWaits || kCarried) {
        const Word other = kCarried ? carry : waiting_[kWeight];
        const Word next = and_(sum_[kWeight], other);
        sum_[kWeight] = xor_(sum_[kWeight], other);
        finish<kWeight + 1, true>(next);
      } else {
        finish<kWeight + 1, false>(Word{});
      }
    }
  }

  Word* sum_;
  Word waiting_[kSums];
};

// Where the sums are below the limit, digit by digit from the lowest: the higher digit decides unless
// it is equal.
template <std::size_t kSums>
GRAINHASH_INLINE Word is_below(const Word* sum, const std::uint64_t* limit) {
  Word below{};
  for (std::size_t i = 0; i < kSums; ++i) {
    below = majority(not_(sum[i]), broadcast(limit[i]), below);
  }
  return below;
}

// Asks for the next block of codes line by line while this one is worked on: the memory then never
// waits for the arithmetic, nor the arithmetic for the memory.
class Ahead {
 public:
  GRAINHASH_INLINE Ahead(const Rows& rows, std::size_t n_after)
      : next_(rows.codes + rows.n * rows.stride),
        end_(next_ + (n_after < kLanes ? n_after : kLanes) * rows.stride) {}

  GRAINHASH_INLINE void fetch() {
    if (next_ >= end_) return;
#if defined(__GNUC__)
    __builtin_prefetch(next_);
    __builtin_prefetch(next_ + 64);
#endif
    next_ += 128;
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

// A chunk of the codes and some of the queries.
struct Task {
  std::size_t first_group;  // of the chunk
  std::size_t begin, end;   // of the queries
};

// Adds a chunk of the codes' bits to the sums of some queries; after the last, compares them.
template <std::size_t kBytes, bool kFirst, bool kLast, std::size_t kSums>
std::size_t add_chunk(const Batch& batch, const Task& task, Ahead& ahead, BlockHit* hits) {
  const auto* tables = reinterpret_cast<const unsigned char*>(batch.tables + task.first_group * kTableWords);
  const std::uint16_t* patterns = batch.patterns + task.begin * batch.n_groups + task.first_group;
  Word* stored = batch.sums;
  std::size_t n_hits = 0;
  for (std::size_t q = task.begin; q < task.end; ++q, patterns += batch.n_groups, stored += kDigits) {
    ahead.fetch();
    Word sum[kSums];
    if constexpr (!kFirst) {
      for (std::size_t i = 0; i < kSums; ++i) sum[i] = stored[i];
    }
    Adders<groups_of(kBytes), kFirst ? 0 : 1, kSums>(sum).add_all(tables, patterns);
    if constexpr (kLast) {
      const Word below = is_below<kSums>(sum, batch.limits + q * kDigits);
      if (any(below)) {
        hits[n_hits].query = q;
        hits[n_hits].first = 0;
        std::memcpy(hits[n_hits].words, &below, sizeof(Word));
        ++n_hits;
      }
    } else {
      for (std::size_t i = 0; i < kSums; ++i) stored[i] = sum[i];
      for (std::size_t i = kSums; i < kDigits; ++i) stored[i] = Word{};
    }
  }
  return n_hits;
}

using AddChunk = std::size_t (*)(const Batch&, const Task&, Ahead&, BlockHit*);

// Sums of up to 504 bits take nine digits, longer ones eleven.
template <std::size_t kBytes>
GRAINHASH_INLINE AddChunk chunk_adder(bool first, bool last, bool is_long) {
  constexpr std::size_t kSums = kBytes == 16 ? 8 : 7;  // of 128 and of 64
  if (first) return last ? add_chunk<kBytes, true, true, kSums> : add_chunk<kBytes, true, false, kSums>;
  if (is_long) return last ? add_chunk<kBytes, false, true, kDigits> : add_chunk<kBytes, false, false, kDigits>;
  return last ? add_chunk<kBytes, false, true, 9> : add_chunk<kBytes, false, false, 9>;
}

GRAINHASH_INLINE AddChunk chunk_adder(std::size_t width, bool first, bool last, bool is_long) {
  switch (width) {
    case 16: return chunk_adder<16>(first, last, is_long);
    case 8: return chunk_adder<8>(first, last, is_long);
    case 4: return chunk_adder<4>(first, last, is_long);
    case 2: return chunk_adder<2>(first, last, is_long);
    default: return chunk_adder<1>(first, last, is_long);
  }
}

std::size_t sliced_below(void* memory, const Rows& rows, std::size_t n_after, BlockHit* hits) {
  const Batch& batch = *static_cast<const Batch*>(memory);
  AddChunk adders[kMaxChunks];
  std::size_t first_groups[kMaxChunks];
  std::size_t n_chunks = 0, group = 0;
  for (std::size_t begin = 0; begin < rows.n_bytes; ++n_chunks) {
    const std::size_t width = chunk_bytes(rows.n_bytes - begin);
    for (std::size_t b = 0; b < width; b += 8) {
      gather(rows, begin + b, width < 8 ? width : 8, batch.planes + 8 * b);
      turn(batch.planes + 8 * b);
    }
    batch.planes[8 * width] = batch.planes[8 * width + 1] = Word{};
    make_tables(batch.planes, groups_of(width), batch.tables + group * kTableWords);
    adders[n_chunks] = chunk_adder(width, begin == 0, begin + width == rows.n_bytes, rows.n_bytes > 63);
    first_groups[n_chunks] = group;
    begin += width;
    group += groups_of(width);
  }
  Ahead ahead(rows, n_after);
  std::size_t n_hits = 0;
  const std::size_t together = n_chunks == 1 ? batch.n_queries : kTogether;
  for (std::size_t begin = 0; begin < batch.n_queries; begin += together) {
    const std::size_t end = begin + together < batch.n_queries ? begin + together : batch.n_queries;
    for (std::size_t c = 0; c < n_chunks; ++c) {
      n_hits += adders[c](batch, {first_groups[c], begin, end}, ahead, hits + n_hits);
    }
  }
  return n_hits;
}

// Bits 3g to 3g + 2 of a chunk, where bit 0 is the lowest of byte 0; 0 past its end.
GRAINHASH_INLINE std::size_t pattern_of(const std::uint8_t* chunk, std::size_t width, std::size_t g) {
  std::size_t pattern = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t bit = 3 * g + i;
    if (bit < width * 8) pattern |= static_cast<std::size_t>((chunk[bit / 8] >> (bit % 8)) & 1) << i;
  }
  return pattern;
}

std::size_t sliced_memory_bytes(std::size_t n_queries, std::size_t n_bytes) {
  const std::size_t n_groups = groups_of_code(n_bytes);
  return kHeaderBytes + (kPlanes + kTogether * kDigits + n_groups * kTableWords) * sizeof(Word) +
         n_queries * (kDigits * sizeof(std::uint64_t) + n_groups * sizeof(std::uint16_t));
}

void sliced_prepare(void* memory, const std::uint8_t* queries, std::size_t n_queries, std::size_t n_bytes) {
  auto& batch = *static_cast<Batch*>(memory);
  batch.n_queries = n_queries;
  batch.n_bytes = n_bytes;
  batch.n_groups = groups_of_code(n_bytes);
  batch.planes = reinterpret_cast<Word*>(static_cast<unsigned char*>(memory) + kHeaderBytes);
  batch.sums = batch.planes + kPlanes;
  batch.tables = batch.sums + kTogether * kDigits;
  batch.limits = reinterpret_cast<std::uint64_t*>(batch.tables + batch.n_groups * kTableWords);
  batch.patterns = reinterpret_cast<std::uint16_t*>(batch.limits + n_queries * kDigits);
  std::uint16_t* pattern = batch.patterns;
  for (const std::uint8_t* code = queries; code < queries + n_queries * n_bytes; code += n_bytes) {
    for (std::size_t begin = 0; begin < n_bytes;) {
      const std::size_t width = chunk_bytes(n_bytes - begin);
      for (std::size_t g = 0; g < groups_of(width); ++g) {
        *pattern++ = static_cast<std::uint16_t>(slot_of(pattern_of(code + begin, width, g)) * sizeof(Word));
      }
      begin += width;
    }
  }
}

void sliced_set_limit(void* memory, std::size_t query, std::int32_t limit) {
  const Batch& batch = *static_cast<const Batch*>(memory);
  const auto above_all = static_cast<std::int32_t>(batch.n_bytes * 8 + 1);
  const std::int32_t bounded = limit < above_all ? limit : above_all;
  for (std::size_t i = 0; i < kDigits; ++i) {
    batch.limits[query * kDigits + i] = (bounded >> i) & 1 ? ~std::uint64_t{0} : 0;
  }
}

constexpr BatchKernel sliced_kernel(std::size_t worth_from) {
  return {kLanes, kWords, 1, worth_from, sliced_memory_bytes, sliced_prepare, sliced_set_limit, sliced_below};
}

}  // namespace
}  // namespace grainhash
