// What is searched: items of one code each, or of a run of codes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace grainhash {

// Views of arrays that belong to the caller. Offsets may come from a damaged file, so nothing here
// trusts them: whatever they hold, an item's codes lie inside `codes`.
struct Collection {
  const std::uint8_t* codes;
  std::size_t stride;           // bytes from one code to the next
  std::size_t n_bytes;          // compared, of each code: its first, at most `stride`
  std::size_t n_codes;
  const std::int64_t* offsets;  // n_items + 1, ascending from 0 to n_codes; null where an item is one code
  const bool* allow;            // n_items; null where every item may be a hit
  std::size_t n_items;

  const std::uint8_t* code(std::size_t position) const { return codes + position * stride; }

  bool allows(std::size_t item) const { return !allow || allow[item]; }

  // Items that can be hits: allowed, with at least one code.
  std::size_t n_eligible() const {
    if (!offsets) return allow ? static_cast<std::size_t>(std::count(allow, allow + n_items, true)) : n_items;
    std::size_t n = 0;
    for (std::size_t item = 0; item < n_items; ++item) n += allows(item) && first(item) < last(item);
    return n;
  }

  // The codes of an item are those from `first(item)` to before `last(item)`.
  std::size_t first(std::size_t item) const { return offsets ? clamped(offsets[item]) : item; }
  std::size_t last(std::size_t item) const { return offsets ? clamped(offsets[item + 1]) : item + 1; }

  // The item that a code belongs to, known to be one from `begin` to before `end`. The search gallops,
  // so that it is short where the item is near `begin`.
  std::size_t item_of(std::size_t position, std::size_t begin, std::size_t end) const {
    if (!offsets) return position;
    const auto code = static_cast<std::int64_t>(position);
    std::size_t step = 1;
    while (begin + step < end && offsets[begin + step] <= code) {
      begin += step;
      step *= 2;
    }
    const std::int64_t* after = std::upper_bound(offsets + begin + 1, offsets + std::min(begin + step, end), code);
    return static_cast<std::size_t>(after - offsets) - 1;
  }

 private:
  std::size_t clamped(std::int64_t offset) const {
    return std::min(static_cast<std::size_t>(std::max<std::int64_t>(offset, 0)), n_codes);
  }
};

}  // namespace grainhash
