#include "tern/synth/synthetic_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/quant/half.h"
#include "tern/quant/i2s_bitnet_cpp.h"

namespace tern::synth {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;

SyntheticOptions options_for(std::string_view preset, const std::string& architecture = "bitnet-b1.58",
                             const quant::Format* layout = &quant::kI2sBitnetCpp) {
  SyntheticOptions options;
  options.shape = *synthetic_shape(preset);
  options.architecture = architecture;
  options.weights = layout;
  return options;
}

std::string hash_of(const SyntheticOptions& options) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "model.gguf";
  EXPECT_TRUE(write_synthetic_model(path, options).has_value());
  const auto bytes = read_file(path, kMaxBytes);
  EXPECT_TRUE(bytes.has_value());
  return blake3_hex(std::as_bytes(std::span(bytes->data(), bytes->size())));
}

// Name, dimensions and type of each tensor and key, type and scalar value of each metadata entry (the name differs).
std::string structure_of(const gguf::View& view) {
  std::string text;
  for (const gguf::Metadata& entry : view.metadata()) {
    text += std::string(entry.key) + " " + std::string(value_type_name(entry.type));
    if (const auto* number = std::get_if<uint64_t>(&entry.value)) {
      text += " " + std::to_string(*number);
    } else if (const auto* real = std::get_if<double>(&entry.value)) {
      text += " " + std::to_string(*real * 1e6);
    } else if (const auto* strings = std::get_if<std::vector<std::string_view>>(&entry.value)) {
      for (const std::string_view string : *strings) {
        text += " " + std::string(string);
      }
    } else if (const auto* types = std::get_if<std::vector<int64_t>>(&entry.value)) {
      for (const int64_t type : *types) {
        text += " " + std::to_string(type);
      }
    }
    text += "\n";
  }
  for (const gguf::Tensor& tensor : view.tensors()) {
    text +=
        std::string(tensor.name) + " " + std::to_string(tensor.type_id) + " @ " + std::to_string(tensor.file_offset);
    for (const uint64_t dim : tensor.dims) {
      text += " " + std::to_string(dim);
    }
    text += "\n";
  }
  return text;
}

// The recorded models were made by another program, for the same shapes: all but the random values must agree.
TEST(SyntheticModel, HasTheStructureOfTheRecordedModels) {
  const struct {
    const char* file;
    const char* preset;
    const char* architecture;
  } cases[] = {{"tiny-i2_s.gguf", "tiny", "bitnet-b1.58"},
               {"odd-i2_s.gguf", "odd", "bitnet-b1.58"},
               {"tiny-silu-i2_s.gguf", "tiny", "bitnet"},
               {"tiny-llama-i2_s.gguf", "tiny", "llama"}};
  const test::TemporaryFolder folder;
  size_t n_compared = 0;
  for (const auto& expected : cases) {
    const auto golden_path = test::golden_dir() / "models" / expected.file;
    if (!std::filesystem::exists(golden_path)) {
      continue;  // the recordings in the source tree are fewer
    }
    const auto path = folder.path() / expected.file;
    ASSERT_TRUE(write_synthetic_model(path, options_for(expected.preset, expected.architecture)).has_value());
    const auto golden = gguf::View::open(golden_path);
    const auto synthetic = gguf::View::open(path);
    ASSERT_TRUE(golden && synthetic);
    EXPECT_EQ(structure_of(*synthetic), structure_of(*golden)) << expected.file;
    ++n_compared;
  }
  EXPECT_GT(n_compared, 0u);
}

TEST(SyntheticModel, TheSeedAloneDecidesTheBytes) {
  SyntheticOptions options = options_for("tiny");
  const std::string first = hash_of(options);
  EXPECT_EQ(hash_of(options), first);
  options.seed = 2;
  EXPECT_NE(hash_of(options), first);
  // On every machine, with every compiler.
  EXPECT_EQ(first, "e6017d065febc4a0f53e930132d4c6433247b4e52c572a66b966f140ea0859ca");
}

