// The user's own bounds for comparisons that are not held to equal hashes, from a TOML file:
//   min_logits_cosine = 0.995            # of every compared row; optional, as the next
//   max_log_sum_exp_difference = 0.2     # nats
//   [[tolerance]]                        # any number; of two that match, the later one counts
//   stage = "attn_*"                     # a stage, or with a '/' a tensor's name: "blk0/*", "t*/logits"
//   max_relative_error = 0.02            # of a tensor's values; one of the two, or both
//   max_rms_ratio_deviation = 0.01       # where only RMS are there
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tern/base/error.h"
#include "tern/compare/compare_runs.h"

namespace tern::sweep {

// Errors: kIo; kInvalidInput, naming file, line and key.
Result<compare::Tolerances> read_tolerances(const std::filesystem::path& path);
Result<compare::Tolerances> parse_tolerances(std::string_view toml, const std::string& file_name);

}  // namespace tern::sweep
