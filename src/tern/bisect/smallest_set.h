// Which of many changes make something wrong: delta debugging (Zeller and Hildebrandt, 2002).
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "tern/base/error.h"

namespace tern::bisect {

enum class Outcome {
  kGood,
  kBad,
  kUntestable,  // gives no verdict: no build, a crash, or a mistrusted comparison
};
// "good", "bad", "untestable"
const char* outcome_name(Outcome outcome);

// Whether these changes (ascending indices) are bad when nothing else is changed.
using TestChanges = std::function<Result<Outcome>(const std::vector<size_t>& changes)>;

// A set of the changes 0 to n - 1 that is bad, and no longer bad without any one of them. The caller has checked that
// all together are bad and that none is good. No set is tested twice. Errors: those of `test`.
Result<std::vector<size_t>> smallest_bad_set(size_t n, const TestChanges& test);

}  // namespace tern::bisect
