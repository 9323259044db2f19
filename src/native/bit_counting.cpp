#include "bit_counting.h"

#include <cstring>

#include "kernels/kernels.h"

#if defined(_MSC_VER)
#define GRAINHASH_INLINE __forceinline
#else
#define GRAINHASH_INLINE inline __attribute__((always_inline))
#endif

namespace grainhash {
namespace {

struct PortablePopcount {
  static GRAINHASH_INLINE std::uint32_t of(std::uint64_t x) { return portable_popcount(x); }
};

GRAINHASH_INLINE std::uint64_t load(const std::uint8_t* bytes, std::size_t n = 8) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, n);
  return word;
}

// `kBytes` is the width where it is known while compiling, 0 where it is not.
template <class Popcount, std::size_t kBytes>
GRAINHASH_INLINE void distances_at(const Collection& collection, const std::uint8_t* query,
                                   const std::uint32_t* positions, std::size_t n, std::uint32_t* out) {
  const std::size_t width = kBytes ? kBytes : collection.n_bytes;
  const std::size_t tail = width % 8;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* code = collection.code(positions[i]);
    std::uint32_t distance = 0;
    for (std::size_t b = 0; b + 8 <= width; b += 8) {
      distance += Popcount::of(load(query + b) ^ load(code + b));
    }
    if (tail) {
      const std::size_t b = width - tail;
      distance += Popcount::of(load(query + b, tail) ^ load(code + b, tail));
    }
    out[i] = distance;
  }
}

template <class Popcount>
GRAINHASH_INLINE std::size_t near_tags(const std::uint64_t* entries, std::size_t n, std::uint32_t tag,
                                       std::uint32_t most, std::uint32_t* out) {
  std::size_t n_near = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out[n_near] = static_cast<std::uint32_t>(entries[i]);
    n_near += Popcount::of((entries[i] >> 32) ^ tag) <= most;
  }
  return n_near;
}

// Defines `NAME(n_bytes)`, which picks the loops of one instruction set by width.
#define GRAINHASH_BIT_COUNTING(NAME, TARGET, POPCOUNT)                                        \
  template <std::size_t kBytes>                                                               \
  TARGET void NAME##_distances(const Collection& collection, const std::uint8_t* query,       \
                               const std::uint32_t* positions, std::size_t n,                 \
                               std::uint32_t* out) {                                          \
    distances_at<POPCOUNT, kBytes>(collection, query, positions, n, out);                     \
  }                                                                                           \
  TARGET std::size_t NAME##_tags(const std::uint64_t* entries, std::size_t n,                 \
                                 std::uint32_t tag, std::uint32_t most, std::uint32_t* out) { \
    return near_tags<POPCOUNT>(entries, n, tag, most, out);                                   \
  }                                                                                           \
  BitCounting NAME(std::size_t n_bytes) {                                                     \
    switch (n_bytes) {                                                                        \
      case 8: return {NAME##_distances<8>, NAME##_tags};                                      \
      case 16: return {NAME##_distances<16>, NAME##_tags};                                    \
      case 32: return {NAME##_distances<32>, NAME##_tags};                                    \
      case 64: return {NAME##_distances<64>, NAME##_tags};                                    \
      default: return {NAME##_distances<0>, NAME##_tags};                                     \
    }                                                                                         \
  }

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
struct BuiltinPopcount {
  static GRAINHASH_INLINE std::uint32_t of(std::uint64_t x) {
    return static_cast<std::uint32_t>(__builtin_popcountll(x));
  }
};
#if defined(__x86_64__)
GRAINHASH_BIT_COUNTING(fast, __attribute__((target("popcnt"))), BuiltinPopcount)
#else
GRAINHASH_BIT_COUNTING(fast, , BuiltinPopcount)
#endif
#else
GRAINHASH_BIT_COUNTING(fast, , PortablePopcount)
#endif

GRAINHASH_BIT_COUNTING(portable, , PortablePopcount)

}  // namespace

// Every other kernel is of a processor that has the instruction.
BitCounting bit_counting(std::size_t n_bytes) {
  return std::strcmp(kernels().name, "portable") == 0 ? portable(n_bytes) : fast(n_bytes);
}

}  // namespace grainhash
