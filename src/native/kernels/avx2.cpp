// AVX2 with POPCNT: Intel since Haswell, AMD since Excavator.
#include "kernels.h"
#include "variants.h"

#if defined(__AVX2__) && defined(__POPCNT__)
#include <immintrin.h>

#include <cstring>

namespace grainhash {
namespace {

using Word = __m256i;

inline Word broadcast(std::uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
inline Word and_(Word a, Word b) { return _mm256_and_si256(a, b); }
inline Word xor_(Word a, Word b) { return _mm256_xor_si256(a, b); }
inline Word not_(Word a) { return xor_(a, _mm256_set1_epi64x(-1)); }
inline Word xor3(Word a, Word b, Word c) { return xor_(xor_(a, b), c); }
inline Word majority(Word a, Word b, Word c) {
  return _mm256_or_si256(and_(a, b), and_(xor_(a, b), c));
}
// Adds three words: the sum stays, the carry is returned.
inline Word add3(Word& sum, Word b, Word c) {
  const Word carry = majority(sum, b, c);
  sum = xor3(sum, b, c);
  return carry;
}
inline bool any(Word a) { return !_mm256_testz_si256(a, a); }
inline Word load_strided(const std::uint8_t* bytes, std::size_t stride) {
  long long words[4];
  for (int i = 0; i < 4; ++i) std::memcpy(words + i, bytes + i * stride, 8);
  return _mm256_setr_epi64x(words[0], words[1], words[2], words[3]);
}
template <int kBits>
inline Word shift_left(Word a) { return _mm256_slli_epi64(a, kBits); }
template <int kBits>
inline Word shift_right(Word a) { return _mm256_srli_epi64(a, kBits); }

}  // namespace
}  // namespace grainhash

#include "rows.h"
#include "sliced.h"

namespace grainhash {
namespace {

// Adds eight weights at a time, of four bytes: a mask keeps those whose bits differ.
struct WeightSums {
  // The first bit of a byte is its highest.
  const Word first = _mm256_setr_epi32(128, 64, 32, 16, 8, 4, 2, 1);
  const Word second = _mm256_slli_epi32(first, 8), third = _mm256_slli_epi32(first, 16), fourth = _mm256_slli_epi32(first, 24);

  static inline Word kept(Word differ, Word bits, const std::int32_t* weights) {
    const Word mask = _mm256_cmpeq_epi32(and_(differ, bits), bits);
    return and_(mask, _mm256_loadu_si256(reinterpret_cast<const Word*>(weights)));
  }

  inline Word of(std::uint32_t differing, const std::int32_t* weights) const {
    const Word differ = _mm256_set1_epi32(static_cast<int>(differing));
    return _mm256_add_epi32(_mm256_add_epi32(kept(differ, first, weights), kept(differ, second, weights + 8)),
                            _mm256_add_epi32(kept(differ, third, weights + 16), kept(differ, fourth, weights + 24)));
  }
};

inline std::int32_t sum_of(Word words) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

void weighted(const std::uint8_t* query, const std::int32_t* weights, const Rows& rows, std::int32_t* out) {
  const WeightSums sums;
  const std::size_t n_whole = rows.n_bytes / 4 * 4, n_left = rows.n_bytes - n_whole;
  for (std::size_t i = 0; i < rows.n; ++i) {
    const std::uint8_t* code = rows.codes + i * rows.stride;
    Word sum = _mm256_setzero_si256();
    std::uint32_t asked, own;
    for (std::size_t b = 0; b < n_whole; b += 4) {
      std::memcpy(&asked, query + b, 4);
      std::memcpy(&own, code + b, 4);
      sum = _mm256_add_epi32(sum, sums.of(asked ^ own, weights + 8 * b));
    }
    if (n_left) {
      asked = own = 0;
      std::memcpy(&asked, query + n_whole, n_left);
      std::memcpy(&own, code + n_whole, n_left);
      sum = _mm256_add_epi32(sum, sums.of(asked ^ own, weights + 8 * n_whole));
    }
    out[i] = sum_of(sum);
  }
}

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr BatchKernel sliced = sliced_kernel(16);
  static constexpr Kernels kernels{"avx2", least_row, distances, distances_at, nearest, near_tags, weighted,
                                   [](std::size_t) -> const BatchKernel& { return sliced; }};
  return &kernels;
}

}  // namespace grainhash

#else

namespace grainhash {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace grainhash

#endif
