// AMX: Intel since Sapphire Rapids. A matrix unit multiplies tiles of 16 x 64 by 64 x 16 bytes.
//
// With the bits of a code as bytes 0 and -1, and those of a query as -1 for 0 and 1 for 1, their dot
// product is the distance less the ones of the query. So the distances of 16 codes to 16 queries are one
// tile of sums, made over 64 bits at a time.
//
// The unit waits for nobody if sums are made in one tile while another is stored and looked through,
// and if tiles of codes stay where they are:
// - Codes of 64 bits leave so little work in a tile of sums that storing it would take as long. Two
//   codes therefore share each sum, the second with bytes 0 and -128, so that it counts 128 times.
// - Of codes of up to 128 bits, four tiles of codes stay while all queries pass by (`stay`).
// - Of longer ones, tiles of codes and of queries are loaded as they are needed (`stream`).
// Codes are spread out to bytes for the next round while this one is multiplied.
#include "kernels.h"
#include "variants.h"

#if (defined(__AMX_INT8__) || defined(__AMXINT8__)) && defined(__AVX512BW__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace grainhash {
namespace {

constexpr std::size_t kSide = 16;         // rows of a tile, and 32-bit columns
constexpr std::size_t kTile = 1024;       // bytes
constexpr std::size_t kSums = kTile / 4;  // of 32 bits, in a tile
constexpr std::size_t kBlock = 512;       // codes
constexpr std::size_t kHeaderBytes = 64;

// Distances of codes of 64 bits share a sum, in its bits 0 to 6 and 7 to 13. To both is added 64 less the
// limit, so that their highest bits, 6 and 13, say that a code is not below the limit.
constexpr std::int32_t kNotBelow = 64;
constexpr std::int32_t kBoth = 1 + 128;

constexpr std::int32_t kNone = -(1 << 20);  // a limit that no sum is below
constexpr std::int32_t kAll = -(1 << 30);   // in the place of what is added: a limit that all are below

// The piece of memory of a batch of queries. Their number is filled up to whole pairs of tiles.
struct Batch {
  std::size_t n_queries;
  std::size_t n_groups;     // of 16 of them
  std::size_t n_chunks;     // of 64 bits
  unsigned char* queries;   // a tile a chunk for each group
  unsigned char* codes[2];  // four tiles a chunk: those of this round, and of the next
  std::int32_t* limits;     // a query: its limit less its ones; for 64 bits, what is added to both distances
  std::int32_t* ones;       // a query
};
static_assert(sizeof(Batch) <= kHeaderBytes);

std::size_t chunks_of(std::size_t n_bytes) { return (n_bytes + 7) / 8; }
std::size_t groups_of(std::size_t n_queries) { return (n_queries + 2 * kSide - 1) / (2 * kSide) * 2; }

std::size_t memory_bytes(std::size_t n_queries, std::size_t n_bytes) {
  const std::size_t n_tiles = (groups_of(n_queries) + 8) * chunks_of(n_bytes);
  return kHeaderBytes + n_tiles * kTile + groups_of(n_queries) * kSide * 2 * sizeof(std::int32_t);
}

void prepare(void* memory, const std::uint8_t* queries, std::size_t n_queries, std::size_t n_bytes) {
  auto& batch = *static_cast<Batch*>(memory);
  batch.n_groups = groups_of(n_queries);
  batch.n_queries = batch.n_groups * kSide;
  batch.n_chunks = chunks_of(n_bytes);
  batch.queries = static_cast<unsigned char*>(memory) + kHeaderBytes;
  batch.codes[0] = batch.queries + batch.n_groups * batch.n_chunks * kTile;
  batch.codes[1] = batch.codes[0] + 4 * batch.n_chunks * kTile;
  batch.limits = reinterpret_cast<std::int32_t*>(batch.codes[1] + 4 * batch.n_chunks * kTile);
  batch.ones = batch.limits + batch.n_queries;
  std::memset(batch.queries, 0, batch.n_groups * batch.n_chunks * kTile);
  for (std::size_t q = 0; q < batch.n_queries; ++q) {
    batch.limits[q] = batch.n_chunks == 1 ? kNotBelow * kBoth : kNone;
    batch.ones[q] = 0;
  }
  for (std::size_t q = 0; q < n_queries; ++q) {
    for (std::size_t bit = 0; bit < n_bytes * 8; ++bit) {
      const bool is_one = (queries[q * n_bytes + bit / 8] >> (bit % 8)) & 1;
      batch.ones[q] += is_one;
      // The unit takes four bits of each of 16 queries together.
      unsigned char* tile = batch.queries + (q / kSide * batch.n_chunks + bit / 64) * kTile;
      tile[bit % 64 / 4 * 64 + q % kSide * 4 + bit % 4] = is_one ? 1 : 0xff;
    }
  }
}

void set_limit(void* memory, std::size_t query, std::int32_t limit) {
  const Batch& batch = *static_cast<const Batch*>(memory);
  const auto above_all = static_cast<std::int32_t>(batch.n_chunks * 64 + 1);
  const std::int32_t bounded = limit < above_all ? limit : above_all;
  const std::int32_t at_least_1 = bounded > 1 ? bounded : 1;  // with 0, distance 64 would not fit into seven bits
  if (batch.n_chunks > 1) {
    batch.limits[query] = bounded - batch.ones[query];
  } else {
    const std::int32_t added = (batch.ones[query] - at_least_1 + kNotBelow) * kBoth;
    batch.limits[query] = bounded == above_all ? kAll : added;
  }
}

// Spreads out codes `begin` to before `end` of a round, which starts at code `first`, into its tiles: for
// each 16 codes a tile a chunk. Of codes of 64 bits every second tile is to count 128 times.
template <std::size_t kChunks>
inline void spread_whole(const Rows& rows, std::size_t first, std::size_t begin, std::size_t end,
                         unsigned char* tiles) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint8_t* code = rows.codes + (first + i) * rows.stride;
    unsigned char* row = tiles + i / kSide * kChunks * kTile + i % kSide * 64;
    const __m512i ones = _mm512_set1_epi8(kChunks == 1 && i / kSide % 2 ? -128 : -1);
    for (std::size_t c = 0; c < kChunks; ++c) {
      std::uint64_t bits;
      std::memcpy(&bits, code + 8 * c, 8);
      _mm512_store_si512(row + c * kTile, _mm512_maskz_mov_epi8(bits, ones));
    }
  }
}