TEST(SyntheticModel, EveryLayoutIsRecognised) {
  const test::TemporaryFolder folder;
  for (const quant::Format* layout : {&quant::kI2sBitnetCpp, &quant::kI2sBitNet32F16, &quant::kI2sQk256}) {
    for (const char* preset : {"tiny", "odd"}) {
      const auto path = folder.path() / "model.gguf";
      ASSERT_TRUE(write_synthetic_model(path, options_for(preset, "bitnet-b1.58", layout)).has_value());
      const auto view = gguf::View::open(path);
      ASSERT_TRUE(view.has_value()) << view.error().line();
      EXPECT_EQ(view->format_of_type(36), layout) << preset;
    }
  }
}

TEST(SyntheticModel, WeightsHaveTheIntendedStatistics) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "model.gguf";
  ASSERT_TRUE(write_synthetic_model(path, options_for("small")).has_value());
  const auto view = gguf::View::open(path);
  ASSERT_TRUE(view.has_value());

  const gguf::Tensor& projection = *view->find_tensor("blk.2.ffn_up.weight");
  std::array<int, 3> n_of{};
  const float scale = quant::i2s_bitnet_cpp::tail_scale(projection.tail());
  std::vector<float> row(projection.n_cols());
  for (uint64_t i = 0; i < projection.n_rows(); ++i) {
    projection.format->decode_row(projection.row(i), projection.tail(), row);
    for (const float weight : row) {
      ++n_of.at(static_cast<size_t>(weight / scale + 1));
    }
  }
  const auto n = static_cast<double>(projection.n_elements());
  EXPECT_NEAR(n_of[0] / n, 0.3, 0.003);
  EXPECT_NEAR(n_of[1] / n, 0.4, 0.003);
  EXPECT_NEAR(n_of[2] / n, 0.3, 0.003);
  EXPECT_NEAR(static_cast<double>(scale) * std::sqrt(512 * 0.6), 1.0, 0.2);

  const gguf::Tensor& embeddings = *view->find_tensor("token_embd.weight");
  double sum = 0;
  double squares = 0;
  for (size_t at = 0; at < embeddings.data.size(); at += 2) {
    uint16_t half = 0;
    std::memcpy(&half, embeddings.data.data() + at, 2);
    const auto value = static_cast<double>(quant::half_to_float(half));
    sum += value;
    squares += value * value;
  }
  const auto n_values = static_cast<double>(embeddings.n_elements());
  EXPECT_NEAR(sum / n_values, 0, 0.002);
  EXPECT_NEAR(std::sqrt(squares / n_values), 2.8 / std::sqrt(512.0), 0.002);
}

// One network in two encodings: an engine without I2_S gets the same values.
TEST(SyntheticModel, FloatWeightsOfABitnetModelAreTheTernaryOnesTimesTheirScale) {
  const test::TemporaryFolder folder;
  SyntheticOptions options = options_for("odd", "bitnet");
  ASSERT_TRUE(write_synthetic_model(folder.path() / "i2s.gguf", options));
  options.weights = &quant::kF32;
  ASSERT_TRUE(write_synthetic_model(folder.path() / "f32.gguf", options));
  const auto i2s = gguf::View::open(folder.path() / "i2s.gguf");
  const auto f32 = gguf::View::open(folder.path() / "f32.gguf");
  ASSERT_TRUE(i2s && f32);
  ASSERT_EQ(i2s->tensors().size(), f32->tensors().size());
  const gguf::Tensor& codes = *i2s->find_tensor("blk.1.ffn_down.weight");
  const gguf::Tensor& floats = *f32->find_tensor("blk.1.ffn_down.weight");
  ASSERT_EQ(floats.format, &quant::kF32);
  ASSERT_EQ(floats.dims, codes.dims);
  std::vector<float> decoded(codes.n_cols());
  std::vector<float> values(codes.n_cols());
  for (uint64_t row = 0; row < codes.n_rows(); ++row) {
    codes.format->decode_row(codes.row(row), codes.tail(), decoded);
    std::memcpy(values.data(), floats.row(row).data(), values.size() * 4);
    ASSERT_EQ(values, decoded) << row;
  }
}

