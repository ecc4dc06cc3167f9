// The two ways to explain a side. For explain*.cc alone.
#pragma once

#include "tern/estimate/explain.h"

namespace tern::estimate {

// One line of outcome::Cause::tried. `error_left`: the relative error of the first wrong tensor with the proposal.
Json tried_json(const Proposal& proposal, const trace::TensorId& at, double error_left, bool explains);

// The tensor as the side computed it, held against `y`; nullopt where it cannot be.
std::optional<compare::AgainstOracle> hold_against(const WrongSide& wrong, const trace::TensorId& id, const Matrix& y);

// From values: each wrong stage by itself, on its own inputs.
std::optional<outcome::Cause> explain_values(const WrongSide& wrong, const oracle::Steps& steps, Json& tried);

// From RMS: whole passes, since a number fits any one RMS, and the tensors behind it tell the proposals apart.
Result<std::optional<outcome::Cause>> explain_rms(const WrongSide& wrong, const oracle::Steps& steps, Json& tried);

}  // namespace tern::estimate
