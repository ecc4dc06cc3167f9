// What arbiter/ needs from this program: the oracle, its faulty variants and our engine in its known arithmetics, all
// as child processes of ourselves; and whether a model is small enough for the oracle to run by default.
#pragma once

#include <string>
#include <vector>

#include "tern/arbiter/reference_check.h"
#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::app {

Result<arbiter::OracleEngines> oracle_engines();

// Ours with either activation rounding; none where our engine follows no known arithmetic on this model.
Result<std::vector<arbiter::KnownArithmetic>> known_arithmetics(const gguf::View& view);

// A long prompt of scattered token ids: about one activation in a million lies on the edge between the two roundings.
std::vector<int32_t> arithmetic_probe(const gguf::View& view);

// kNear: only about the neighbourhood of the first difference.
enum class AskOracle { kAuto, kAlways, kNear, kNever };

// Empty if the oracle is to be asked about `n_positions` positions of this model; otherwise why not.
std::string why_no_oracle(AskOracle ask, const gguf::View& view, size_t n_positions);

}  // namespace tern::app
