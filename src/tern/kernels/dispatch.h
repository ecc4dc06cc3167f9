// Chooses the kernel table for this machine. No arithmetic here, and no choosing inside the kernels.
#pragma once

#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/kernels/table.h"

namespace tern::kernels {

// Tables that this build holds and this CPU can run, the scalar one first, the best one last. They live forever.
std::vector<const KernelTable*> runnable_tables();

// The table of that name. Errors: kUsage, for a name that is unknown or that this CPU or build cannot run, with the
// names that are possible.
Result<const KernelTable*> table_named(std::string_view name);

// The one that the environment variable TERN_ISA names, or the best runnable one where it is unset or empty.
// Errors: as table_named(); a forced table is never silently replaced.
Result<const KernelTable*> choose_table();

}  // namespace tern::kernels
