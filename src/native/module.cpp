// The Python module `grainhash._native`; `_native.pyi` is its documentation.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "scan.h"

namespace nb = nanobind;

namespace {

using Codes = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Offsets = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Rows = nb::ndarray<nb::numpy, T, nb::ndim<2>>;

// Hands a vector over to NumPy without copying it.
template <class T>
Rows<T> to_numpy(std::vector<T> values, std::size_t n_rows, std::size_t n_columns) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return Rows<T>(owned->data(), {n_rows, n_columns}, owner);
}

// Offsets are the one argument that could lead the scan outside of the codes.
void check_offsets(const Offsets& offsets, std::size_t n_codes) {
  const std::size_t n = offsets.shape(0);
  bool fits = n > 0 && offsets.data()[0] == 0 && offsets.data()[n - 1] == static_cast<std::int64_t>(n_codes);
  for (std::size_t i = 1; fits && i < n; ++i) fits = offsets.data()[i - 1] <= offsets.data()[i];
  if (!fits) throw std::invalid_argument("offsets must ascend from 0 to the number of codes");
}

std::tuple<Rows<std::int32_t>, Rows<std::int64_t>, Rows<std::int64_t>> knn(
    const Codes& codes, const std::optional<Offsets>& offsets, const Codes& queries, std::size_t k,
    const std::optional<Mask>& allow, std::size_t n_threads) {
  if (codes.shape(1) == 0 || codes.shape(1) != queries.shape(1)) {
    throw std::invalid_argument("codes and queries must have the same width, at least a byte");
  }
  if (n_threads == 0) throw std::invalid_argument("n_threads must be at least 1");
  if (offsets) check_offsets(*offsets, codes.shape(0));
  const std::size_t n_items = offsets ? offsets->shape(0) - 1 : codes.shape(0);
  if (allow && allow->shape(0) != n_items) throw std::invalid_argument("allow must have one entry an item");

  const grainhash::Collection collection{codes.data(), codes.shape(1), offsets ? offsets->data() : nullptr,
                                         allow ? allow->data() : nullptr, n_items};
  grainhash::Neighbours neighbours;
  {
    nb::gil_scoped_release release;
    k = std::min(k, collection.n_eligible());
    neighbours = grainhash::knn(collection, queries.data(), queries.shape(0), k, n_threads);
  }
  const std::size_t n_queries = queries.shape(0);
  return {to_numpy(std::move(neighbours.distances), n_queries, k),
          to_numpy(std::move(neighbours.positions), n_queries, k),
          to_numpy(std::move(neighbours.members), n_queries, k)};
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "Native kernels of grainhash.index.";
  // Without `noconvert` an array of another dtype or layout would be copied without a word.
  module.def("knn", &knn, nb::arg("codes").noconvert(), nb::arg("offsets").noconvert().none(),
             nb::arg("queries").noconvert(), nb::arg("k"), nb::arg("allow").noconvert().none(),
             nb::arg("n_threads"));
}
