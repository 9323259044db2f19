// One loop, compiled once for each instruction set and chosen while running, so that a wheel
// built without special flags is fast on any processor.
#include "distances.h"

#include <cstring>
#include <limits>

#if defined(_MSC_VER)
#include <intrin.h>
#define GRAINHASH_INLINE __forceinline
#define GRAINHASH_RESTRICT __restrict
#else
#define GRAINHASH_INLINE inline __attribute__((always_inline))
#define GRAINHASH_RESTRICT __restrict__
#endif

namespace grainhash {
namespace {

struct PortablePopcount {
  static GRAINHASH_INLINE std::int32_t of(std::uint64_t x) {
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<std::int32_t>((x * 0x0101010101010101u) >> 56);
  }
};

// Codes may start at any address, and the last word of a code may be a part of one.
GRAINHASH_INLINE std::uint64_t load(const std::uint8_t* bytes, std::size_t n = 8) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, n);
  return word;
}

// `kBytes` is the width where it is known while compiling, 0 where it is not.
template <class Popcount, std::size_t kBytes>
GRAINHASH_INLINE std::int32_t distances(const std::uint8_t* GRAINHASH_RESTRICT query,
                                        const std::uint8_t* GRAINHASH_RESTRICT codes, std::size_t n,
                                        std::size_t n_bytes, std::int32_t* GRAINHASH_RESTRICT out) {
  const std::size_t width = kBytes ? kBytes : n_bytes;
  const std::size_t tail = width % 8;
  for (std::size_t i = 0; i < n; ++i, codes += width) {
    std::int32_t distance = 0;
    for (std::size_t b = 0; b + 8 <= width; b += 8) {
      distance += Popcount::of(load(query + b) ^ load(codes + b));
    }
    if (tail) {
      const std::size_t b = width - tail;
      distance += Popcount::of(load(query + b, tail) ^ load(codes + b, tail));
    }
    out[i] = distance;
  }
  std::int32_t least = std::numeric_limits<std::int32_t>::max();
  for (std::size_t i = 0; i < n; ++i) least = out[i] < least ? out[i] : least;
  return least;
}

// Defines `NAME(n_bytes)`, which picks the kernel of one instruction set by width.
#define GRAINHASH_KERNEL(NAME, TARGET, POPCOUNT)                                              \
  template <std::size_t kBytes>                                                               \
  TARGET std::int32_t NAME##_of(const std::uint8_t* query, const std::uint8_t* codes,         \
                                std::size_t n, std::size_t n_bytes, std::int32_t* out) {      \
    return distances<POPCOUNT, kBytes>(query, codes, n, n_bytes, out);                        \
  }                                                                                           \
  Distances NAME(std::size_t n_bytes) {                                                       \
    switch (n_bytes) {                                                                        \
      case 8: return NAME##_of<8>;                                                            \
      case 16: return NAME##_of<16>;                                                          \
      case 32: return NAME##_of<32>;                                                          \
      case 64: return NAME##_of<64>;                                                          \
      case 128: return NAME##_of<128>;                                                        \
      default: return NAME##_of<0>;                                                           \
    }                                                                                         \
  }

#if defined(__GNUC__) && defined(__x86_64__)

struct BuiltinPopcount {
  static GRAINHASH_INLINE std::int32_t of(std::uint64_t x) { return __builtin_popcountll(x); }
};

GRAINHASH_KERNEL(portable, , PortablePopcount)
GRAINHASH_KERNEL(popcnt, __attribute__((target("popcnt,sse4.2"))), BuiltinPopcount)
GRAINHASH_KERNEL(avx512, __attribute__((target("popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq"))),
                 BuiltinPopcount)

Distances best(std::size_t n_bytes) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    return avx512(n_bytes);
  }
  if (__builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2")) return popcnt(n_bytes);
  return portable(n_bytes);
}

#elif defined(_MSC_VER) && defined(_M_X64)

struct IntrinsicPopcount {
  static GRAINHASH_INLINE std::int32_t of(std::uint64_t x) {
    return static_cast<std::int32_t>(__popcnt64(x));
  }
};

GRAINHASH_KERNEL(portable, , PortablePopcount)
GRAINHASH_KERNEL(popcnt, , IntrinsicPopcount)

Distances best(std::size_t n_bytes) {
  int registers[4];
  __cpuid(registers, 1);
  const bool has_popcnt = (registers[2] >> 23) & 1;
  return has_popcnt ? popcnt(n_bytes) : portable(n_bytes);
}

#elif defined(__GNUC__)

// On ARM the builtin is NEON's CNT, which every 64-bit ARM processor has.
struct BuiltinPopcount {
  static GRAINHASH_INLINE std::int32_t of(std::uint64_t x) { return __builtin_popcountll(x); }
};

GRAINHASH_KERNEL(best, , BuiltinPopcount)

#else

GRAINHASH_KERNEL(best, , PortablePopcount)

#endif

}  // namespace

Distances distances_kernel(std::size_t n_bytes) { return best(n_bytes); }

}  // namespace grainhash
