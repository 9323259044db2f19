// NumPy arrays as the bindings take and give them.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "collection.h"

namespace grainhash {

template <class T, std::size_t kDimensions>
using Array = nanobind::ndarray<const T, nanobind::ndim<kDimensions>, nanobind::c_contig, nanobind::device::cpu>;

using Codes = Array<std::uint8_t, 2>;
using Offsets = Array<std::int64_t, 1>;
using Mask = Array<bool, 1>;

template <class T>
using Column = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>>;
template <class T>
using Rows2 = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<2>>;

template <class T>
nanobind::capsule owner_of(std::vector<T>* values) {
  return nanobind::capsule(values, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
}

// Hands a vector over to NumPy without copying it.
template <class T>
Column<T> to_numpy(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  return Column<T>(owned->data(), {owned->size()}, owner_of(owned));
}

template <class T>
Rows2<T> to_numpy(std::vector<T> values, std::size_t n_rows, std::size_t n_columns) {
  auto* owned = new std::vector<T>(std::move(values));
  return Rows2<T>(owned->data(), {n_rows, n_columns}, owner_of(owned));
}

// Numbers that do not lie where their size asks for may end the process on some processors.
template <class... Arrays>
void check_aligned(const Arrays&... arrays) {
  const auto is_aligned = [](const auto& array) {
    return reinterpret_cast<std::uintptr_t>(array.data()) % sizeof(*array.data()) == 0;
  };
  if (!(is_aligned(arrays) && ...)) throw std::invalid_argument("arrays must be aligned to the size of their numbers");
}

// What is searched, once it is known that the arrays fit each other. Offsets are checked where they
// are used, since there may be very many.
inline Collection collection_of(const Codes& codes, std::size_t n_bytes, const std::optional<Offsets>& offsets,
                                const std::optional<Mask>& allow) {
  if (n_bytes == 0 || n_bytes > codes.shape(1) || n_bytes > 128) {
    throw std::invalid_argument("n_bytes must be at least 1, at most the width of the codes, and at most 128");
  }
  if (offsets) check_aligned(*offsets);
  if (offsets && offsets->shape(0) == 0) throw std::invalid_argument("offsets must have one entry more than items");
  const std::size_t n_items = offsets ? offsets->shape(0) - 1 : codes.shape(0);
  if (allow && allow->shape(0) != n_items) throw std::invalid_argument("allow must have one entry an item");
  if (offsets && n_items == 0 && codes.shape(0) != 0) throw std::invalid_argument("there are codes of no item");
  return {codes.data(),   codes.shape(1),
          n_bytes,        codes.shape(0),
          offsets ? offsets->data() : nullptr, allow ? allow->data() : nullptr,
          n_items};
}

inline void check_queries(const Codes& queries, std::size_t n_bytes) {
  if (queries.shape(1) != n_bytes) throw std::invalid_argument("queries must have n_bytes bytes each");
}

inline void check_threads(std::size_t n_threads) {
  if (n_threads == 0) throw std::invalid_argument("n_threads must be at least 1");
}

}  // namespace grainhash
