// Where ids are in an ascending array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace grainhash {

// Writes the position of each wanted id, or -1. The search gallops on from the one before, so that
// wanted ids that ascend cost a few comparisons each; any order works.
inline void find(const std::int64_t* ids, std::size_t n, const std::int64_t* wanted, std::size_t n_wanted,
                 std::int64_t* positions) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < n_wanted; ++i) {
    const std::int64_t id = wanted[i];
    std::size_t begin = at < n && ids[at] <= id ? at : 0;
    std::size_t step = 1;
    while (begin + step < n && ids[begin + step] <= id) {
      begin += step;
      step *= 2;
    }
    const std::int64_t* end = ids + std::min(begin + step, n);
    const std::int64_t* found = std::lower_bound(ids + std::min(begin, n), end, id);
    at = static_cast<std::size_t>(found - ids);
    positions[i] = found != ids + n && *found == id ? found - ids : -1;
  }
}

}  // namespace grainhash
