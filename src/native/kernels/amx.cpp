// AMX: Intel since Sapphire Rapids. A matrix unit multiplies tiles of 16 x 64 by 64 x 16 bytes.
//
// With the bits of a code as bytes 0 and -1, and those of a query as -1 for 0 and 1 for 1, their dot
// product is the distance less the ones of the query. So distances of 32 codes to 16 queries are two
// tiles, summed over 64 bits at a time.
//
// Codes are spread out to bytes 32 at a time, for the next round while this one is multiplied. Of the
// eight tiles, two sums are being made while the two before are stored and looked through.
#include "kernels.h"
#include "variants.h"

#if defined(__AMX_INT8__) && defined(__AVX512BW__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace grainhash {
namespace {

constexpr std::size_t kSide = 16;                     // rows of a tile, and 32-bit columns
constexpr std::size_t kTile = 1024;                   // bytes
constexpr std::size_t kRound = 2 * kSide;             // codes
constexpr std::size_t kRounds = 16;                   // a block
constexpr std::size_t kStep = 2 * kSide;              // queries
constexpr std::int32_t kNever = -(1 << 20);           // no sum is below this
constexpr std::size_t kHeaderBytes = 64;

// The piece of memory of a batch of queries. Their number is filled up to whole steps.
struct Batch {
  std::size_t n_queries;
  std::size_t n_chunks;     // of 64 bits
  std::size_t n_steps;
  unsigned char* queries;   // for 16 of them at a time, a tile a chunk
  unsigned char* codes[2];  // of this round and the next: for 16 of them at a time, a tile a chunk
  std::int32_t* limits;     // a query, less its ones
};
static_assert(sizeof(Batch) <= kHeaderBytes);

std::size_t chunks_of(std::size_t n_bytes) { return (n_bytes + 7) / 8; }
std::size_t steps_of(std::size_t n_queries) { return (n_queries + kStep - 1) / kStep; }

std::size_t memory_bytes(std::size_t n_queries, std::size_t n_bytes) {
  const std::size_t tiles = 2 * steps_of(n_queries) * chunks_of(n_bytes) + 4 * chunks_of(n_bytes);
  return kHeaderBytes + tiles * kTile + steps_of(n_queries) * kStep * (sizeof(std::int32_t) * 2);
}

// The ones of each query follow its limit.
std::int32_t* ones_of(const Batch& batch) { return batch.limits + batch.n_steps * kStep; }

void prepare(void* memory, const std::uint8_t* queries, std::size_t n_queries, std::size_t n_bytes) {
  auto& batch = *static_cast<Batch*>(memory);
  auto* bytes = static_cast<unsigned char*>(memory);
  batch.n_queries = n_queries;
  batch.n_chunks = chunks_of(n_bytes);
  batch.n_steps = steps_of(n_queries);
  batch.queries = bytes + kHeaderBytes;
  batch.codes[0] = batch.queries + 2 * batch.n_steps * batch.n_chunks * kTile;
  batch.codes[1] = batch.codes[0] + 2 * batch.n_chunks * kTile;
  batch.limits = reinterpret_cast<std::int32_t*>(batch.codes[1] + 2 * batch.n_chunks * kTile);
  std::memset(batch.queries, 0, 2 * batch.n_steps * batch.n_chunks * kTile);
  for (std::size_t q = 0; q < batch.n_steps * kStep; ++q) {
    batch.limits[q] = kNever;
    ones_of(batch)[q] = 0;
  }
  for (std::size_t q = 0; q < n_queries; ++q) {
    for (std::size_t bit = 0; bit < n_bytes * 8; ++bit) {
      const bool is_one = (queries[q * n_bytes + bit / 8] >> (bit % 8)) & 1;
      ones_of(batch)[q] += is_one;
      // The unit takes four bits of each of 16 queries together.
      unsigned char* tile = batch.queries + (q / kSide * batch.n_chunks + bit / 64) * kTile;
      tile[bit % 64 / 4 * 64 + q % kSide * 4 + bit % 4] = is_one ? 1 : 0xff;
    }
  }
}

void set_limit(void* memory, std::size_t query, std::int32_t limit) {
  const Batch& batch = *static_cast<const Batch*>(memory);
  const auto above_all = static_cast<std::int32_t>(batch.n_chunks * 64 + 1);
  batch.limits[query] = (limit < above_all ? limit : above_all) - ones_of(batch)[query];
}

// Spreads out some of the codes of a round, those from `begin` to before `end`, into its tiles.
template <std::size_t kChunks>
inline void spread_whole(const Rows& rows, std::size_t first, std::size_t begin, std::size_t end, unsigned char* tiles) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint8_t* code = rows.codes + (first + i) * rows.stride;
    unsigned char* row = tiles + i / kSide * kChunks * kTile + i % kSide * 64;
    for (std::size_t c = 0; c < kChunks; ++c) {
      std::uint64_t bits;
      std::memcpy(&bits, code + 8 * c, 8);
      _mm512_store_si512(row + c * kTile, _mm512_movm_epi8(bits));
    }
  }
}