TEST(SyntheticModel, FloatWeightsOfALlamaModelAreNormal) {
  const test::TemporaryFolder folder;
  SyntheticOptions options = options_for("odd", "llama");
  options.weights = &quant::kF16;
  ASSERT_TRUE(write_synthetic_model(folder.path() / "model.gguf", options));
  const auto view = gguf::View::open(folder.path() / "model.gguf");
  ASSERT_TRUE(view) << view.error().line();
  EXPECT_EQ(view->format_of_type(36), nullptr);
  EXPECT_TRUE(view->get_uint("general.file_type", 1, 1));
  const gguf::Tensor& tensor = *view->find_tensor("blk.1.ffn_down.weight");
  ASSERT_EQ(tensor.format, &quant::kF16);
  double squares = 0, fourths = 0;
  for (size_t at = 0; at < tensor.data.size(); at += 2) {
    uint16_t half = 0;
    std::memcpy(&half, tensor.data.data() + at, 2);
    const auto square = std::pow(static_cast<double>(quant::half_to_float(half)), 2);
    squares += square;
    fourths += square * square;
  }
  const auto n = static_cast<double>(tensor.n_elements());
  EXPECT_NEAR(squares / n * 1152, 1, 0.5);
  EXPECT_NEAR(fourths * n / (squares * squares), 2.9, 0.1);  // 3 - 6/60 for twelve uniform numbers, 1.7 if ternary
}

TEST(SyntheticModel, StoppingLeavesNothing) {
  const test::TemporaryFolder folder;
  uint64_t n_calls = 0;
  const auto status =
      write_synthetic_model(folder.path() / "model.gguf", options_for("tiny"), [&](uint64_t done, uint64_t total) {
        EXPECT_LE(done, total);
        return ++n_calls < 3;
      });
  EXPECT_FALSE(status.has_value());
  EXPECT_EQ(n_calls, 3u);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SyntheticModel, AnUnwritablePathIsAnError) {
  const auto status = write_synthetic_model("/proc/no/model.gguf", options_for("tiny"));
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
}

TEST(SyntheticVocabulary, IsTheRecordedTokenizer) {
  const auto golden = read_json_file(test::golden_dir() / "models" / "tokenizer.json");
  ASSERT_TRUE(golden.has_value()) << golden.error().line();
  const auto synthetic = parse_json(synthetic_tokenizer_json(synthetic_vocabulary(0)), "synthetic");
  ASSERT_TRUE(synthetic.has_value());
  EXPECT_EQ(*synthetic, *golden);
}

TEST(SyntheticVocabulary, IsPaddedToTheModelsSize) {
  const SyntheticVocabulary vocabulary = synthetic_vocabulary(1000);
  ASSERT_EQ(vocabulary.tokens.size(), 1000u);
  ASSERT_EQ(vocabulary.token_types.size(), 1000u);
  EXPECT_EQ(vocabulary.tokens[268], "<|eot_id|>");
  EXPECT_EQ(vocabulary.tokens[269], "[PAD269]");
  EXPECT_EQ(vocabulary.tokens.back(), "[PAD999]");
  EXPECT_EQ(vocabulary.token_types.back(), 5);
  EXPECT_EQ(synthetic_vocabulary(269).tokens, synthetic_vocabulary(0).tokens);
}

TEST(SyntheticModel, Presets) {
  for (const std::string& preset : synthetic_presets()) {
    const auto shape = synthetic_shape(preset);
    ASSERT_TRUE(shape.has_value()) << preset;
    EXPECT_EQ(shape->n_embd % shape->n_heads, 0u) << preset;
    EXPECT_EQ(shape->n_heads % shape->n_kv_heads, 0u) << preset;
    EXPECT_EQ(shape->n_embd % 128, 0u) << preset;
    EXPECT_EQ(shape->n_ff % 128, 0u) << preset;
  }
  EXPECT_EQ(synthetic_shape("huge"), std::nullopt);
}

}  // namespace
}  // namespace tern::synth
