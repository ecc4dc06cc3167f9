// The order in which tensors were executed, of several runs together. Pure.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <map>

#include "tern/trace/record.h"
#include "tern/trace/stage.h"

namespace tern::compare {

class ExecutionOrder {
 public:
  ExecutionOrder() = default;
  // That of the first run. What it lacks comes behind what the run that has it executed before. Null: no run.
  explicit ExecutionOrder(std::initializer_list<const trace::Records*> runs);

  bool knows(const trace::TensorId& id) const { return places_.contains(id); }
  // Where one of them is not known, the order of TensorId counts.
  bool before(const trace::TensorId& a, const trace::TensorId& b) const;

 private:
  std::map<trace::TensorId, size_t> places_;
};

}  // namespace tern::compare
