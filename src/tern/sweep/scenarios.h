// What a sweep runs: three built-in scenarios, or the user's own from a TOML file:
//   [[scenario]]
//   name = "story"                 # a folder of this name is made: letters, digits, '.', '_' and '-'; unique
//   prompt = "Once upon a time"    # or token_ids = [1, 2, 3], which pass by both engines' tokenizers
//   max_tokens = 16                # 1 or more
//   description = "Prose"          # optional
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/outcome/scenario_outcome.h"

namespace tern::sweep {

// scenario1, scenario2, scenario3: those of BitNet-rs' run_crossval_sweep.sh.
std::vector<outcome::Scenario> builtin_scenarios();

// Errors: kIo; kInvalidInput, naming file, line and key.
Result<std::vector<outcome::Scenario>> read_scenarios(const std::filesystem::path& path);
Result<std::vector<outcome::Scenario>> parse_scenarios(std::string_view toml, const std::string& file_name);

// Those of these names, in their own order; all where `names` is empty. Errors: kUsage, which lists the names, for one
// that none has.
Result<std::vector<outcome::Scenario>> scenarios_named(const std::vector<outcome::Scenario>& scenarios,
                                                       const std::vector<std::string>& names);

}  // namespace tern::sweep
