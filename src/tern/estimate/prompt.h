// The cause where two sides made different ids of one prompt, found from the ids alone.
#pragma once

#include <filesystem>
#include <optional>

#include "tern/outcome/cause.h"
#include "tern/trace/run_folder.h"

namespace tern::estimate {

// The ids that the model's vocabulary puts before and behind a text.
struct SpecialIds {
  std::optional<int32_t> bos, eos;
};

// The reference is taken to be right. nullopt where the ids are equal, or a side does not state its own.
std::optional<outcome::Cause> cause_of_prompts(const SpecialIds& special, const trace::RunResult& subject,
                                               const trace::RunResult& reference);
// The same with the special ids of a model file; of one that cannot be read, none are known.
std::optional<outcome::Cause> cause_of_prompts(const std::filesystem::path& model, const trace::RunResult& subject,
                                               const trace::RunResult& reference);

}  // namespace tern::estimate
