#include "tern/model/hyperparameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace tern::model {
namespace {

using kernels::RopePairs;

struct Graph {
  std::string_view name;  // arch::Family::graph
  Activation activation;
  RopePairs rope_pairs;
  bool sub_norms;
};

constexpr Graph kGraphs[] = {
    {"bitnet-b1.58", Activation::kRelu2, RopePairs::kHalves, true},
    {"bitnet", Activation::kSilu, RopePairs::kHalves, true},
    {"llama", Activation::kSilu, RopePairs::kNeighbours, false},
};

}  // namespace

Result<Hyperparameters> hyperparameters_of(const gguf::View& view, const arch::ModelFile& file) {
  const arch::Family& family = file.family();
  const auto* const graph = std::find_if(std::begin(kGraphs), std::end(kGraphs),
                                         [&](const Graph& candidate) { return candidate.name == family.graph; });
  if (graph == std::end(kGraphs)) {
    return invalid_input(view.where_key("general.architecture"),
                         fmt::format("the fast engine does not compute \"{}\"", family.name),
                         "--engine oracle may compute it");
  }
  const arch::Numbers& n = file.numbers();
  return Hyperparameters{.architecture = family.name,
                         .n_layers = n.n_layers,
                         .n_embd = n.n_embd,
                         .n_ff = n.n_ff,
                         .n_heads = n.n_heads,
                         .n_kv_heads = n.n_kv_heads,
                         .head_dim = n.head_dim,
                         .n_vocab = n.n_vocab,
                         .n_ctx_train = n.n_context,
                         .rope_base = static_cast<float>(n.rope_base),
                         .rms_eps = static_cast<float>(n.norm_epsilon),
                         .rope_pairs = graph->rope_pairs,
                         .activation = graph->activation,
                         .sub_norms = graph->sub_norms};
}

}  // namespace tern::model
