// Plain C++: any processor.
#include <cstring>

#include "kernels.h"
#include "variants.h"

namespace grainhash {
namespace {

using Word = std::uint64_t;

inline Word broadcast(std::uint64_t x) { return x; }
inline Word and_(Word a, Word b) { return a & b; }
inline Word xor_(Word a, Word b) { return a ^ b; }
inline Word not_(Word a) { return ~a; }
inline Word xor3(Word a, Word b, Word c) { return a ^ b ^ c; }
inline Word majority(Word a, Word b, Word c) { return (a & b) | ((a ^ b) & c); }
// Adds three words: the sum stays, the carry is returned.
inline Word add3(Word& sum, Word b, Word c) {
  const Word carry = majority(sum, b, c);
  sum = xor3(sum, b, c);
  return carry;
}
inline bool any(Word a) { return a != 0; }
inline Word load_strided(const std::uint8_t* bytes, std::size_t) {
  Word word;
  std::memcpy(&word, bytes, 8);
  return word;
}
template <int kBits>
inline Word shift_left(Word a) { return a << kBits; }
template <int kBits>
inline Word shift_right(Word a) { return a >> kBits; }

}  // namespace
}  // namespace grainhash

#include "rows.h"
#include "sliced.h"

namespace grainhash {

const Kernels* portable_kernels() {
  static constexpr BatchKernel sliced = sliced_kernel(16);
  static constexpr Kernels kernels{"portable", least_row, distances, distances_at, nearest, near_tags, nullptr,
                                   [](std::size_t) -> const BatchKernel& { return sliced; }};
  return &kernels;
}

}  // namespace grainhash
