// AVX-512 with VPOPCNTDQ: Intel since Ice Lake, AMD since Zen 4.
#include "kernels.h"
#include "variants.h"

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
#include <immintrin.h>

namespace grainhash {
namespace {

using Word = __m512i;

inline Word broadcast(std::uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
inline Word and_(Word a, Word b) { return _mm512_and_si512(a, b); }
inline Word xor_(Word a, Word b) { return _mm512_xor_si512(a, b); }
inline Word not_(Word a) { return _mm512_ternarylogic_epi64(a, a, a, 0x55); }
inline Word xor3(Word a, Word b, Word c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
inline Word majority(Word a, Word b, Word c) { return _mm512_ternarylogic_epi64(a, b, c, 0xe8); }
// Adds three words: the sum stays, the carry is returned. Made from the sum, it needs no copy of `c`.
inline Word add3(Word& sum, Word b, Word c) {
  const Word total = xor3(c, sum, b);
  const Word carry = _mm512_ternarylogic_epi64(sum, b, total, 0xd4);
  sum = total;
  return carry;
}
inline bool any(Word a) { return _mm512_test_epi64_mask(a, a) != 0; }
inline Word load_strided(const std::uint8_t* bytes, std::size_t stride) {
  if (stride == 8) return _mm512_loadu_si512(bytes);
  const Word steps = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm512_i64gather_epi64(_mm512_mullox_epi64(steps, broadcast(stride)), bytes, 1);
}
template <int kBits>
inline Word shift_left(Word a) { return _mm512_slli_epi64(a, kBits); }
template <int kBits>
inline Word shift_right(Word a) { return _mm512_srli_epi64(a, kBits); }

}  // namespace
}  // namespace grainhash

#include "sliced.h"
#include "rows.h"

namespace grainhash {
namespace {

// Sums of the two halves of neighbouring vectors: eight 64-bit counts each become eight of both.
inline Word merge_words(Word a, Word b) {
  return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
inline Word merge_lanes(Word a, Word b) {
  return _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}

constexpr std::size_t kAhead = 4096;  // bytes

// Distances of the eight codes at `codes`, in some order.
template <std::size_t kBytes>
struct Eight {
  Word query[kBytes <= 64 ? 1 : kBytes / 64];

  explicit Eight(const std::uint8_t* bytes) {
    unsigned char repeated[kBytes <= 64 ? 64 : kBytes];
    for (std::size_t i = 0; i < sizeof(repeated); i += kBytes) std::memcpy(repeated + i, bytes, kBytes);
    for (std::size_t i = 0; i < sizeof(repeated) / 64; ++i) query[i] = _mm512_loadu_si512(repeated + 64 * i);
  }

  inline Word differing(const std::uint8_t* codes) const {
    if constexpr (kBytes <= 64) {
      return _mm512_popcnt_epi64(_mm512_xor_si512(query[0], _mm512_loadu_si512(codes)));
    } else {
      Word sum = _mm512_setzero_si512();
      for (std::size_t i = 0; i < kBytes / 64; ++i) {
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_xor_si512(query[i], _mm512_loadu_si512(codes + 64 * i))));
      }
      return sum;
    }
  }

  inline Word operator()(const std::uint8_t* codes) const {
    if constexpr (kBytes == 8) {
      return differing(codes);
    } else if constexpr (kBytes == 16) {
      return merge_words(differing(codes), differing(codes + 64));
    } else if constexpr (kBytes == 32) {
      return merge_lanes(merge_words(differing(codes), differing(codes + 64)),
                         merge_words(differing(codes + 128), differing(codes + 192)));
    } else {
      Word quarter[4];
      for (std::size_t i = 0; i < 4; ++i) {
        quarter[i] = merge_words(differing(codes + 2 * i * kBytes), differing(codes + (2 * i + 1) * kBytes));
      }
      return merge_lanes(merge_lanes(quarter[0], quarter[1]), merge_lanes(quarter[2], quarter[3]));
    }
  }
};

template <std::size_t kBytes>
std::int32_t least_of(const std::uint8_t* query, const Rows& rows) {
  const Eight<kBytes> eight(query);
  Word least = _mm512_set1_epi64(kBytes * 8);
  std::size_t i = 0;
  for (; i + 16 <= rows.n; i += 16) {
    const std::uint8_t* codes = rows.codes + i * kBytes;
    for (std::size_t b = 0; b < 16 * kBytes; b += 64) __builtin_prefetch(codes + kAhead + b);
    // The upper halves are 0, so that the faster 32-bit minimum will do.
    least = _mm512_min_epu32(least, _mm512_min_epu32(eight(codes), eight(codes + 8 * kBytes)));
  }
  auto result = static_cast<std::int32_t>(_mm512_reduce_min_epu64(least));
  for (; i < rows.n; ++i) {
    const std::int32_t distance = distance_of<kBytes>(query, rows.codes + i * kBytes, kBytes);
    result = distance < result ? distance : result;
  }
  return result;
}

std::int32_t least(const std::uint8_t* query, const Rows& rows) {
  if (rows.stride == rows.n_bytes) {
    switch (rows.n_bytes) {
      case 8: return least_of<8>(query, rows);
      case 16: return least_of<16>(query, rows);
      case 32: return least_of<32>(query, rows);
      case 64: return least_of<64>(query, rows);
      case 128: return least_of<128>(query, rows);
    }
  }
  return least_row(query, rows);
}

}  // namespace

const Kernels* avx512_kernels() {
  static constexpr BatchKernel sliced = sliced_kernel(12);
  static const Kernels kernels{"avx512", least, distances, distances_at, nearest, near_tags, avx2_kernels()->weighted,
                               [](std::size_t) -> const BatchKernel& { return sliced; }};
  return &kernels;
}

}  // namespace grainhash

#else

namespace grainhash {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace grainhash

#endif
