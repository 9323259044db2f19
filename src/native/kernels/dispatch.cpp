#include <atomic>

#include "kernels.h"
#include "variants.h"

namespace grainhash {
namespace {

bool runs_avx512() {
#if defined(__GNUC__) && defined(__x86_64__)
  return __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("popcnt");
#else
  return false;
#endif
}

bool runs_avx2() {
#if defined(__GNUC__) && defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#else
  return false;
#endif
}

std::vector<const Kernels*> runnable() {
  std::vector<const Kernels*> found;
  // Nothing of a file that is compiled for an instruction set is called before it is known to run.
  const auto offer = [&](bool runs, const Kernels* (*variant)()) {
    if (!runs) return;
    if (const Kernels* kernels = variant()) found.push_back(kernels);
  };
  offer(runs_avx512() && runs_amx(), amx_kernels);
  offer(runs_avx512(), avx512_kernels);
  offer(runs_avx2(), avx2_kernels);
  offer(true, neon_kernels);
  offer(true, portable_kernels);
  return found;
}

std::atomic<const Kernels*> asked_for{nullptr};

}  // namespace

const std::vector<const Kernels*>& all_kernels() {
  static const std::vector<const Kernels*> all = runnable();
  return all;
}

const Kernels& kernels() {
  const Kernels* chosen = asked_for.load();
  return chosen ? *chosen : *all_kernels().front();
}

bool use_kernels(const std::string& name) {
  for (const Kernels* offered : all_kernels()) {
    if (name != offered->name) continue;
    asked_for = offered;
    return true;
  }
  return false;
}

}  // namespace grainhash
