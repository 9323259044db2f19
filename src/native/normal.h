// The normal distribution.
#pragma once

#include <cmath>

namespace grainhash {

// Logarithm of the share below `z` standard deviations, strictly growing; infinity, no deviation at all,
// stays infinity.
inline double log_ndtr(double z) {
  if (std::isinf(z) && z > 0) return z;
  if (z > -30) return std::log(0.5 * std::erfc(-z / std::sqrt(2.0)));
  const double square = z * z;  // the asymptotic series; its next term is below 1e-9 here
  const double series = -1 / square + 3 / (square * square) - 15 / (square * square * square);
  const double log_2_pi = 1.8378770664093454836;
  return -square / 2 - std::log(-z) - log_2_pi / 2 + std::log1p(series);
}

}  // namespace grainhash
