// The Python module `grainhash._native`; `_native.pyi` is its documentation.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "arrays.h"
#include "find.h"
#include "kernels/kernels.h"
#include "module.h"
#include "normal.h"
#include "scan.h"

namespace nb = nanobind;

namespace grainhash {
namespace {

std::tuple<Rows2<std::int32_t>, Rows2<std::int64_t>, Rows2<std::int64_t>> bind_knn(
    const Codes& codes, std::size_t n_bytes, const std::optional<Offsets>& offsets, const Codes& queries,
    std::size_t k, const std::optional<Mask>& allow, std::size_t n_threads) {
  const Collection collection = collection_of(codes, n_bytes, offsets, allow);
  check_queries(queries, n_bytes);
  check_threads(n_threads);
  const std::size_t n_queries = queries.shape(0);
  Found found;
  std::size_t n_found = 0;
  {
    nb::gil_scoped_release release;
    found = knn(collection, queries.data(), n_queries, k, n_threads);
    n_found = n_queries ? found.distances.size() / n_queries : std::min(k, collection.n_eligible());
    for (std::size_t q = 0; q <= n_queries; ++q) {
      if (found.limits[q] != static_cast<std::int64_t>(q * n_found)) throw std::invalid_argument("offsets do not ascend");
    }
  }
  return {to_numpy(std::move(found.distances), n_queries, n_found),
          to_numpy(std::move(found.positions), n_queries, n_found),
          to_numpy(std::move(found.members), n_queries, n_found)};
}

std::tuple<Column<std::int64_t>, Column<std::int32_t>, Column<std::int64_t>, Column<std::int64_t>> bind_range_search(
    const Codes& codes, std::size_t n_bytes, const std::optional<Offsets>& offsets, const Codes& queries,
    std::int32_t radius, const std::optional<Mask>& allow, std::size_t n_threads) {
  const Collection collection = collection_of(codes, n_bytes, offsets, allow);
  check_queries(queries, n_bytes);
  check_threads(n_threads);
  if (radius < 0) throw std::invalid_argument("radius must be at least 0");
  Found found;
  {
    nb::gil_scoped_release release;
    found = range_search(collection, queries.data(), queries.shape(0), radius, n_threads);
  }
  return {to_numpy(std::move(found.limits)), to_numpy(std::move(found.distances)),
          to_numpy(std::move(found.positions)), to_numpy(std::move(found.members))};
}

Column<std::int64_t> bind_find(const Offsets& ids, const Offsets& wanted) {
  check_aligned(ids, wanted);
  std::vector<std::int64_t> positions(wanted.shape(0));
  {
    nb::gil_scoped_release release;
    find(ids.data(), ids.shape(0), wanted.data(), wanted.shape(0), positions.data());
  }
  return to_numpy(std::move(positions));
}

Column<double> bind_log_ndtr(const Array<double, 1>& values) {
  check_aligned(values);
  std::vector<double> found(values.shape(0));  // with the interpreter held: of few it takes less than letting go
  std::transform(values.data(), values.data() + values.shape(0), found.begin(), log_ndtr);
  return to_numpy(std::move(found));
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* offered : all_kernels()) names.emplace_back(offered->name);
  return names;
}

void use_kernel(const std::string& name) {
  if (!use_kernels(name)) throw std::invalid_argument("this processor or this build has no kernel " + name);
}

}  // namespace
}  // namespace grainhash

NB_MODULE(_native, module) {
  using namespace grainhash;
  module.doc() = "Native kernels of grainhash.index.";
  // Without `noconvert` an array of another dtype or layout would be copied without a word.
  module.def("knn", &bind_knn, nb::arg("codes").noconvert(), nb::arg("n_bytes"), nb::arg("offsets").noconvert().none(),
             nb::arg("queries").noconvert(), nb::arg("k"), nb::arg("allow").noconvert().none(), nb::arg("n_threads"));
  module.def("range_search", &bind_range_search, nb::arg("codes").noconvert(), nb::arg("n_bytes"),
             nb::arg("offsets").noconvert().none(), nb::arg("queries").noconvert(), nb::arg("radius"),
             nb::arg("allow").noconvert().none(), nb::arg("n_threads"));
  module.def("find", &bind_find, nb::arg("ids").noconvert(), nb::arg("wanted").noconvert());
  module.def("log_ndtr", &bind_log_ndtr, nb::arg("values").noconvert());
  module.def("kernels", &kernel_names);
  module.def("kernel", [] { return std::string(kernels().name); });
  module.def("use_kernel", &use_kernel, nb::arg("name"));
  bind_multi_index(module);
  bind_groups(module);
}
