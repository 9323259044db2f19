// The kernels of each instruction set; null where this build has none for it.
#pragma once

#include "kernels.h"

namespace grainhash {

const Kernels* amx_kernels();
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* portable_kernels();

// Whether this processor has AMX and the system lets this process use it.
bool runs_amx();

}  // namespace grainhash
