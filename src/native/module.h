// The parts of the Python module that are bound in files of their own.
#pragma once

#include <nanobind/nanobind.h>

namespace grainhash {

void bind_multi_index(nanobind::module_& module);  // and the asymmetric order
void bind_groups(nanobind::module_& module);

}  // namespace grainhash
