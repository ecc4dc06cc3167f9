#include "tern/model/hyperparameters.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace tern::model {
namespace {

// Far beyond any model, and small enough that products of any two fit 64 bits.
constexpr uint64_t kMaxWidth = 1 << 20;
constexpr uint64_t kMaxLayers = 1 << 12;
constexpr uint64_t kMaxVocab = 1 << 24;
constexpr uint64_t kMaxContext = 1 << 24;  // float32 holds each position exactly

class Reader {
 public:
  Reader(const gguf::View& view, std::string_view architecture) : view_(view), prefix_(architecture) {}

  std::string key(std::string_view name) const { return prefix_ + "." + std::string(name); }
  bool has(std::string_view name) const { return view_.has(key(name)); }

  Result<int64_t> count(std::string_view name, uint64_t high) const {
    TERN_ASSIGN_OR_RETURN(const uint64_t value, view_.get_uint(key(name), 1, high));
    return static_cast<int64_t>(value);
  }
  Result<int64_t> count_or(std::string_view name, uint64_t high, int64_t otherwise) const {
    return has(name) ? count(name, high) : otherwise;
  }
  // A finite number in [low, high], as float32.
  Result<float> number(std::string_view name, double low, double high) const {
    TERN_ASSIGN_OR_RETURN(const double value, view_.get_float(key(name)));
    if (!(value >= low && value <= high)) {
      return wrong(name, fmt::format("{} is not in {} to {}", value, low, high));
    }
    return static_cast<float>(value);
  }
  tl::unexpected<Error> wrong(std::string_view name, std::string what) const {
    return invalid_input(view_.where_key(key(name)), std::move(what));
  }
  const gguf::View& view() const { return view_; }

 private:
  const gguf::View& view_;
  std::string prefix_;
};

Status apply_architecture(const gguf::View& view, Hyperparameters& h) {
  const std::string_view name = h.architecture;
  if (name == "bitnet-b1.58" || name == "bitnet-25") {
    h.sub_norms = true;
  } else if (name == "bitnet") {
    h.sub_norms = true;
    h.activation = Activation::kSilu;
  } else if (name == "llama") {
    h.activation = Activation::kSilu;
    h.rope_pairs = kernels::RopePairs::kNeighbours;
  } else {
    return invalid_input(view.where_key("general.architecture"),
                         fmt::format("tern does not compute the architecture \"{}\"", printable(name)),
                         "it computes bitnet-b1.58, bitnet-25, bitnet and llama");
  }
  return {};
}

Status read_heads(const Reader& reader, Hyperparameters& h) {
  TERN_ASSIGN_OR_RETURN(h.n_heads, reader.count("attention.head_count", kMaxWidth));
  TERN_ASSIGN_OR_RETURN(h.n_kv_heads, reader.count_or("attention.head_count_kv", kMaxWidth, h.n_heads));
  if (h.n_heads % h.n_kv_heads != 0) {
    return reader.wrong("attention.head_count_kv",
                        fmt::format("{} does not divide the {} heads", h.n_kv_heads, h.n_heads));
  }
  if (!reader.has("attention.key_length") && h.n_embd % h.n_heads != 0) {
    return reader.wrong("attention.head_count",
                        fmt::format("{} does not divide the embedding length {}", h.n_heads, h.n_embd));
  }
  TERN_ASSIGN_OR_RETURN(h.head_dim, reader.count_or("attention.key_length", kMaxWidth, h.n_embd / h.n_heads));
  TERN_ASSIGN_OR_RETURN(const int64_t value_dim, reader.count_or("attention.value_length", kMaxWidth, h.head_dim));
  if (value_dim != h.head_dim) {
    return reader.wrong("attention.value_length",
                        fmt::format("{} differs from the head dimension {}", value_dim, h.head_dim));
  }
  if (h.head_dim % 2 != 0 || h.n_heads * h.head_dim > static_cast<int64_t>(kMaxWidth)) {
    return reader.wrong(reader.has("attention.key_length") ? "attention.key_length" : "attention.head_count",
                        fmt::format("{} heads of {} elements: odd, or too many", h.n_heads, h.head_dim));
  }
  return {};
}

Status read_rope(const Reader& reader, Hyperparameters& h) {
  TERN_ASSIGN_OR_RETURN(const int64_t n_rotated, reader.count_or("rope.dimension_count", kMaxWidth, h.head_dim));
  if (n_rotated != h.head_dim) {
    return reader.wrong("rope.dimension_count",
                        fmt::format("{}, but tern turns whole heads only, of {} elements", n_rotated, h.head_dim));
  }
  if (reader.has("rope.freq_base")) {
    TERN_ASSIGN_OR_RETURN(h.rope_base, reader.number("rope.freq_base", 1.0, 1e12));
  }
  if (reader.has("rope.scaling.factor")) {
    TERN_RETURN_IF_ERROR(reader.number("rope.scaling.factor", 1.0, 1.0));
  }
  if (reader.has("rope.scaling.type")) {
    TERN_ASSIGN_OR_RETURN(const std::string_view type, reader.view().get_string(reader.key("rope.scaling.type")));
    if (type != "none" && type != "linear") {
      return reader.wrong("rope.scaling.type", fmt::format("tern does not compute \"{}\"", printable(type)));
    }
  }
  return {};
}

}  // namespace

Result<Hyperparameters> read_hyperparameters(const gguf::View& view) {
  Hyperparameters h;
  TERN_ASSIGN_OR_RETURN(h.architecture, view.get_string("general.architecture"));
  TERN_RETURN_IF_ERROR(apply_architecture(view, h));
  const Reader reader(view, h.architecture);
  TERN_ASSIGN_OR_RETURN(h.n_layers, reader.count("block_count", kMaxLayers));
  TERN_ASSIGN_OR_RETURN(h.n_embd, reader.count("embedding_length", kMaxWidth));
  TERN_ASSIGN_OR_RETURN(h.n_ff, reader.count("feed_forward_length", kMaxWidth));
  TERN_ASSIGN_OR_RETURN(h.n_ctx_train, reader.count("context_length", kMaxContext));
  TERN_ASSIGN_OR_RETURN(h.rms_eps, reader.number("attention.layer_norm_rms_epsilon", 1e-12, 1.0));
  TERN_RETURN_IF_ERROR(read_heads(reader, h));
  TERN_RETURN_IF_ERROR(read_rope(reader, h));

  const gguf::Tensor* embedding = view.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return invalid_input(view.name(), "the tensor token_embd.weight is missing");
  }
  if (embedding->n_rows() > kMaxVocab) {
    return invalid_input(view.where_tensor(*embedding), fmt::format("{} rows are too many", embedding->n_rows()));
  }
  h.n_vocab = static_cast<int64_t>(embedding->n_rows());
  TERN_ASSIGN_OR_RETURN(const int64_t declared, reader.count_or("vocab_size", kMaxVocab, h.n_vocab));
  if (declared != h.n_vocab) {
    return reader.wrong("vocab_size", fmt::format("{}, but token_embd.weight has {} rows", declared, h.n_vocab));
  }
  return h;
}

}  // namespace tern::model
