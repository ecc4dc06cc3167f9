// Shell patterns that users give for tensors: with a '/' of the whole name ("blk0/*", "t*/logits"), otherwise of the
// stage's ("attn_*").
#pragma once

#include <string>
#include <vector>

#include "tern/trace/stage.h"

namespace tern::compare {

bool matches(const std::string& pattern, const trace::TensorId& id);

// Whether one of the patterns matches.
bool matches_any(const std::vector<std::string>& patterns, const trace::TensorId& id);

}  // namespace tern::compare
