#include "tern/synth/synthetic_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <span>
#include <utility>

#include "tern/arch/family.h"
#include "tern/base/check.h"
#include "tern/gguf/writer.h"
#include "tern/quant/i2s_bitnet_cpp.h"

namespace tern::synth {
namespace {

// Three in ten weights -1, three in ten +1, as thresholds of 16-bit numbers; the share of non-zero weights is 0.6.
constexpr uint16_t kBelowMinusOne = 19661;
constexpr uint16_t kBelowPlusOne = 39322;
constexpr double kTernaryMeanSquare = 0.6;
constexpr size_t kFourLevels = 4;  // -2, -1, 1, 2, equally often
constexpr double kFourLevelMeanSquare = 2.5;
constexpr uint64_t kChunkBytes = uint64_t{8} << 20;

// What the weights of a projection are, before their scale; empty: approximately normal.
std::span<const int8_t> levels_of(const SyntheticOptions& options) {
  if (options.weights->levels.empty() && arch::find_family(options.architecture)->is_ternary) {
    return quant::i2s_bitnet_cpp::kLevels;
  }
  return options.weights->levels;
}

double mean_square_of(std::span<const int8_t> levels) {
  return levels.empty() ? 1 : levels.size() == kFourLevels ? kFourLevelMeanSquare : kTernaryMeanSquare;
}

uint64_t mix(uint64_t z) {  // the output function of splitmix64 (Steele, Lea, Flood 2014; Vigna's splitmix64.c)
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view tensor, uint64_t row) {
    uint64_t name_hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char c : tensor) {
      name_hash = (name_hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    }
    state_ = mix(mix(mix(seed) ^ name_hash) + row);
  }
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // Approximately normal, mean 0 and variance 1: the sum of twelve uniform 16-bit numbers.
  float normal() {
    int32_t sum = -393210;
    for (int draw = 0; draw < 3; ++draw) {
      const uint64_t bits = next();
      sum += static_cast<int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48));
    }
    return static_cast<float>(sum) * 0x1p-16f;
  }

 private:
  uint64_t state_;
};

struct Recipe {
  enum class Kind { kEmbedding, kNorm, kProjection };
  Kind kind = Kind::kNorm;
  std::string name;
  uint64_t n_rows = 1;
  uint64_t n_cols = 0;
  double gain = 1;  // the standard deviation of embeddings, the mean of norms, the scale of projections
};

const quant::Format& format_of(const Recipe& recipe, const SyntheticOptions& options) {
  switch (recipe.kind) {
    case Recipe::Kind::kEmbedding:
      return *options.embeddings;
    case Recipe::Kind::kProjection:
      return *options.weights;
    case Recipe::Kind::kNorm:
      break;
  }
  return quant::kF32;
}

arch::Numbers numbers_of(const SyntheticOptions& options) {
  const SyntheticShape& shape = options.shape;
  arch::Numbers numbers;
  numbers.n_layers = shape.n_layers;
  numbers.n_embd = shape.n_embd;
  numbers.n_ff = shape.n_ff;
  numbers.n_context = shape.n_context;
  numbers.n_heads = shape.n_heads;
  numbers.n_kv_heads = shape.n_kv_heads;
  numbers.head_dim = shape.n_embd / shape.n_heads;
  numbers.n_vocab = static_cast<int64_t>(vocabulary_of(options).tokens.size());
  return numbers;
}

// The tensors in the order of bitnet.cpp's files, with what it takes to fill them.
class Plan {
 public:
  explicit Plan(const SyntheticOptions& options);
  const std::vector<Recipe>& recipes() const { return recipes_; }
  gguf::Header header(const SyntheticVocabulary& vocabulary) const;

 private:
  void add_norm(const std::string& name, uint64_t n, bool before_projection);
  void add_projection(const std::string& name, uint64_t n_rows, uint64_t n_cols);
  void add_embedding(const std::string& name, uint64_t n_rows);
  void add_layers(const std::function<void(const arch::TensorSpec&, int64_t)>& add) const;
  void add_metadata(gguf::Header& header, const SyntheticVocabulary& vocabulary) const;