// The same for any width, and with zeros for codes past the last.
__attribute__((noinline)) void spread_any(const Rows& rows, std::size_t first, std::size_t begin,
                                          std::size_t end, std::size_t n_chunks, unsigned char* tiles) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint8_t* code = rows.codes + (first + i) * rows.stride;
    unsigned char* row = tiles + i / kSide * n_chunks * kTile + i % kSide * 64;
    const char one = n_chunks == 1 && i / kSide % 2 ? -128 : -1;
    for (std::size_t c = 0; c < n_chunks; ++c) {
      const std::size_t left = rows.n_bytes - 8 * c;
      std::uint64_t bits = 0;
      if (first + i < rows.n) std::memcpy(&bits, code + 8 * c, left < 8 ? left : 8);
      _mm512_store_si512(row + c * kTile, _mm512_maskz_set1_epi8(bits, one));
    }
  }
}

// What goes on beside the multiplication: the next round is spread out, the next block asked of memory.
template <std::size_t kChunks, std::size_t kRound>
class NextRound {
 public:
  NextRound(const Batch& batch, const Rows& rows, std::size_t n_after)
      : rows_(rows),
        n_chunks_(kChunks ? kChunks : batch.n_chunks),
        codes_a_group_((kRound + batch.n_groups - 1) / batch.n_groups),
        lines_a_group_((codes_a_group_ * rows.stride + 63) / 64),
        ahead_(rows.codes + rows.n * rows.stride),
        ahead_end_(ahead_ + (n_after < rows.n ? n_after : rows.n) * rows.stride),
        codes_(batch.codes[0]),
        next_(batch.codes[1]) {
    spread(0, 0, kRound, codes_);
  }

