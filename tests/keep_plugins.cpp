// Linked into every program that is built with AddressSanitizer: a library stays loaded until the
// process ends. MPI_Finalize unloads Open MPI's plug-ins, and LeakSanitizer can match an allocation
// with tests/lsan.supp only while the library that made it is loaded.
// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

int dlclose(void* /*handle*/) noexcept {
  return 0;
}
