// `tern run --engine oracle`: the oracle behind the same request and result as the fast engine's session.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/engine/session.h"
#include "tern/gguf/view.h"
#include "tern/oracle/oracle.h"

namespace tern::app {

struct OracleOptions {
  int64_t ubatch = 512;
  int significant_bits = 0;               // oracle::Settings
  std::string arithmetic;                 // "double", or one of oracle/float32.h
  std::optional<trace::TensorId> around;  // oracle::Settings
  std::string fault;                      // as oracle::parse_fault() takes it, or empty
  int n_threads = 1;                      // matters to one of the faults only
};

// As engine::Session::generate(), with the prompt in pieces of `ubatch` tokens so that the records bear the same names.
// Logits are rounded to float32 before a token is chosen of them. Where no logits are computed, the tokens are the
// teacher's, and 0 behind those. The request must have passed Limits::check().
Result<engine::Generation> generate_with_oracle(const gguf::View& view, const OracleOptions& options,
                                                const engine::GenerationRequest& request);

// The same with a given oracle, which has evaluated nothing yet.
Result<engine::Generation> generate_with(oracle::Oracle& oracle, int64_t ubatch,
                                         const engine::GenerationRequest& request);

// What result.json calls it: "tern oracle 0.1.0 (double)".
std::string oracle_engine_name(const OracleOptions& options);

// "double", and those of oracle/float32.h.
std::vector<std::string> oracle_arithmetics();

// oracle/faults.h
std::string fault_help();

}  // namespace tern::app
