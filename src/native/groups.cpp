#include "groups.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/kernels.h"
#include "threads.h"

namespace grainhash {
namespace {

constexpr std::size_t kThreadDistances = 1 << 18;  // that are worth starting a thread
constexpr std::size_t kThreadCodes = 1 << 16;      // to count, likewise
constexpr std::size_t kTileBytes = 8 << 10;        // of centres, which stay in L1 while codes pass by
constexpr std::size_t kTogether = 256;             // codes against one tile of centres after the other
constexpr std::uint32_t kMostInByte = 255;

std::size_t thread_count(std::size_t n_threads, std::size_t work, std::size_t work_a_thread) {
  return std::min({n_threads, kMaxThreads, 1 + work / work_a_thread});
}

// Calls `run(begin, end)` for shares of `n` codes, and returns what the threads return.
template <class Run>
auto on_shares(std::size_t n, std::size_t n_threads, const Run& run) {
  return on_threads(n_threads, [&](std::size_t i) { return run(n * i / n_threads, n * (i + 1) / n_threads); });
}

// A byte's bits, each in a byte of a word: bit 7, which comes first in a code, in the lowest.
constexpr std::array<std::uint64_t, 256> make_spread() {
  std::array<std::uint64_t, 256> spread{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    for (std::size_t bit = 0; bit < 8; ++bit) {
      spread[byte] |= static_cast<std::uint64_t>((byte >> (7 - bit)) & 1) << (8 * bit);
    }
  }
  return spread;
}
constexpr std::array<std::uint64_t, 256> kSpread = make_spread();

// Counts eight bits with one addition: a word holds a byte's eight counts, and is emptied before any of them
// can be above 255.
class BitCounts {
 public:
  BitCounts(std::size_t n_groups, std::size_t n_bytes)
      : n_bytes_(n_bytes), ones_(n_groups * n_bytes * 8), words_(n_groups * n_bytes), pending_(n_groups) {}

  void add(const std::uint8_t* code, std::size_t group) {
    std::uint64_t* words = words_.data() + group * n_bytes_;
    for (std::size_t b = 0; b < n_bytes_; ++b) words[b] += kSpread[code[b]];
    if (++pending_[group] == kMostInByte) empty(group);
  }

  std::vector<std::int64_t> finish() {
    for (std::size_t group = 0; group < pending_.size(); ++group) empty(group);
    return std::move(ones_);
  }

 private:
  void empty(std::size_t group) {
    for (std::size_t b = group * n_bytes_; b < (group + 1) * n_bytes_; ++b) {
      for (std::size_t bit = 0; bit < 8; ++bit) {
        ones_[b * 8 + bit] += static_cast<std::int64_t>((words_[b] >> (8 * bit)) & kMostInByte);
      }
      words_[b] = 0;
    }
    pending_[group] = 0;
  }

  std::size_t n_bytes_;
  std::vector<std::int64_t> ones_;
  std::vector<std::uint64_t> words_;
  std::vector<std::uint32_t> pending_;  // codes of a group since it was emptied
};

// One thread's codes against all centres, a tile of them at a time. Tiles come by ascending position and only
// a nearer centre takes the place of an earlier one, so that the first of equals stays.
void nearest_of_share(const Rows& rows, const Centres& centres, std::int32_t* labels, std::int32_t* distances) {
  const Kernels& chosen = kernels();
  const std::size_t tile = std::max<std::size_t>(kTileBytes / rows.n_bytes, 1);
  std::int32_t tile_labels[kTogether], tile_distances[kTogether];
  for (std::size_t begin = 0; begin < rows.n; begin += kTogether) {
    const Rows some{rows.codes + begin * rows.stride, std::min(kTogether, rows.n - begin), rows.stride, rows.n_bytes};
    chosen.nearest(some, centres.codes, std::min(tile, centres.n), labels + begin, distances + begin);
    for (std::size_t first = tile; first < centres.n; first += tile) {
      chosen.nearest(some, centres.codes + first * rows.n_bytes, std::min(tile, centres.n - first), tile_labels,
                     tile_distances);
      for (std::size_t i = 0; i < some.n; ++i) {
        if (tile_distances[i] >= distances[begin + i]) continue;
        distances[begin + i] = tile_distances[i];
        labels[begin + i] = static_cast<std::int32_t>(first) + tile_labels[i];
      }
    }
  }
}

}  // namespace

void nearest_centres(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes, const Centres& centres,
                     std::int32_t* labels, std::int32_t* distances, std::size_t n_threads) {
  on_shares(n, thread_count(n_threads, n * centres.n, kThreadDistances), [&](std::size_t begin, std::size_t end) {
    nearest_of_share({codes + begin * n_bytes, end - begin, n_bytes, n_bytes}, centres, labels + begin,
                     distances + begin);
    return true;
  });
}

void count_bits(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes, const std::int32_t* labels,
                std::size_t n_groups, std::int64_t* ones, std::size_t n_threads) {
  // Each thread has counts of its own: no more of them than codes to count are worth.
  const std::size_t worth = std::max(kThreadCodes, n_groups * 8);
  const auto shares = on_shares(n, thread_count(n_threads, n, worth), [&](std::size_t begin, std::size_t end) {
    BitCounts counts(n_groups, n_bytes);
    for (std::size_t i = begin; i < end; ++i) {
      if (labels[i] >= 0) counts.add(codes + i * n_bytes, static_cast<std::size_t>(labels[i]));
    }
    return counts.finish();
  });
  for (const auto& share : shares) {
    std::transform(share.begin(), share.end(), ones, ones, [](std::int64_t a, std::int64_t b) { return a + b; });
  }
}

}  // namespace grainhash