// The same for any width, and with zeros for codes past the last.
void spread_any(const Rows& rows, std::size_t first, std::size_t begin, std::size_t end, std::size_t n_chunks,
                unsigned char* tiles) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint8_t* code = rows.codes + (first + i) * rows.stride;
    unsigned char* row = tiles + i / kSide * n_chunks * kTile + i % kSide * 64;
    for (std::size_t c = 0; c < n_chunks; ++c) {
      const std::size_t left = rows.n_bytes - 8 * c;
      std::uint64_t bits = 0;
      if (first + i < rows.n) std::memcpy(&bits, code + 8 * c, left < 8 ? left : 8);
      _mm512_store_si512(row + c * kTile, _mm512_movm_epi8(bits));
    }
  }
}

template <std::size_t kChunks>
inline void spread(const Rows& rows, std::size_t first, std::size_t begin, std::size_t end, std::size_t n_chunks,
                   unsigned char* tiles) {
  if (kChunks && first + end <= rows.n) {
    spread_whole<kChunks>(rows, first, begin, end, tiles);
  } else {
    spread_any(rows, first, begin, end, n_chunks, tiles);
  }
}

// Sums of 32 codes and 16 queries, in tiles 0 and 1 or in tiles 2 and 3.
template <std::size_t kChunks, int kPair>
inline void multiply(const unsigned char* codes, const unsigned char* queries, std::size_t n_chunks) {
  const std::size_t chunks = kChunks ? kChunks : n_chunks;
  if constexpr (kPair == 0) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::size_t c = 0; c < chunks; ++c) {
    if constexpr (kChunks != 1) {  // else they stay where they are
      _tile_loadd(4, codes + c * kTile, 64);
      _tile_loadd(5, codes + (chunks + c) * kTile, 64);
    }
    if constexpr (kPair == 0) {
      _tile_loadd(6, queries + c * kTile, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 5, 6);
    } else {
      _tile_loadd(7, queries + c * kTile, 64);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 5, 7);
    }
  }
}

// Which of the 32 sums of one query are below its limit; they lie a row apart.
inline std::uint64_t below_limit(const std::int32_t* sums, std::int32_t limit) {
  const __m512i rows = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                          _mm512_set1_epi32(kSide));
  const __m512i limits = _mm512_set1_epi32(limit);
  const std::uint64_t low = _mm512_cmplt_epi32_mask(_mm512_i32gather_epi32(rows, sums, 4), limits);
  const std::uint64_t high = _mm512_cmplt_epi32_mask(_mm512_i32gather_epi32(rows, sums + kTile / 4, 4), limits);
  return low | high << kSide;
}

// Looks through stored sums, a row of 16 queries for each of 32 codes, and writes the hits.
inline std::size_t look_through(const std::int32_t* sums, const Batch& batch, std::size_t first_query,
                                std::size_t first_code, BlockHit* hits) {
  const __m512i limits = _mm512_loadu_si512(batch.limits + first_query);
  __m512i least[4];
  for (std::size_t i = 0; i < 4; ++i) least[i] = _mm512_load_si512(sums + i * kSide);
  for (std::size_t row = 4; row < kRound; row += 4) {
    for (std::size_t i = 0; i < 4; ++i) {
      least[i] = _mm512_min_epi32(least[i], _mm512_load_si512(sums + (row + i) * kSide));
    }
  }
  const __m512i all = _mm512_min_epi32(_mm512_min_epi32(least[0], least[1]), _mm512_min_epi32(least[2], least[3]));
  std::uint32_t below = _mm512_cmplt_epi32_mask(all, limits);
  std::size_t n_hits = 0;
  for (; below; below &= below - 1, ++n_hits) {
    const auto q = static_cast<std::size_t>(__builtin_ctz(below));
    hits[n_hits].query = first_query + q;
    hits[n_hits].first = first_code;
    hits[n_hits].words[0] = below_limit(sums + q, batch.limits[first_query + q]);
  }
  return n_hits;
}