  // The tiles of this round.
  const unsigned char* codes() const { return codes_; }

  // To be called once a group of queries.
  inline void work(std::size_t first) {
    if (done_ < kRound) {
      const std::size_t end = done_ + codes_a_group_ < kRound ? done_ + codes_a_group_ : kRound;
      spread(first + kRound, done_, end, next_);
      done_ = end;
    }
    for (std::size_t i = 0; i < lines_a_group_ && ahead_ < ahead_end_; ++i, ahead_ += 64) __builtin_prefetch(ahead_);
  }

  void finish() {
    unsigned char* spread_out = next_;
    next_ = codes_;
    codes_ = spread_out;
    done_ = 0;
  }

 private:
  inline void spread(std::size_t first, std::size_t begin, std::size_t end, unsigned char* tiles) const {
    if (kChunks && first + end <= rows_.n) {
      spread_whole<kChunks>(rows_, first, begin, end, tiles);
    } else {
      spread_any(rows_, first, begin, end, n_chunks_, tiles);
    }
  }

  const Rows rows_;
  const std::size_t n_chunks_;
  const std::size_t codes_a_group_;
  const std::size_t lines_a_group_;
  const std::uint8_t* ahead_;
  const std::uint8_t* const ahead_end_;
  unsigned char* codes_;
  unsigned char* next_;
  std::size_t done_ = 0;
};

// Which of 16 queries have a sum below their limit, in `kRows` rows of a sum a query.
template <std::size_t kRows>
inline std::uint32_t any_below(const std::int32_t* sums, __m512i limits) {
  __m512i least[4];
  for (std::size_t i = 0; i < 4; ++i) least[i] = _mm512_load_si512(sums + i * kSide);
  for (std::size_t row = 4; row < kRows; row += 4) {
    for (std::size_t i = 0; i < 4; ++i) {
      least[i] = _mm512_min_epi32(least[i], _mm512_load_si512(sums + (row + i) * kSide));
    }
  }
  const __m512i all = _mm512_min_epi32(_mm512_min_epi32(least[0], least[1]), _mm512_min_epi32(least[2], least[3]));
  return _mm512_cmplt_epi32_mask(all, limits);
}

// The same for the shared sums of codes of 64 bits: whether a bit is missing from any.
inline std::uint32_t any_shared_below(const std::int32_t* sums, __m512i added) {
  __m512i bits[2] = {_mm512_set1_epi32(-1), _mm512_set1_epi32(-1)};
  for (std::size_t row = 0; row < kSide; row += 4) {
    for (std::size_t i = 0; i < 2; ++i) {
      const __m512i a = _mm512_add_epi32(added, _mm512_load_si512(sums + (row + 2 * i) * kSide));
      const __m512i b = _mm512_add_epi32(added, _mm512_load_si512(sums + (row + 2 * i + 1) * kSide));
      bits[i] = _mm512_ternarylogic_epi32(bits[i], a, b, 0x80);
    }
  }
  const __m512i wanted = _mm512_set1_epi32(kNotBelow * kBoth);
  const __m512i found = _mm512_ternarylogic_epi32(bits[0], bits[1], wanted, 0x80);
  return _mm512_cmpneq_epi32_mask(found, wanted) | _mm512_cmpeq_epi32_mask(added, _mm512_set1_epi32(kAll));
}

// Sixteen sums of one query, a row apart.
inline __m512i column(const std::int32_t* sums) {
  const __m512i rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_i32gather_epi32(_mm512_slli_epi32(rows, 4), sums, 4);
}

// Where hits are written, and how sums are looked through for them: those of `kTiles` tiles, each of 16
// codes, or of 32 where codes of 64 bits share them.
template <bool kShared, std::size_t kTiles>
class Hits {
 public:
  Hits(const Batch& batch, BlockHit* hits) : limits_(batch.limits), begin_(hits), next_(hits) {}

