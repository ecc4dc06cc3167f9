// TERN_CHECK: an invariant of our own code. If it fails, tern has a bug, and it stops at once with the place.
// Never for input: input gets an Error.
#pragma once

namespace tern {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace tern

#define TERN_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::tern::check_failed(#condition, __FILE__, __LINE__))
