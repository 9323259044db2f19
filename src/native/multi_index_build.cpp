#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "multi_index.h"
#include "prefetch.h"
#include "threads.h"

namespace grainhash {
namespace {

constexpr std::size_t kBlock = 256;  // codes whose buckets are asked of memory at once
constexpr std::size_t kTagBits = 32;

// Bits `first` to before `last`, at most 32 of them.
Substring substring(std::size_t first, std::size_t last, std::size_t n_bytes) {
  const std::size_t width = std::min<std::size_t>(n_bytes, 8);
  const std::size_t byte = std::min(first / 8, n_bytes - width);
  const std::size_t after = (byte + width) * 8 - last;
  return {byte, width, static_cast<unsigned>(after), static_cast<unsigned>(last - first)};
}

// The buckets of one table whose keys are from `first_key` to before `last_key`. Several threads share a
// table by keys rather than by codes, so that each writes to its own slots and needs no memory of its own.
class TablePart {
 public:
  TablePart(const std::uint8_t* codes, std::size_t n_codes, std::size_t n_bytes, const TableBits& bits,
            std::uint32_t* starts, std::uint64_t* entries, std::uint32_t first_key, std::uint32_t last_key)
      : codes_(codes), n_codes_(n_codes), n_bytes_(n_bytes), bits_(bits), starts_(starts),
        entries_(entries), first_key_(first_key), last_key_(last_key) {}

  // Starts of a bucket serve as its cursor while it fills up; it then ends where the next one starts.
  // That is why the cursor of bucket `key` is starts[key + 1].
  void build() {
    std::uint32_t* cursors = starts_ + 1;
    if (first_key_ == 0) starts_[0] = 0;
    std::fill(cursors + first_key_, cursors + last_key_, 0);

    std::uint32_t start = 0;
    for_each_block([&](const Block& block) {
      start += block.n_before;
      for (std::size_t i = 0; i < block.n; ++i) ++cursors[block.keys[i]];
    });
    for (std::size_t key = first_key_; key < last_key_; ++key) {
      const std::uint32_t size = cursors[key];
      cursors[key] = start;
      start += size;
    }
    for_each_block([&](const Block& block) {
      for (std::size_t i = 0; i < block.n; ++i) prefetch(entries_ + cursors[block.keys[i]]);
      for (std::size_t i = 0; i < block.n; ++i) {
        const std::uint32_t slot = cursors[block.keys[i]]++;
        if (slot >= start) continue;  // someone changes the codes meanwhile
        const std::uint64_t tag = bits_.tag.of(codes_ + block.positions[i] * n_bytes_);
        entries_[slot] = tag << 32 | block.positions[i];
      }
    });
  }

 private:
  struct Block {
    std::size_t n = 0;
    std::uint32_t n_before = 0;  // codes of smaller keys
    std::uint32_t keys[kBlock];
    std::uint32_t positions[kBlock];
  };

  template <class Work>
  void for_each_block(const Work& work) const {
    Block block;
    for (std::size_t begin = 0; begin < n_codes_; begin += kBlock) {
      const std::size_t end = std::min(begin + kBlock, n_codes_);
      block.n = block.n_before = 0;
      for (std::size_t position = begin; position < end; ++position) {
        const std::uint32_t key = bits_.key.of(codes_ + position * n_bytes_);
        block.keys[block.n] = key;
        block.positions[block.n] = static_cast<std::uint32_t>(position);
        block.n += key - first_key_ < last_key_ - first_key_;
        block.n_before += key < first_key_;
      }
      for (std::size_t i = 0; i < block.n; ++i) prefetch(starts_ + 1 + block.keys[i]);
      work(block);
    }
  }

  const std::uint8_t* codes_;
  std::size_t n_codes_;
  std::size_t n_bytes_;
  TableBits bits_;
  std::uint32_t* starts_;
  std::uint64_t* entries_;
  std::uint32_t first_key_;
  std::uint32_t last_key_;
};

}  // namespace

std::vector<TableBits> cut(const std::int64_t* bounds, std::size_t n_bounds, std::size_t n_bytes) {
  const auto n_bits = static_cast<std::int64_t>(n_bytes * 8);
  bool fits = n_bounds > 1 && bounds[0] == 0 && bounds[n_bounds - 1] == n_bits;
  for (std::size_t i = 1; fits && i < n_bounds; ++i) {
    fits = bounds[i - 1] < bounds[i] && bounds[i] <= n_bits && bounds[i] - bounds[i - 1] <= kMaxKeyBits;
  }
  if (!fits) {
    throw std::invalid_argument("bounds must ascend from 0 to the number of bits in steps of 1 to 28");
  }

  std::vector<TableBits> tables;
  for (std::size_t i = 1; i < n_bounds; ++i) {
    const auto first = static_cast<std::size_t>(bounds[i - 1]);
    const auto last = static_cast<std::size_t>(bounds[i]);
    const std::size_t before = std::min(first, kTagBits);
    const std::size_t after = std::min(n_bytes * 8 - last, kTagBits);
    const Substring tag = after >= before ? substring(last, last + after, n_bytes)
                                          : substring(first - before, first, n_bytes);
    tables.push_back({substring(first, last, n_bytes), tag});
  }
  return tables;
}

std::size_t n_starts(const std::vector<TableBits>& tables) {
  std::size_t n = 0;
  for (const TableBits& bits : tables) n += bits.key.n_values() + 1;
  return n;
}

void build_tables(const std::uint8_t* codes, std::size_t n_codes, std::size_t n_bytes,
                  const std::vector<TableBits>& tables, std::uint32_t* starts, std::uint64_t* entries,
                  std::size_t n_threads) {
  std::size_t parts_a_table = 1;  // a power of two, as the number of keys is; each part reads all codes
  while (parts_a_table * tables.size() < 2 * std::min(n_threads, kMaxThreads)) parts_a_table *= 2;

  std::vector<TablePart> parts;
  for (const TableBits& bits : tables) {
    const std::size_t n_keys = bits.key.n_values();
    const std::size_t n_parts = std::min(n_keys, parts_a_table);
    for (std::size_t i = 0; i < n_parts; ++i) {
      const auto first_key = static_cast<std::uint32_t>(n_keys / n_parts * i);
      const auto last_key = static_cast<std::uint32_t>(n_keys / n_parts * (i + 1));
      parts.emplace_back(codes, n_codes, n_bytes, bits, starts, entries, first_key, last_key);
    }
    starts += n_keys + 1;
    entries += n_codes;
  }
  std::atomic<std::size_t> next{0};
  on_threads(std::min({n_threads, parts.size(), kMaxThreads}), [&](std::size_t) {
    for (std::size_t i = next++; i < parts.size(); i = next++) parts[i].build();
    return true;
  });
}

}  // namespace grainhash
