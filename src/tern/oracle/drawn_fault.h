// What can go wrong with a stage, as a table from which faults are drawn at random: which stage, in which layers, by
// which constant, rows, heads or matrix. `tern selftest --draws` measures judges with them. The descriptions are
// written from the model's structure alone and share no code with whatever finds causes, so that one does not invert
// the other.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/oracle/dice.h"
#include "tern/oracle/workbench.h"

namespace tern::oracle {

// A right name for a fault: the id of a cause, and what its parameters must state of it. What differs in no bit of the
// effect is not demanded.
struct ExpectedCause {
  std::string id;                    // as in outcome::Cause
  Json parameters = Json::object();  // numbers, texts, and arrays and objects of them
  // The model's own figure, where it is a number's difference from it that can be measured.
  std::optional<double> own = std::nullopt;

  // Whether it is this cause, and states these parameters, among others: fractions to 2 % of themselves, or of their
  // difference from `own`, and whole numbers, texts and the lengths of arrays exactly. Where a cause states a range, as
  // "NAME_range": [low, high], the number is in it, and the range is narrow: high is at most 1.2 times low.
  bool is_named_by(const Json& cause) const;
};

struct DrawnFault {
  std::string does;                  // "blk2/up_proj times 3.71"
  std::vector<trace::Stage> stages;  // that it changes, in execution order
  std::vector<int> layers;           // ascending; empty: all, or a stage outside of the layers
  Workbench::Change change;
  std::vector<ExpectedCause> causes;  // each a right name for it
  bool only_decode = false;           // `change` is not called in the prefill
  // Faults further behind in the same run. The causes are of this one alone, and leave those unexplained.
  std::vector<DrawnFault> besides = {};

  // The first tensor that it changes, by what it says.
  trace::TensorId claimed_place() const;
  // Whether it computes that tensor.
  bool is_at(const Workbench::Place& place) const;
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
  bool may_hide = false;  // rounding may do nearly as much
};

// The rows, each in the file of its name.
std::span<const FaultVariant> drawn_weight_faults();
std::span<const FaultVariant> drawn_reading_faults();
std::span<const FaultVariant> drawn_graph_faults();
std::span<const FaultVariant> drawn_rope_faults();
std::span<const FaultVariant> drawn_attention_faults();
std::span<const FaultVariant> drawn_pairs_of_faults();
// All of them.
std::vector<const FaultVariant*> fault_variants();

// `plain` without inputs. `tokens`: the prompt's and then the decode steps' ids.
std::unique_ptr<Workbench> make_faulty(const Oracle& plain, const Float32Rules& rules, std::vector<int32_t> tokens,
                                       const DrawnFault& fault);

}  // namespace tern::oracle
