// How the oracle starts from a model file: the numbers, the graph that they stand for, and the tensors.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "tern/arch/model_file.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {
namespace {

using arch::Role;

// What each family computes, as its model code has it; written apart from model/.
struct Graph {
  std::string_view name;  // arch::Family::graph
  bool relu_squared, sub_norms, rope_neox_pairs;
};
constexpr Graph kGraphs[] = {
    {"bitnet-b1.58", true, true, true},
    {"bitnet", false, true, true},
    {"llama", false, false, false},
};

Result<Hyperparameters> hyperparameters_of(const gguf::View& view, const arch::ModelFile& file) {
  const auto* const graph = std::find_if(std::begin(kGraphs), std::end(kGraphs),
                                         [&](const Graph& candidate) { return candidate.name == file.family().graph; });
  if (graph == std::end(kGraphs)) {
    return invalid_input(view.where_key("general.architecture"),
                         fmt::format("the oracle does not compute \"{}\"", file.family().name));
  }
  const arch::Numbers& n = file.numbers();
  Hyperparameters hp;
  hp.n_layers = static_cast<int>(n.n_layers);
  hp.n_embd = static_cast<int>(n.n_embd);
  hp.n_ff = static_cast<int>(n.n_ff);
  hp.n_heads = static_cast<int>(n.n_heads);
  hp.n_kv_heads = static_cast<int>(n.n_kv_heads);
  hp.head_dim = static_cast<int>(n.head_dim);
  hp.n_vocab = static_cast<int>(n.n_vocab);
  hp.n_context = static_cast<int>(n.n_context);
  hp.rope_base = n.rope_base;
  hp.norm_epsilon = n.norm_epsilon;
  hp.relu_squared = graph->relu_squared;
  hp.sub_norms = graph->sub_norms;
  hp.rope_neox_pairs = graph->rope_neox_pairs;
  return hp;
}

Status check_formats(const gguf::View& view) {
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.format == nullptr || !Oracle::can_compute(*tensor.format)) {
      return invalid_input(view.where_tensor(tensor),
                           "is " + quant::type_name_and_id(tensor.type_id) + ", which the oracle cannot compute with");
    }
  }
  return {};
}

std::vector<double> vector_of(const gguf::Tensor& tensor) {
  WeightRow row;
  decode_row(tensor, 0, row);
  return std::move(row.weights);
}

}  // namespace

Result<Oracle> Oracle::load(const gguf::View& view, const Settings& settings) {
  Oracle oracle(view, settings);
  TERN_ASSIGN_OR_RETURN(const arch::ModelFile file, arch::ModelFile::read(view));
  TERN_ASSIGN_OR_RETURN(oracle.hp_, hyperparameters_of(view, file));
  TERN_RETURN_IF_ERROR(check_formats(view));
  oracle.embeddings_ = &file.tensor(Role::kEmbedding);
  oracle.head_ = file.find(Role::kHead) == nullptr ? oracle.embeddings_ : file.find(Role::kHead);
  oracle.output_norm_ = vector_of(file.tensor(Role::kOutputNorm));
  for (int index = 0; index < oracle.hp_.n_layers; ++index) {
    Layer layer;
    layer.attn_norm = vector_of(file.tensor(Role::kAttnNorm, index));
    layer.ffn_norm = vector_of(file.tensor(Role::kFfnNorm, index));
    if (oracle.hp_.sub_norms) {
      layer.attn_sub_norm = vector_of(file.tensor(Role::kAttnSubNorm, index));
      layer.ffn_sub_norm = vector_of(file.tensor(Role::kFfnSubNorm, index));
    }
    layer.q = &file.tensor(Role::kQ, index);
    layer.k = &file.tensor(Role::kK, index);
    layer.v = &file.tensor(Role::kV, index);
    layer.o = &file.tensor(Role::kO, index);
    layer.gate = &file.tensor(Role::kGate, index);
    layer.up = &file.tensor(Role::kUp, index);
    layer.down = &file.tensor(Role::kDown, index);
    oracle.layers_.push_back(std::move(layer));
  }
  return oracle;
}

}  // namespace tern::oracle
