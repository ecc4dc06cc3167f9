// Stages of a side that is wrong, computed again with a proposal and held against what the side computed. For
// explain.cc and wider_causes.cc.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "tern/estimate/explain_parts.h"

namespace tern::estimate {

class Recomputation {
 public:
  // Both must outlive this.
  Recomputation(const WrongSide& wrong, const oracle::Steps& steps);

  // Tensors that are wrong by themselves, in execution order.
  const std::vector<trace::TensorId>& wrong_ids() const { return wrong_ids_; }

  // `id`: one for which has_facts() holds.
  const StageFacts& facts(const trace::TensorId& id);
  bool has_facts(const trace::TensorId& id) const;

  // The tensor as the side computed it, held against what the proposal makes of it; nullopt where it makes nothing.
  std::optional<compare::AgainstOracle> hold(const Proposal& proposal, const trace::TensorId& id);
  bool mends(const Proposal& proposal, const trace::TensorId& id);

 private:
  const WrongSide& wrong_;
  const oracle::Steps& steps_;
  std::vector<trace::TensorId> wrong_ids_;
  std::map<trace::TensorId, StageFacts> facts_;
};

}  // namespace tern::estimate