  std::size_t size() const { return static_cast<std::size_t>(next_ - begin_); }

  inline void find(const std::int32_t* sums, std::size_t group, std::size_t first_code) {
    const __m512i limits = _mm512_loadu_si512(limits_ + group * kSide);
    const std::uint32_t below =
        kShared ? any_shared_below(sums, limits) : any_below<kTiles * kSide>(sums, limits);
    if (__builtin_expect(below != 0, 0)) write(below, sums, group * kSide, first_code);
  }

 private:
  // Seldom called, and kept out of the loop so that it does not take the loop's registers.
  __attribute__((noinline)) void write(std::uint32_t below, const std::int32_t* sums, std::size_t first_query,
                                       std::size_t first_code) {
    for (; below; below &= below - 1, ++next_) {
      const auto q = static_cast<std::size_t>(__builtin_ctz(below));
      next_->query = first_query + q;
      next_->first = first_code;
      next_->words[0] = codes_below(sums + q, limits_[first_query + q]);
    }
  }

  static std::uint64_t codes_below(const std::int32_t* sums, std::int32_t limit) {
    if (kShared && limit == kAll) return 0xffffffff;
    const __m512i limits = _mm512_set1_epi32(limit);
    if constexpr (kShared) {
      const __m512i both = _mm512_add_epi32(column(sums), limits);
      const std::uint64_t first = _mm512_testn_epi32_mask(both, _mm512_set1_epi32(kNotBelow));
      const std::uint64_t second = _mm512_testn_epi32_mask(both, _mm512_set1_epi32(kNotBelow * (kBoth - 1)));
      return first | second << kSide;
    }
    std::uint64_t codes = 0;
    for (std::size_t t = 0; t < kTiles; ++t) {
      const std::uint64_t below = _mm512_cmplt_epi32_mask(column(sums + t * kSums), limits);
      codes |= below << (t * kSide);
    }
    return codes;
  }

  const std::int32_t* limits_;
  BlockHit* begin_;
  BlockHit* next_;
};

// Codes of 64 bits, 64 a round, or of up to 128 bits, 32 a round: tiles 4 and 5 of them make the sums of
// tile 0, tiles 6 and 7 those of tile 1. Queries pass by in tiles 2 and 3.
template <std::size_t kChunks>
std::size_t stay(const Batch& batch, const Rows& rows, std::size_t n_after, BlockHit* first_hit) {
  constexpr std::size_t kRound = kChunks == 1 ? 64 : 32;
  alignas(64) std::int32_t sums[2][kSums];
  NextRound<kChunks, kRound> next(batch, rows, n_after);
  Hits<kChunks == 1, 1> hits(batch, first_hit);
  const std::size_t n_groups = batch.n_groups;
  for (std::size_t first = 0; first < rows.n; first += kRound) {
    const std::size_t second = first + kRound / 2;
    _tile_loadd(4, next.codes(), 64);
    _tile_loadd(5, next.codes() + kTile, 64);
    _tile_loadd(6, next.codes() + 2 * kTile, 64);
    _tile_loadd(7, next.codes() + 3 * kTile, 64);
    const unsigned char* queries = batch.queries;
    for (std::size_t group = 0; group < n_groups; ++group, queries += kChunks * kTile) {
      _tile_loadd(2, queries, 64);
      if constexpr (kChunks == 2) _tile_loadd(3, queries + kTile, 64);
      _tile_zero(0);
      _tile_dpbssd(0, 4, 2);
      if constexpr (kChunks == 2) _tile_dpbssd(0, 5, 3); else _tile_dpbssd(0, 5, 2);
      if (group) {
        _tile_stored(1, sums[1], 64);
        hits.find(sums[0], group - 1, first);
      }
      _tile_zero(1);
      _tile_dpbssd(1, 6, 2);
      if constexpr (kChunks == 2) _tile_dpbssd(1, 7, 3); else _tile_dpbssd(1, 7, 2);
      if (group) hits.find(sums[1], group - 1, second);
      next.work(first);
      _tile_stored(0, sums[0], 64);
    }
    _tile_stored(1, sums[1], 64);
    hits.find(sums[0], n_groups - 1, first);
    hits.find(sums[1], n_groups - 1, second);
    next.finish();
  }
  return hits.size();
}

