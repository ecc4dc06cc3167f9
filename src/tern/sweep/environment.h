// What a report must say about the machine and the settings, so that the sweep can be repeated elsewhere.
#pragma once

#include <map>
#include <string>

#include "tern/base/error.h"

namespace tern::sweep {

// From the strings of --threads / RAYON_NUM_THREADS and --timeout / CROSSVAL_TIMEOUT_SECS (null: not given; the option
// wins). Errors: kUsage, naming which of the two holds what.
Result<int> thread_count(const char* option, const char* environment);        // 1 to 1024, default 4
Result<double> timeout_seconds(const char* option, const char* environment);  // above 0, default 180

// The variables of docs/cross-validation.md as they are in this sweep, "cpu", "logical_cpus", "os", "compiler".
std::map<std::string, std::string> describe_environment(int threads, double timeout_s);

// "2026-03-14T15:09:26Z"
std::string utc_now();

}  // namespace tern::sweep