  SyntheticOptions options_;
  std::vector<Recipe> recipes_;
};

Plan::Plan(const SyntheticOptions& options) : options_(options) {
  const arch::Numbers numbers = numbers_of(options);
  const auto add = [&](const arch::TensorSpec& spec, int64_t layer) {
    const std::string name = arch::tensor_name(spec, layer);
    const auto n_rows = static_cast<uint64_t>(spec.n_rows(numbers)),
               n_cols = static_cast<uint64_t>(spec.n_cols(numbers));
    switch (spec.use) {
      case arch::Use::kNorm:
        return add_norm(name, n_cols, spec.is_per_layer);
      case arch::Use::kProduct:
        return add_projection(name, n_rows, n_cols);
      case arch::Use::kRows:
        return add_embedding(name, n_rows);
    }
  };
  bool has_layers = false;
  const arch::Family& family = *arch::find_family(options.architecture);
  for (const arch::TensorSpec& spec : family.tensors) {
    if (!spec.is_per_layer) {
      if (spec.is_required || !(spec.role == arch::Role::kHead && family.ties_head)) {
        add(spec, 0);
      }
    } else if (!has_layers) {
      has_layers = true;
      add_layers(add);
    }
  }
}

void Plan::add_layers(const std::function<void(const arch::TensorSpec&, int64_t)>& add) const {
  for (int64_t layer = 0; layer < options_.shape.n_layers; ++layer) {
    for (const arch::TensorSpec& spec : arch::find_family(options_.architecture)->tensors) {
      if (spec.is_per_layer) {
        add(spec, layer);
      }
    }
  }
}

void Plan::add_embedding(const std::string& name, uint64_t n_rows) {
  const double deviation = 2.8 / std::sqrt(static_cast<double>(options_.shape.n_embd));
  recipes_.push_back({Recipe::Kind::kEmbedding, name, n_rows, options_.shape.n_embd, deviation});
}

// Where the format has no scale, the norm in front of a projection carries it, which comes to the same network.
void Plan::add_norm(const std::string& name, uint64_t n, bool before_projection) {
  const bool carries_scale = before_projection && options_.weights->is_unscaled;
  const double mean_square = mean_square_of(levels_of(options_));
  const double mean = carries_scale ? 1 / std::sqrt(static_cast<double>(n) * mean_square) : 1;
  recipes_.push_back({Recipe::Kind::kNorm, name, 1, n, mean});
}

void Plan::add_projection(const std::string& name, uint64_t n_rows, uint64_t n_cols) {
  double scale = 1;
  if (!options_.weights->is_unscaled) {
    const double mean_square = mean_square_of(levels_of(options_));
    RandomStream random(options_.seed, name + ".scale", 0);
    scale = (0.8 + 0.4 * random.uniform()) / std::sqrt(static_cast<double>(n_cols) * mean_square);
  }
  recipes_.push_back({Recipe::Kind::kProjection, name, n_rows, n_cols, scale});
}

