// Every instruction set's table, for dispatch.cc alone. A new one: its file, a line here, a line in dispatch.cc, and
// its compile flags in CMakeLists.txt.
#pragma once

#include "tern/kernels/table.h"

namespace tern::kernels {

extern const KernelTable kScalarTable;
#if defined(TERN_HAVE_X86_TABLES)
extern const KernelTable kAvx2Table;
extern const KernelTable kAvx512Table;
#endif
#if defined(TERN_HAVE_NEON_TABLE)
extern const KernelTable kNeonTable;
#endif

}  // namespace tern::kernels
