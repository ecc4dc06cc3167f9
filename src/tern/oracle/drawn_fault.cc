#include "tern/oracle/drawn_fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/arch/model_file.h"
#include "tern/base/check.h"

namespace tern::oracle {
namespace {

constexpr double kTolerance = 0.02;

bool is_near(const Json& stated, const Json& expected, double own) {
  if (!stated.is_number()) {
    return false;
  }
  const auto is = stated.get<double>(), should = expected.get<double>();
  return std::abs(is - should) <= kTolerance * std::max(std::abs(should), std::abs(own));
}

bool states(const Json& stated, const Json& expected, double own) {
  if (!expected.is_array()) {
    return is_near(stated, expected, own);
  }
  return stated.is_array() && !stated.empty() && stated.front() == expected.front() && stated.back() == expected.back();
}

}  // namespace

bool ExpectedFigure::is_in(const Json& parameters) const {
  return std::any_of(any_of.begin(), any_of.end(), [&](const auto& figure) {
    return parameters.is_object() && parameters.contains(figure.first) &&
           states(parameters[figure.first], figure.second, own);
  });
}

trace::TensorId DrawnFault::claimed_place() const {
  const bool in_layer = stages.front().row().place == trace::StagePlace::kInLayer;
  return {.seq = only_decode ? 1 : 0,
          .ubatch = 0,
          .layer = !in_layer        ? -1
                   : layers.empty() ? 0
                                    : layers.front(),
          .stage = stages.front()};
}

const gguf::Tensor& FaultyModel::tensor(trace::Stage stage, int layer) const {
  const std::string name = layer < 0 ? fmt::format("{}.weight", stage.row().weight)
                                     : fmt::format("blk.{}.{}.weight", layer, stage.row().weight);
  const gguf::Tensor* tensor = view->find_tensor(name);
  if (tensor == nullptr) {  // a tied head
    tensor = arch::embedding_table(*view);
  }
  TERN_CHECK(tensor != nullptr);
  return *tensor;
}

double FaultyModel::scale(trace::Stage stage, int layer) const {
  WeightRow row;
  decode_row(tensor(stage, layer), 0, row);
  return row.scale;
}

std::vector<const FaultVariant*> fault_variants() {
  std::vector<const FaultVariant*> variants;
  for (const auto rows :
       {drawn_weight_faults(), drawn_reading_faults(), drawn_graph_faults(), drawn_attention_faults()}) {
    for (const FaultVariant& variant : rows) {
      variants.push_back(&variant);
    }
  }
  return variants;
}

std::unique_ptr<Workbench> make_faulty(const Oracle& plain, const Float32Rules& rules, std::vector<int32_t> tokens,
                                       const DrawnFault& fault) {
  Workbench::Change change = fault.change;
  if (fault.only_decode) {
    change = [change](const Workbench& bench, const Workbench::Place& place, Workbench::Matrix& result) {
      if (place.seq > 0) {
        change(bench, place, result);
      }
    };
  }
  return std::make_unique<Workbench>(plain, rules, std::move(tokens), fault.stages, fault.layers, std::move(change));
}

}  // namespace tern::oracle
