// Asks for memory ahead of its use.
#pragma once

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace grainhash {

// Any address will do: one that is not mapped is ignored.
inline void prefetch(const void* address) {
#if defined(_MSC_VER)
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
#else
  __builtin_prefetch(address);
#endif
}

}  // namespace grainhash