// Codes of more than 128 bits, 64 a round: tiles 0 to 3 are their sums, tiles 4 and 5 take turns for the
// codes, and each tile of queries is used four times.
template <std::size_t kChunks>
std::size_t stream(const Batch& batch, const Rows& rows, std::size_t n_after, BlockHit* first_hit) {
  constexpr std::size_t kRound = 4 * kSide;
  alignas(64) std::int32_t sums[4 * kSums];
  NextRound<kChunks, kRound> next(batch, rows, n_after);
  Hits<false, 4> hits(batch, first_hit);
  const std::size_t n_chunks = kChunks ? kChunks : batch.n_chunks;
  const std::size_t side = n_chunks * kTile;
  const auto store_sums = [&] {
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + kSums, 64);
    _tile_stored(2, sums + 2 * kSums, 64);
    _tile_stored(3, sums + 3 * kSums, 64);
  };
  for (std::size_t first = 0; first < rows.n; first += kRound) {
    const unsigned char* queries = batch.queries;
    for (std::size_t group = 0; group < batch.n_groups; ++group) {
      if (group) store_sums();
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      const unsigned char* codes = next.codes();
      for (std::size_t c = 0; c < n_chunks; ++c, codes += kTile, queries += kTile) {
        _tile_loadd(6, queries, 64);
        _tile_loadd(4, codes, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(5, codes + side, 64);
        _tile_dpbssd(1, 5, 6);
        _tile_loadd(4, codes + 2 * side, 64);
        _tile_dpbssd(2, 4, 6);
        _tile_loadd(5, codes + 3 * side, 64);
        _tile_dpbssd(3, 5, 6);
      }
      if (group) hits.find(sums, group - 1, first);
      next.work(first);
    }
    store_sums();
    hits.find(sums, batch.n_groups - 1, first);
    next.finish();
  }
  return hits.size();
}

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

std::size_t below(void* memory, const Rows& rows, std::size_t n_after, BlockHit* hits) {
  static constexpr TileConfig config;
  const Batch& batch = *static_cast<const Batch*>(memory);
  _tile_loadconfig(&config);
  std::size_t n_hits = 0;
  switch (rows.n_bytes) {
    case 8: n_hits = stay<1>(batch, rows, n_after, hits); break;
    case 16: n_hits = stay<2>(batch, rows, n_after, hits); break;
    case 32: n_hits = stream<4>(batch, rows, n_after, hits); break;
    case 64: n_hits = stream<8>(batch, rows, n_after, hits); break;
    default: n_hits = stream<0>(batch, rows, n_after, hits); break;
  }
  _tile_release();
  return n_hits;
}

constexpr BatchKernel amx{kBlock, 1, kBlock / kSide, 12, memory_bytes, prepare, set_limit, below};

// A width that hardly begins a chunk of 64 bits is cheaper in slices.
const BatchKernel& batch_kernel(std::size_t n_bytes) {
  const bool fills_chunks = n_bytes % 8 == 0 || n_bytes > 32;
  return n_bytes >= 8 && fills_chunks ? amx : avx512_kernels()->batch(n_bytes);
}

}  // namespace

const Kernels* amx_kernels() {
  static const Kernels kernels = [] {
    Kernels same = *avx512_kernels();
    same.name = "amx";
    same.batch = batch_kernel;
    return same;
  }();
  return &kernels;
}

bool runs_amx() {
  constexpr unsigned kTileBit = 1u << 24, kInt8Bit = 1u << 25;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & kTileBit) || !(edx & kInt8Bit)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace grainhash

#else

namespace grainhash {
const Kernels* amx_kernels() { return nullptr; }
bool runs_amx() { return false; }
}  // namespace grainhash

#endif
