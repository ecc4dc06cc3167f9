// What can go wrong with a stage, as a table from which faults are drawn at random: which stage, in which layers, by
// which constant, rows, heads or matrix. `tern selftest --draws` measures judges with them. The descriptions are
// written from the model's structure alone and share no code with whatever finds causes, so that one does not invert
// the other.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/oracle/dice.h"
#include "tern/oracle/workbench.h"

namespace tern::oracle {

// A figure that a cause should state. Causes may state it under several names: any will do.
struct ExpectedFigure {
  std::vector<std::pair<std::string, Json>> any_of;  // a number, or an array of row numbers
  // The model's own figure, where what can be measured is the difference from it; else 0.
  double own = 0;

  // Whether `parameters`, those of a cause, state it: numbers to 2 % of themselves or of the model's own figure,
  // whichever is larger, arrays by their first and last entry.
  bool is_in(const Json& parameters) const;
};

struct DrawnFault {
  std::string does;                  // "blk2/up_proj times 3.71"
  std::vector<trace::Stage> stages;  // that it changes, in execution order
  std::vector<int> layers;           // ascending; empty: all, or a stage outside of the layers
  Workbench::Change change;
  std::vector<std::string> causes;  // ids as in outcome::Cause, each a right name for it
  std::vector<ExpectedFigure> figures;
  bool only_decode = false;  // `change` is not called in the prefill

  // The first tensor that it changes, by what it says.
  trace::TensorId claimed_place() const;
};

// The model that a fault is drawn for, and the length of what it computes.
struct FaultyModel {
  const gguf::View* view = nullptr;
  Hyperparameters hp;
  size_t n_prompt = 0;

  bool has_own_head() const { return view->find_tensor("output.weight") != nullptr; }
  bool is_i2s() const { return view->format_of_type(quant::kI2sBitnetCpp.type_id) == &quant::kI2sBitnetCpp; }
  const gguf::Tensor& tensor(trace::Stage stage, int layer) const;
  double scale(trace::Stage stage, int layer) const;  // of a ternary matrix; 1 elsewhere
};

struct FaultVariant {
  std::string_view kind;  // by which results are counted: "weight scale"
  std::string_view name;  // "reciprocal"
  bool (*fits)(const FaultyModel& model);
  DrawnFault (*draw)(Dice& dice, const FaultyModel& model);
};

// The rows, each in the file of its name.
std::span<const FaultVariant> drawn_weight_faults();
std::span<const FaultVariant> drawn_reading_faults();
std::span<const FaultVariant> drawn_graph_faults();
std::span<const FaultVariant> drawn_attention_faults();
// All of them.
std::vector<const FaultVariant*> fault_variants();

// `plain` without inputs. `tokens`: the prompt's and then the decode steps' ids.
std::unique_ptr<Workbench> make_faulty(const Oracle& plain, const Float32Rules& rules, std::vector<int32_t> tokens,
                                       const DrawnFault& fault);

}  // namespace tern::oracle