void Plan::add_metadata(gguf::Header& header, const SyntheticVocabulary& vocabulary) const {
  const SyntheticShape& shape = options_.shape;
  const std::string& arch = options_.architecture;
  header.add("general.architecture", arch);
  header.add("general.name", fmt::format("synthetic-{}-{}", shape.name, options_.seed));
  header.add("general.file_type", options_.weights->file_type);
  header.add("general.quantization_version", uint32_t{2});
  header.add(arch + ".vocab_size", static_cast<uint32_t>(vocabulary.tokens.size()));
  header.add(arch + ".context_length", shape.n_context);
  header.add(arch + ".embedding_length", shape.n_embd);
  header.add(arch + ".block_count", shape.n_layers);
  header.add(arch + ".feed_forward_length", shape.n_ff);
  header.add(arch + ".rope.dimension_count", shape.n_embd / shape.n_heads);
  header.add(arch + ".attention.head_count", shape.n_heads);
  header.add(arch + ".attention.head_count_kv", shape.n_kv_heads);
  header.add(arch + ".attention.layer_norm_rms_epsilon", shape.norm_epsilon);
  header.add(arch + ".rope.freq_base", shape.rope_base);
  if (arch::find_family(arch)->states_rope_scaling) {
    header.add(arch + ".rope.scaling.type", std::string("linear"));
    header.add(arch + ".rope.scaling.factor", 1.0F);
  }
  header.add("tokenizer.ggml.model", std::string("gpt2"));
  header.add("tokenizer.ggml.pre", std::string("llama-bpe"));
  header.add("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add("tokenizer.ggml.token_type", vocabulary.token_types);
  header.add("tokenizer.ggml.merges", vocabulary.merges);
  header.add("tokenizer.ggml.bos_token_id", vocabulary.bos);
  header.add("tokenizer.ggml.eos_token_id", vocabulary.eos);
  header.add("tokenizer.ggml.add_bos_token", true);
}

gguf::Header Plan::header(const SyntheticVocabulary& vocabulary) const {
  gguf::Header header;
  add_metadata(header, vocabulary);
  for (const Recipe& recipe : recipes_) {
    std::vector<uint64_t> dims = {recipe.n_cols};
    if (recipe.kind != Recipe::Kind::kNorm) {
      dims.push_back(recipe.n_rows);
    }
    header.add_tensor(recipe.name, std::move(dims), format_of(recipe, options_));
  }
  return header;
}

void fill_normal(RandomStream& random, double mean, double deviation, std::span<float> values) {
  const auto offset = static_cast<float>(mean);
  const auto gain = static_cast<float>(deviation);
  for (float& value : values) {
    value = offset + random.normal() * gain;
  }
}

void fill_levels(RandomStream& random, std::span<const int8_t> levels, float scale, std::span<float> values) {
  for (size_t i = 0; i < values.size(); i += 4) {  // widths are multiples of 32
    uint64_t bits = random.next();
    for (size_t k = 0; k < 4; ++k, bits >>= 16) {
      const auto u = static_cast<uint16_t>(bits);
      const int ternary = (u < kBelowPlusOne ? 1 : 0) - (u < kBelowMinusOne ? 2 : 0);
      const int level = levels.size() == kFourLevels ? levels[u & 3u] : ternary;
      values[i + k] = static_cast<float>(level) * scale;
    }
  }
}

void fill_row(RandomStream& random, const Recipe& recipe, const SyntheticOptions& options, std::span<float> values) {
  switch (recipe.kind) {
    case Recipe::Kind::kEmbedding:
      return fill_normal(random, 0, recipe.gain, values);
    case Recipe::Kind::kNorm:
      return fill_normal(random, recipe.gain, 0.1 * recipe.gain, values);
    case Recipe::Kind::kProjection:
      break;
  }
  const std::span<const int8_t> levels = levels_of(options);
  return levels.empty() ? fill_normal(random, 0, recipe.gain, values)
                        : fill_levels(random, levels, static_cast<float>(recipe.gain), values);
}

// Fills whole rows; `out` holds any number of them.
void fill_rows(const Recipe& recipe, const SyntheticOptions& options, uint64_t first_row, std::span<std::byte> out) {
  const quant::Format& format = format_of(recipe, options);
  const uint64_t row_bytes = format.row_bytes(recipe.n_cols);
  std::vector<float> values(recipe.n_cols);
  for (uint64_t at = 0, row = first_row; at < out.size(); at += row_bytes, ++row) {
    RandomStream random(options.seed, recipe.name, row);
    fill_row(random, recipe, options, values);
    format.encode_row(values, static_cast<float>(recipe.gain), out.subspan(at, row_bytes));
  }
}

Status write_tensor(gguf::Writer& writer, const Recipe& recipe, const SyntheticOptions& options,
                    const SyntheticProgress& progress) {
  const quant::Format& format = format_of(recipe, options);
  const uint64_t row_bytes = format.row_bytes(recipe.n_cols);
  const uint64_t rows_per_chunk = std::max(uint64_t{1}, kChunkBytes / row_bytes);
  std::vector<std::byte> buffer;
  for (uint64_t row = 0; row < recipe.n_rows; row += rows_per_chunk) {
    const uint64_t n_rows = std::min(rows_per_chunk, recipe.n_rows - row);
    buffer.resize(n_rows * row_bytes);
    const uint64_t n_other = n_rows / 2;  // rows of the second thread
    const auto other_part = std::span(buffer).subspan((n_rows - n_other) * row_bytes);
    const auto other = std::async(std::launch::async, fill_rows, std::cref(recipe), std::cref(options),
                                  row + n_rows - n_other, other_part);
    fill_rows(recipe, options, row, std::span(buffer).first((n_rows - n_other) * row_bytes));
    other.wait();
    TERN_RETURN_IF_ERROR(writer.append(buffer));
    if (progress && !progress(writer.bytes_written(), writer.bytes_total())) {
      return fail(ErrorCode::kUsage, "", "interrupted; nothing was written");
    }
  }
  if (format.tail_bytes > 0) {
    std::vector<std::byte> tail(format.tail_bytes);
    format.encode_tail(static_cast<float>(recipe.gain), tail);
    return writer.append(tail);
  }
  return {};
}

}  // namespace

