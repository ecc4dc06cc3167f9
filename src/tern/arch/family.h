// What the GGUF files of each model family hold: one row per family with its metadata keys and its tensors. This is the
// file's schema alone: model/ and oracle/ each state what is computed from the tensors. One more family is a row in
// families.cc, and its graph in model/ and oracle/.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern::arch {

// Far beyond any model, and small enough that products of any two fit 64 bits.
inline constexpr uint64_t kMaxWidth = 1 << 20;
inline constexpr uint64_t kMaxVocab = 1 << 24;

// The checked numbers of a file's metadata. All counts are at least 1.
struct Numbers {
  int64_t n_layers = 0;
  int64_t n_embd = 0;
  int64_t n_ff = 0;
  int64_t n_context = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads: each serves n_heads / n_kv_heads query heads
  int64_t head_dim = 0;    // even
  int64_t n_vocab = 0;     // rows of the embedding table
  double norm_epsilon = 0;
  double rope_base = 0;

  int64_t n_q() const { return n_heads * head_dim; }
  int64_t n_kv() const { return n_kv_heads * head_dim; }
};

// A value that other numbers determine.
using Expression = int64_t (*)(const Numbers& numbers);

// A key "<architecture>.<name>" with an integer from 1 to `high`.
struct CountKey {
  std::string_view name;
  int64_t Numbers::*field;  // null: the value must be what `otherwise` gives
  uint64_t high;
  Expression otherwise;  // the value where the key is absent; null: the key is required
};

// A key "<architecture>.<name>" with a floating-point number in [low, high].
struct NumberKey {
  std::string_view name;
  double Numbers::*field;  // null: the value changes nothing within these bounds
  double low;
  double high;
  std::optional<double> otherwise;  // the value where the key is absent; nullopt: the key is required
};

// A key with one of a few texts that change nothing.
struct TextKey {
  std::string_view name;
  std::span<const std::string_view> allowed;
};

enum class Role {
  kEmbedding,
  kOutputNorm,
  kHead,
  kAttnNorm,
  kQ,
  kK,
  kV,
  kAttnSubNorm,
  kO,
  kFfnNorm,
  kGate,
  kUp,
  kFfnSubNorm,
  kDown,
};
inline constexpr size_t kRoles = static_cast<size_t>(Role::kDown) + 1;

// What may be done with a tensor, and so which formats it may have.
enum class Use {
  kNorm,     // a vector of plain floats: F32 or F16
  kProduct,  // a matrix in any format
  kRows,     // a matrix whose rows are read one by one: any format without bytes behind the last row
};

struct TensorSpec {
  Role role;
  std::string_view name;  // of a tensor in layer 3: "blk.3." and this
  bool is_per_layer;
  bool is_required;
  Use use;
  Expression n_rows;  // 1 for a norm
  Expression n_cols;
};

struct Family {
  std::string_view name;   // general.architecture
  std::string_view graph;  // the family whose computation it shares; its own name where that is another's for no other
  std::span<const CountKey> counts;
  std::span<const NumberKey> numbers;
  std::span<const TextKey> texts;
  std::span<const TensorSpec> tensors;  // in the order of files
  bool is_ternary;                      // its models are trained with ternary matrices in the layers
  bool ties_head;                       // its files usually leave out output.weight
  bool states_rope_scaling;             // its files have the keys of RoPE scaling, with values that change nothing

  const TensorSpec* find(Role role) const;  // null: the family has no such tensor
};

std::span<const Family> families();
const Family* find_family(std::string_view name);  // null: not known
// "bitnet-b1.58, bitnet-25, bitnet, llama": for messages.
std::string family_names();

// "blk.3.attn_q.weight"; `layer` counts for tensors of layers only.
std::string tensor_name(const TensorSpec& spec, int64_t layer);

}  // namespace tern::arch
