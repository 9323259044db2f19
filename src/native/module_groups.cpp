// Bindings of what k-majority repeats.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "arrays.h"
#include "groups.h"
#include "module.h"

namespace nb = nanobind;

namespace grainhash {
namespace {

using Labels = Array<std::int32_t, 1>;

void check_width(const Codes& codes) {
  if (codes.shape(1) == 0 || codes.shape(1) > 128) throw std::invalid_argument("codes must have 1 to 128 bytes");
}

void check_n_groups(std::size_t n_groups) {
  if (n_groups == 0 || n_groups > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("there must be at least one centre, and fewer than 2**31");
  }
}

std::tuple<Column<std::int32_t>, Column<std::int32_t>> bind_nearest_centres(const Codes& codes, const Codes& centres,
                                                                          std::size_t n_threads) {
  check_width(codes);
  check_n_groups(centres.shape(0));
  check_threads(n_threads);
  if (centres.shape(1) != codes.shape(1)) throw std::invalid_argument("centres must be as wide as the codes");
  std::vector<std::int32_t> labels(codes.shape(0)), distances(codes.shape(0));
  {
    nb::gil_scoped_release release;
    nearest_centres(codes.data(), codes.shape(0), codes.shape(1), {centres.data(), centres.shape(0)}, labels.data(),
                    distances.data(), n_threads);
  }
  return {to_numpy(std::move(labels)), to_numpy(std::move(distances))};
}

Rows2<std::int64_t> bind_count_bits(const Codes& codes, const Labels& labels, std::size_t n_groups,
                                    std::size_t n_threads) {
  check_width(codes);
  check_n_groups(n_groups);
  check_threads(n_threads);
  check_aligned(labels);
  if (labels.shape(0) != codes.shape(0)) throw std::invalid_argument("labels must have one entry a code");
  std::vector<std::int64_t> ones(n_groups * codes.shape(1) * 8);
  {
    nb::gil_scoped_release release;
    // A copy, for someone may change the labels after they are checked.
    const std::vector<std::int32_t> own(labels.data(), labels.data() + labels.size());
    if (std::any_of(own.begin(), own.end(), [&](auto label) { return label >= static_cast<std::int64_t>(n_groups); })) {
      throw std::invalid_argument("labels must be below the number of groups");
    }
    count_bits(codes.data(), codes.shape(0), codes.shape(1), own.data(), n_groups, ones.data(), n_threads);
  }
  return to_numpy(std::move(ones), n_groups, codes.shape(1) * 8);
}

}  // namespace

void bind_groups(nb::module_& module) {
  const auto codes = nb::arg("codes").noconvert();
  module.def("nearest_centres", &bind_nearest_centres, codes, nb::arg("centres").noconvert(), nb::arg("n_threads"));
  module.def("count_bits", &bind_count_bits, codes, nb::arg("labels").noconvert(), nb::arg("n_groups"),
             nb::arg("n_threads"));
}

}  // namespace grainhash
