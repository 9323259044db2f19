// NEON, which every 64-bit ARM processor has.
#include "kernels.h"
#include "variants.h"

#if defined(__aarch64__)
#include <arm_neon.h>

namespace grainhash {
namespace {

using Word = uint64x2_t;

inline Word broadcast(std::uint64_t x) { return vdupq_n_u64(x); }
inline Word and_(Word a, Word b) { return vandq_u64(a, b); }
inline Word xor_(Word a, Word b) { return veorq_u64(a, b); }
inline Word not_(Word a) { return veorq_u64(a, vdupq_n_u64(~0ull)); }
inline Word xor3(Word a, Word b, Word c) { return xor_(xor_(a, b), c); }
inline Word majority(Word a, Word b, Word c) { return vbslq_u64(xor_(a, b), c, a); }
// Adds three words: the sum stays, the carry is returned.
inline Word add3(Word& sum, Word b, Word c) {
  const Word carry = majority(sum, b, c);
  sum = xor3(sum, b, c);
  return carry;
}
inline bool any(Word a) { return (vgetq_lane_u64(a, 0) | vgetq_lane_u64(a, 1)) != 0; }
inline Word load_strided(const std::uint8_t* bytes, std::size_t stride) {
  return vreinterpretq_u64_u8(vcombine_u8(vld1_u8(bytes), vld1_u8(bytes + stride)));
}
template <int kBits>
inline Word shift_left(Word a) { return vshlq_n_u64(a, kBits); }
template <int kBits>
inline Word shift_right(Word a) { return vshrq_n_u64(a, kBits); }

}  // namespace
}  // namespace grainhash

#include "rows.h"
#include "sliced.h"

namespace grainhash {

const Kernels* neon_kernels() {
  static constexpr BatchKernel sliced = sliced_kernel(16);
  static constexpr Kernels kernels{"neon", least_row, distances, distances_at, nearest, near_tags, nullptr,
                                   [](std::size_t) -> const BatchKernel& { return sliced; }};
  return &kernels;
}

}  // namespace grainhash

#else

namespace grainhash {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace grainhash

#endif
