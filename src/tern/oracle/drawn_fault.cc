#include "tern/oracle/drawn_fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/arch/model_file.h"
#include "tern/base/check.h"

namespace tern::oracle {
namespace {

constexpr double kTolerance = 0.02;
constexpr double kNarrow = 1.2;  // high over low: RoPE bases in use are further apart

bool is_in_range(const Json& range, double number) {
  const auto low = range.at(0).get<double>(), high = range.at(1).get<double>();
  return number >= low && number <= high && high <= kNarrow * low;
}

bool states(const Json& stated, const Json& expected, const std::optional<double>& own) {
  if (expected.is_object()) {
    return stated.is_object() && std::all_of(expected.items().begin(), expected.items().end(), [&](const auto& item) {
             const std::string range = item.key() + "_range";
             return stated.contains(range)
                        ? is_in_range(stated[range], item.value().template get<double>())
                        : stated.contains(item.key()) && states(stated[item.key()], item.value(), own);
           });
  }
  if (expected.is_array()) {
    return stated.is_array() && std::equal(stated.begin(), stated.end(), expected.begin(), expected.end(),
                                           [&](const Json& a, const Json& b) { return states(a, b, own); });
  }
  if (!expected.is_number() || !stated.is_number()) {
    return stated == expected;
  }
  const auto is = stated.get<double>(), should = expected.get<double>();
  const double size = expected.is_number_integer() ? 1 : std::abs(should - own.value_or(0));
  return std::abs(is - should) <= kTolerance * size;
}

}  // namespace

bool ExpectedCause::is_named_by(const Json& cause) const {
  return cause.is_object() && cause.value("id", "") == id &&
         (parameters.empty() || states(cause.value("parameters", Json()), parameters, own));
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

bool DrawnFault::is_at(const Workbench::Place& place) const {
  const bool in_layer =
      place.layer < 0 || layers.empty() || std::find(layers.begin(), layers.end(), place.layer) != layers.end();
  return in_layer && (place.seq > 0 || !only_decode) &&
         std::find(stages.begin(), stages.end(), place.stage) != stages.end();
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
  for (const auto rows : {drawn_weight_faults(), drawn_reading_faults(), drawn_graph_faults(), drawn_rope_faults(),
                          drawn_attention_faults(), drawn_pairs_of_faults()}) {
    for (const FaultVariant& variant : rows) {
      variants.push_back(&variant);
    }
  }
  return variants;
}

std::unique_ptr<Workbench> make_faulty(const Oracle& plain, const Float32Rules& rules, std::vector<int32_t> tokens,
                                       const DrawnFault& fault) {
  std::vector<DrawnFault> all = fault.besides;
  all.insert(all.begin(), fault);
  std::vector<trace::Stage> stages;
  for (const DrawnFault& one : all) {
    stages.insert(stages.end(), one.stages.begin(), one.stages.end());
  }
  const auto change = [all](const Workbench& bench, const Workbench::Place& place, Workbench::Matrix& result) {
    for (const DrawnFault& one : all) {
      if (one.is_at(place)) {
        one.change(bench, place, result);
      }
    }
  };
  return std::make_unique<Workbench>(plain, rules, std::move(tokens), std::move(stages), std::vector<int>(), change);
}

}  // namespace tern::oracle