template <std::size_t kChunks>
std::size_t below_of(const Batch& batch, const Rows& rows, std::size_t n_after, BlockHit* hits) {
  const std::size_t n_chunks = batch.n_chunks;
  const std::size_t tiles_a_side = n_chunks * kTile;
  const std::size_t codes_a_step = (kRound + batch.n_steps - 1) / batch.n_steps;
  const std::uint8_t* ahead = rows.codes + rows.n * rows.stride;
  const std::uint8_t* ahead_end = ahead + (n_after < rows.n ? n_after : rows.n) * rows.stride;
  alignas(64) std::int32_t sums[2][kRound * kSide];
  const unsigned char* codes = batch.codes[0];
  unsigned char* next = batch.codes[1];
  spread<kChunks>(rows, 0, 0, kRound, n_chunks, batch.codes[0]);
  std::size_t n_hits = 0;
  for (std::size_t first = 0; first < rows.n; first += kRound) {
    if constexpr (kChunks == 1) {
      _tile_loadd(4, codes, 64);
      _tile_loadd(5, codes + kTile, 64);
    }
    const unsigned char* queries = batch.queries;
    std::size_t spread_to = 0;
    multiply<kChunks, 0>(codes, queries, n_chunks);
    for (std::size_t step = 0; step < batch.n_steps; ++step, queries += 2 * tiles_a_side) {
      multiply<kChunks, 1>(codes, queries + tiles_a_side, n_chunks);
      _tile_stored(0, sums[0], 64);
      _tile_stored(1, sums[0] + kTile / 4, 64);
      if (step) n_hits += look_through(sums[1], batch, step * kStep - kSide, first, hits + n_hits);
      const std::size_t end = spread_to + codes_a_step < kRound ? spread_to + codes_a_step : kRound;
      spread<kChunks>(rows, first + kRound, spread_to, end, n_chunks, next);
      spread_to = end;
      for (std::size_t line = 0; line < codes_a_step * n_chunks && ahead < ahead_end; line += 8, ahead += 64) {
        __builtin_prefetch(ahead);
      }
      if (step + 1 < batch.n_steps) multiply<kChunks, 0>(codes, queries + 2 * tiles_a_side, n_chunks);
      _tile_stored(2, sums[1], 64);
      _tile_stored(3, sums[1] + kTile / 4, 64);
      n_hits += look_through(sums[0], batch, step * kStep, first, hits + n_hits);
    }
    n_hits += look_through(sums[1], batch, batch.n_steps * kStep - kSide, first, hits + n_hits);
    unsigned char* done = const_cast<unsigned char*>(codes);
    codes = next;
    next = done;
  }
  return n_hits;
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
    case 8: n_hits = below_of<1>(batch, rows, n_after, hits); break;
    case 16: n_hits = below_of<2>(batch, rows, n_after, hits); break;
    case 32: n_hits = below_of<4>(batch, rows, n_after, hits); break;
    case 64: n_hits = below_of<8>(batch, rows, n_after, hits); break;
    default: n_hits = below_of<0>(batch, rows, n_after, hits); break;
  }
  _tile_release();
  return n_hits;
}

constexpr BatchKernel amx{kRound * kRounds, 1, kRounds, 12, memory_bytes, prepare, set_limit, below};

// A width that hardly begins a chunk of 64 bits is cheaper in slices.
const BatchKernel& batch_kernel(std::size_t n_bytes) {
  const bool fills_chunks = n_bytes % 8 == 0 || n_bytes > 32;
  return n_bytes >= 8 && fills_chunks ? amx : avx512_kernels()->batch(n_bytes);
}

}  // namespace

const Kernels* amx_kernels() {
  static const Kernels kernels{"amx", avx512_kernels()->least, avx512_kernels()->distances, batch_kernel};
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