std::vector<std::string> synthetic_presets() { return {"tiny", "small", "odd", "wide", "large", "2b4t"}; }

std::optional<SyntheticShape> synthetic_shape(std::string_view preset) {
  const SyntheticShape shapes[] = {
      {"tiny", 4, 256, 768, 4, 2, 0, 1024, 500000.0F, 1e-5F},
      {"small", 6, 512, 1536, 8, 2, 0, 2048, 500000.0F, 1e-5F},
      {"odd", 3, 384, 1152, 6, 3, 0, 512, 10000.0F, 1e-6F},
      {"wide", 1, 2304, 2304, 18, 2, 0, 512, 10000.0F, 1e-5F},
      {"large", 24, 1536, 4096, 16, 16, 32002, 2048, 10000.0F, 1e-5F},
      {"2b4t", 30, 2560, 6912, 20, 5, 128256, 4096, 500000.0F, 1e-5F},  // microsoft/bitnet-b1.58-2B-4T
  };
  for (const SyntheticShape& shape : shapes) {
    if (shape.name == preset) {
      return shape;
    }
  }
  return std::nullopt;
}

SyntheticVocabulary vocabulary_of(const SyntheticOptions& options) {
  return synthetic_vocabulary(options.shape.n_vocab);
}

Status write_synthetic_model(const std::filesystem::path& path, const SyntheticOptions& options,
                             const SyntheticProgress& progress) {
  TERN_CHECK(options.embeddings->levels.empty());
  const Plan plan(options);
  for (const Recipe& recipe : plan.recipes()) {
    const quant::Format& format = format_of(recipe, options);
    if (!format.tensor_bytes(recipe.n_rows, recipe.n_cols)) {
      return fail(ErrorCode::kUsage, fmt::format("shape {}", options.shape.name),
                  fmt::format("{} has rows of {} weights, which {} cannot hold: its blocks are of {}", recipe.name,
                              recipe.n_cols, format.name, format.block_cols));
    }
  }
  TERN_ASSIGN_OR_RETURN(gguf::Writer writer, gguf::Writer::create(path, plan.header(vocabulary_of(options))));
  for (const Recipe& recipe : plan.recipes()) {
    TERN_RETURN_IF_ERROR(write_tensor(writer, recipe, options, progress));
  }
  return writer.commit();
}

}  // namespace tern::synth
