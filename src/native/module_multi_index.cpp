// Bindings of multi-index hashing and of the asymmetric order.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <tuple>

#include "arrays.h"
#include "asymmetric.h"
#include "module.h"
#include "multi_index.h"

namespace nb = nanobind;

namespace grainhash {
namespace {

using Starts = Array<std::uint32_t, 1>;
using Entries = Array<std::uint64_t, 2>;
template <class T, std::size_t kDimensions>
using Filled = nb::ndarray<T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;

void check_n_codes(const Codes& codes) {
  if (codes.shape(0) >> 32) throw std::invalid_argument("tables are for fewer than 2**32 codes");
}

Tables tables_of(const Collection& collection, const Offsets& bounds, const Starts& starts,
                 const Entries& entries) {
  check_aligned(bounds, starts, entries);
  std::vector<TableBits> bits = cut(bounds.data(), bounds.shape(0), collection.n_bytes);
  if (starts.shape(0) != n_starts(bits)) {
    throw std::invalid_argument("starts must have one more than keys a table");
  }
  if (entries.shape(0) != bits.size() || entries.shape(1) != collection.n_codes) {
    throw std::invalid_argument("entries must be those of all codes for each table");
  }
  return {std::move(bits), starts.data(), entries.data()};
}

Column<bool> bools_to_numpy(std::vector<std::uint8_t> values) {
  auto* owned = new std::vector<std::uint8_t>(std::move(values));
  return Column<bool>(reinterpret_cast<bool*>(owned->data()), {owned->size()}, owner_of(owned));
}

// NumPy asks the system for huge pages, without which look-ups in large tables take twice as long.
std::tuple<nb::object, nb::object> bind_build(const Codes& codes, const Offsets& bounds,
                                              std::size_t n_threads) {
  check_threads(n_threads);
  check_n_codes(codes);
  check_aligned(bounds);
  const std::vector<TableBits> bits = cut(bounds.data(), bounds.shape(0), codes.shape(1));
  const nb::module_ numpy = nb::module_::import_("numpy");
  nb::object starts = numpy.attr("empty")(n_starts(bits), numpy.attr("uint32"));
  const nb::tuple shape = nb::make_tuple(bits.size(), codes.shape(0));
  nb::object entries = numpy.attr("empty")(shape, numpy.attr("uint64"));
  auto* starts_data = nb::cast<Filled<std::uint32_t, 1>>(starts).data();
  auto* entries_data = nb::cast<Filled<std::uint64_t, 2>>(entries).data();
  {
    nb::gil_scoped_release release;
    build_tables(codes.data(), codes.shape(0), codes.shape(1), bits, starts_data, entries_data, n_threads);
  }
  return {starts, entries};
}

std::tuple<Rows2<std::int32_t>, Rows2<std::int64_t>, Rows2<std::int64_t>, Column<bool>> bind_knn(
    const Codes& codes, const std::optional<Offsets>& offsets, const Offsets& bounds, const Starts& starts,
    const Entries& entries, const Codes& queries, std::size_t k, const std::optional<Mask>& allow,
    double budget, std::size_t n_threads) {
  const Collection collection = collection_of(codes, codes.shape(1), offsets, allow);
  check_n_codes(codes);
  check_queries(queries, codes.shape(1));
  check_threads(n_threads);
  const Tables tables = tables_of(collection, bounds, starts, entries);
  const std::size_t n_queries = queries.shape(0);
  TableAnswers answers;
  {
    nb::gil_scoped_release release;
    answers = multi_index_knn(collection, tables, queries.data(), n_queries, k, budget, n_threads);
  }
  return {to_numpy(std::move(answers.found.distances), n_queries, answers.k),
          to_numpy(std::move(answers.found.positions), n_queries, answers.k),
          to_numpy(std::move(answers.found.members), n_queries, answers.k),
          bools_to_numpy(std::move(answers.finished))};
}

std::tuple<Column<std::int64_t>, Column<std::int32_t>, Column<std::int64_t>, Column<std::int64_t>,
           Column<bool>>
bind_range(const Codes& codes, const std::optional<Offsets>& offsets, const Offsets& bounds,
           const Starts& starts, const Entries& entries, const Codes& queries, std::size_t radius,
           const std::optional<Mask>& allow, double budget, std::size_t n_threads) {
  const Collection collection = collection_of(codes, codes.shape(1), offsets, allow);
  check_n_codes(codes);
  check_queries(queries, codes.shape(1));
  check_threads(n_threads);
  const Tables tables = tables_of(collection, bounds, starts, entries);
  TableAnswers answers;
  {
    nb::gil_scoped_release release;
    answers = multi_index_range(collection, tables, queries.data(), queries.shape(0), radius, budget,
                                n_threads);
  }
  return {to_numpy(std::move(answers.found.limits)), to_numpy(std::move(answers.found.distances)),
          to_numpy(std::move(answers.found.positions)), to_numpy(std::move(answers.found.members)),
          bools_to_numpy(std::move(answers.finished))};
}

void check_asymmetric(const Collection& collection, const Codes& queries,
                      const Array<std::int32_t, 2>& weights, const Array<std::int64_t, 2>& positions) {
  check_aligned(weights, positions);
  if (weights.shape(0) != queries.shape(0) || weights.shape(1) != queries.shape(1) * 8) {
    throw std::invalid_argument("weights must have a row a query and a column a bit");
  }
  if (positions.shape(0) != queries.shape(0) && positions.shape(0) != 1) {
    throw std::invalid_argument("positions must have a row a query, or one for all");
  }
  const auto is_weight = [](std::int32_t weight) { return weight >= 0 && weight <= kMaxWeight; };
  if (!std::all_of(weights.data(), weights.data() + weights.size(), is_weight)) {
    throw std::invalid_argument("weights must be from 0 to 2**20");
  }
  const auto n_items = static_cast<std::int64_t>(collection.n_items);
  const auto is_item = [&](std::int64_t position) { return position >= -1 && position < n_items; };
  if (!std::all_of(positions.data(), positions.data() + positions.size(), is_item)) {
    throw std::invalid_argument("positions must be those of items, or -1");
  }
}

std::tuple<Rows2<std::int32_t>, Rows2<std::int64_t>, Rows2<std::int32_t>> bind_asymmetric(
    const Codes& codes, const std::optional<Offsets>& offsets, const Codes& queries,
    const Array<std::int32_t, 2>& weights, const Array<std::int64_t, 2>& positions) {
  const Collection collection = collection_of(codes, queries.shape(1), offsets, std::nullopt);
  const std::size_t n_queries = queries.shape(0), k = positions.shape(1);
  WeightedSums found;
  {
    nb::gil_scoped_release release;
    check_asymmetric(collection, queries, weights, positions);
    const std::size_t items_stride = positions.shape(0) == n_queries ? k : 0;
    found = asymmetric(collection, queries.data(), weights.data(), n_queries, positions.data(), items_stride, k);
  }
  return {to_numpy(std::move(found.sums), n_queries, k), to_numpy(std::move(found.members), n_queries, k),
          to_numpy(std::move(found.distances), n_queries, k)};
}

}  // namespace

void bind_multi_index(nb::module_& module) {
  // Without `noconvert` an array of another dtype or layout would be copied without a word.
  const auto codes = nb::arg("codes").noconvert();
  const auto offsets = nb::arg("offsets").noconvert().none();
  const auto bounds = nb::arg("bounds").noconvert();
  const auto starts = nb::arg("starts").noconvert();
  const auto entries = nb::arg("entries").noconvert();
  const auto queries = nb::arg("queries").noconvert();
  const auto allow = nb::arg("allow").noconvert().none();
  module.def("multi_index_build", &bind_build, codes, bounds, nb::arg("n_threads"));
  module.def("multi_index_knn", &bind_knn, codes, offsets, bounds, starts, entries, queries, nb::arg("k"),
             allow, nb::arg("budget"), nb::arg("n_threads"));
  module.def("multi_index_range", &bind_range, codes, offsets, bounds, starts, entries, queries,
             nb::arg("radius"), allow, nb::arg("budget"), nb::arg("n_threads"));
  module.def("multi_index_cost", &multi_index_cost, nb::arg("lookups"), nb::arg("candidates"),
             nb::arg("reads") = 0.0);
  module.def("asymmetric", &bind_asymmetric, codes, offsets, queries, nb::arg("weights").noconvert(),
             nb::arg("positions").noconvert());
}

}  // namespace grainhash
