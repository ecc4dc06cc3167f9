// `tern run --engine oracle`: the oracle behind the same request and result as the fast engine's session.
#pragma once

#include "tern/base/error.h"
#include "tern/engine/session.h"
#include "tern/gguf/view.h"

namespace tern::cli {

// As engine::Session::generate(), with the prompt in pieces of `ubatch` tokens so that the records bear the same names.
// Logits are rounded to float32 before a token is chosen of them.
Result<engine::Generation> generate_with_oracle(const gguf::View& view, int64_t ubatch,
                                                const engine::GenerationRequest& request);

}  // namespace tern::cli
