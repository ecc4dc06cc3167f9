#include "tern/kernels/dispatch.h"

#include <string>

#include "tern/base/environment.h"
#include "tern/kernels/isa_tables.h"

#if defined(TERN_HAVE_NEON_TABLE)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace tern::kernels {

std::vector<const KernelTable*> runnable_tables() {
  std::vector<const KernelTable*> tables = {&kScalarTable};
#if defined(TERN_HAVE_X86_TABLES)
  __builtin_cpu_init();
  // The builtin also checks that the operating system saves the wide registers. F16C is older than AVX2 on every CPU.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&kAvx2Table);
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
      tables.push_back(&kAvx512Table);
    }
  }
#endif
#if defined(TERN_HAVE_NEON_TABLE)
  // NEON itself is part of every aarch64 CPU; its products of four bytes came with Armv8.2.
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) {
    tables.push_back(&kNeonTable);
  }
#endif
  return tables;
}

Result<const KernelTable*> table_named(std::string_view name) {
  std::string known;
  for (const KernelTable* table : runnable_tables()) {
    if (table->name == name) {
      return table;
    }
    known += known.empty() ? "" : ", ";
    known += table->name;
  }
  return fail(ErrorCode::kUsage, "TERN_ISA=" + printable(name), "no such instruction set in this build and on this CPU",
              "possible here: " + known);
}

Result<const KernelTable*> choose_table() {
  if (const char* forced = environment_variable("TERN_ISA")) {
    return table_named(forced);
  }
  return runnable_tables().back();
}

}  // namespace tern::kernels
