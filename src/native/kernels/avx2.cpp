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

const Kernels* avx2_kernels() {
  static constexpr BatchKernel sliced = sliced_kernel(16);
  static constexpr Kernels kernels{"avx2", least_row, distances, distances_at, nearest, near_tags,
                                   [](std::size_t) -> const BatchKernel& { return sliced; }};
  return &kernels;
}

}  // namespace grainhash

#else

namespace grainhash {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace grainhash

#endif
