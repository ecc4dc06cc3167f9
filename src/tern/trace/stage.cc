#include "tern/trace/stage.h"

#include <array>
#include <charconv>
#include <tuple>

#include "tern/base/check.h"

namespace tern::trace {
namespace {

// Indexed by Stage.
constexpr std::array<std::string_view, 21> kNames = {
    "embeddings",   "attn_norm",     "q_proj", "q_rope",      "k_proj",   "k_rope",    "v_proj",  "attn_scores_softmax",
    "attn_out",     "attn_sub_norm", "o_proj", "ffn_inp",     "ffn_norm", "gate_proj", "up_proj", "ffn_act",
    "ffn_sub_norm", "down_proj",     "out",    "output_norm", "logits",
};
static_assert(kNames.size() == static_cast<size_t>(Stage::kLogits) + 1);

// Larger numbers than any real run has; keeps hostile names from overflowing.
constexpr int kMaxNumber = 1 << 28;

// Takes "<letters><number>/" off the front of `name`; leaves `name` alone and returns nullopt if it is not there.
std::optional<int> take_numbered_prefix(std::string_view& name, std::string_view letters) {
  if (!name.starts_with(letters)) {
    return std::nullopt;
  }
  const char* const begin = name.data() + letters.size();
  const char* const end = name.data() + name.size();
  int number = -1;
  const auto [after, error] = std::from_chars(begin, end, number);
  const bool canonical = error == std::errc() && after != end && *after == '/' && number >= 0 && number <= kMaxNumber &&
                         (*begin != '0' || after == begin + 1);
  if (!canonical) {
    return std::nullopt;
  }
  name.remove_prefix(static_cast<size_t>(after + 1 - name.data()));
  return number;
}

// embeddings come before all layers, output_norm and logits behind them.
int phase(const TensorId& id) {
  if (is_layer_stage(id.stage)) {
    return 1;
  }
  return id.stage == Stage::kEmbeddings ? 0 : 2;
}

}  // namespace

std::string_view stage_name(Stage stage) { return kNames.at(static_cast<size_t>(stage)); }

std::optional<Stage> stage_from_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      return static_cast<Stage>(i);
    }
  }
  return std::nullopt;
}

bool is_layer_stage(Stage stage) { return stage >= Stage::kAttnNorm && stage <= Stage::kOut; }

std::string TensorId::name() const {
  TERN_CHECK(is_layer_stage(stage) == (layer >= 0));
  std::string out;
  if (seq > 0) {
    out += "t" + std::to_string(seq) + "/";
  }
  if (ubatch > 0) {
    out += "u" + std::to_string(ubatch) + "/";
  }
  if (layer >= 0) {
    out += "blk" + std::to_string(layer) + "/";
  }
  return out.append(stage_name(stage));
}

std::optional<TensorId> TensorId::parse(std::string_view name) {
  TensorId id;
  id.seq = take_numbered_prefix(name, "t").value_or(0);
  id.ubatch = take_numbered_prefix(name, "u").value_or(0);
  id.layer = take_numbered_prefix(name, "blk").value_or(-1);
  const auto stage = stage_from_name(name);
  if (!stage || is_layer_stage(*stage) != (id.layer >= 0)) {
    return std::nullopt;
  }
  id.stage = *stage;
  return id;
}

std::strong_ordering TensorId::operator<=>(const TensorId& other) const {
  const auto key = [](const TensorId& id) { return std::tuple(id.seq, id.ubatch, phase(id), id.layer, id.stage); };
  return key(*this) <=> key(other);
}

}  // namespace tern::trace
