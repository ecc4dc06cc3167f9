#include "tern/weight_checks/weight_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/quant/half.h"
#include "tern/synth/synthetic_model.h"

namespace tern::weight_checks {
namespace {

using testing::HasSubstr;

// The bytes of a synthetic model, to be damaged.
class Model {
 public:
  explicit Model(const std::string& architecture = "bitnet-b1.58",
                 const quant::Format* layout = &quant::kI2sBitnetCpp) {
    synth::SyntheticOptions options;
    options.shape = *synth::synthetic_shape("tiny");
    options.architecture = architecture;
    options.weights = layout;
    const test::TemporaryFolder folder;
    EXPECT_TRUE(synth::write_synthetic_model(folder.path() / "m.gguf", options).has_value());
    bytes_ = *read_file(folder.path() / "m.gguf", uint64_t{32} << 20);
  }
  Result<gguf::View> view() const {
    return gguf::View::parse(std::as_bytes(std::span(bytes_.data(), bytes_.size())), "m.gguf");
  }
  // The tensor's bytes, writable.
  std::span<char> data(std::string_view tensor) {
    const auto parsed = view();
    const gguf::Tensor* found = parsed->find_tensor(tensor);
    return std::span(bytes_).subspan(found->file_offset, found->data.size());
  }
  template <class T>
  void put(std::string_view tensor, size_t at, T value) {
    std::memcpy(data(tensor).data() + at, &value, sizeof(value));
  }
  void scale_norm(std::string_view tensor, float factor) {
    for (size_t at = 0; at < data(tensor).size(); at += 4) {
      float value = 0;
      std::memcpy(&value, data(tensor).data() + at, sizeof(value));
      put(tensor, at, value * factor);
    }
  }
  void replace_everywhere(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    for (size_t at = bytes_.find(from); at != std::string::npos; at = bytes_.find(from, at + 1)) {
      bytes_.replace(at, from.size(), to);
    }
  }
  // In the file's list of tensors: the name, the number of dimensions, two of them, the type.
  void set_type_of_projections(uint32_t type_id) {
    const auto parsed = view();
    for (const gguf::Tensor& tensor : parsed->tensors()) {
      if (is_projection(tensor.name)) {
        const size_t at = bytes_.find(std::string(tensor.name)) + tensor.name.size() + 4 + 16;
        std::memcpy(bytes_.data() + at, &type_id, sizeof(type_id));
      }
    }
  }
  WeightReport report() const {
    const auto parsed = view();
    EXPECT_TRUE(parsed.has_value()) << parsed.error().line();
    const auto rules = rules_for(*parsed);
    return check_weights(*parsed, &*rules);
  }

 private:
  std::string bytes_;
};

// "tensor statistic" of each finding that failed.
std::vector<std::string> failures(const WeightReport& report) {
  std::vector<std::string> names;
  for (const WeightFinding& finding : report.findings) {
    if (!finding.passed) {
      names.push_back(finding.tensor + " " + finding.statistic);
    }
  }
  EXPECT_EQ(names.size(), report.n_failed);
  return names;
}

constexpr const char* kUp = "blk.1.ffn_up.weight";
constexpr size_t kUpTail = 256 * 768 / 4;

TEST(WeightChecks, SyntheticModelsOfEveryKindPass) {
  for (const char* architecture : {"bitnet-b1.58", "bitnet", "llama"}) {
    for (const quant::Format* layout : quant::formats()) {
      const WeightReport report = Model(architecture, layout).report();
      EXPECT_THAT(failures(report), testing::IsEmpty()) << architecture << " " << report.rules_name;
      EXPECT_EQ(report.n_norms, architecture == std::string("llama") ? 9u : 17u);
      EXPECT_EQ(report.n_projections, 28u);
    }
  }
}

TEST(WeightChecks, RulesAreNamedByFamilyAndFormat) {
  std::vector<std::string> names;
  for (const quant::Format* format : quant::formats()) {
    names.push_back(Model("bitnet", format).report().rules_name);
  }
  EXPECT_THAT(names, testing::ElementsAre("bitnet:float", "bitnet:float", "bitnet:q8_0", "bitnet:tq2_0",
                                          "bitnet:i2_s/bitnet.cpp", "bitnet:i2_s/bitnet32", "bitnet:i2_s/qk256"));
  EXPECT_EQ(Model("llama", &quant::kTq2_0).report().rules_name, "llama:tq2_0");
}

// What is normal of a file does not depend on which format with scales its ternary weights are stored in.
TEST(WeightChecks, TernaryWeightsOfAnyFormatMayHaveSmallAttentionNorms) {
  for (const quant::Format* format : {&quant::kI2sBitnetCpp, &quant::kTq2_0, &quant::kQ8_0}) {
    Model model("bitnet", format);
    model.scale_norm("blk.2.attn_norm.weight", 0.018F);
    EXPECT_THAT(failures(model.report()), testing::IsEmpty()) << format->name;
    model.scale_norm("blk.2.ffn_norm.weight", 0.018F);
    EXPECT_THAT(failures(model.report()), testing::ElementsAre("blk.2.ffn_norm.weight rms")) << format->name;
  }
  Model floats("bitnet", &quant::kF32);
  floats.scale_norm("blk.2.attn_norm.weight", 0.018F);
  EXPECT_THAT(failures(floats.report()), testing::ElementsAre("blk.2.attn_norm.weight rms"));
}

TEST(WeightChecks, TernaryBlocksWithoutZeros) {
  Model model("bitnet", &quant::kTq2_0);
  const auto blocks = model.data(kUp);
  for (size_t at = 0; at < blocks.size(); at += quant::kTq2_0.block_bytes) {
    const auto codes = blocks.subspan(at, 64);  // the scale stands behind them
    std::fill(codes.begin(), codes.end(), static_cast<char>(0b10101010));
  }
  EXPECT_THAT(failures(model.report()), testing::ElementsAre(std::string(kUp) + " zero_fraction"));
}

TEST(WeightChecks, NoRulesForWhatCannotBeRead) {
  // Every projection becomes Q4_K of the same name and place.
  Model model("bitnet", &quant::kTq2_0);
  model.set_type_of_projections(12);
  const auto view = model.view();
  ASSERT_TRUE(view.has_value()) << view.error().line();
  const auto rules = rules_for(*view);
  ASSERT_FALSE(rules.has_value());
  EXPECT_THAT(rules.error().line(), HasSubstr("no rules for Q4_K (type 12)"));
}

TEST(WeightChecks, RecordedModelsPassExceptTheOneWithoutZeros) {
  size_t n_models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::golden_dir() / "models")) {
    if (entry.path().extension() != ".gguf") {
      continue;
    }
    ++n_models;
    const auto view = gguf::View::open(entry.path());
    ASSERT_TRUE(view.has_value());
    const auto rules = rules_for(*view);
    const auto failed = failures(check_weights(*view, &*rules));
    if (entry.path().filename() == "wide-constant-i2_s.gguf") {
      EXPECT_EQ(failed.size(), 7u);
      EXPECT_THAT(failed, testing::Each(HasSubstr("zero_fraction")));
    } else {
      EXPECT_THAT(failed, testing::IsEmpty()) << entry.path();
    }
  }
  EXPECT_GE(n_models, 4U);
}

TEST(WeightChecks, LostOrBrokenScales) {
  for (const float scale : {0.0F, -0.05F, 1e-6F, 100.0F, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    Model model;
    model.put(kUp, kUpTail, scale);
    EXPECT_THAT(failures(model.report()), testing::Contains(std::string(kUp) + " scale")) << scale;
  }
}

TEST(WeightChecks, CodesWithoutMeaning) {
  Model model;
  model.put(kUp, 17, static_cast<char>(0b01010111));
  const WeightReport report = model.report();
  EXPECT_THAT(failures(report), testing::ElementsAre(std::string(kUp) + " invalid_codes"));
}

TEST(WeightChecks, MatricesOfOnlyZerosOrWithoutThem) {
  for (const uint8_t byte : {uint8_t{0b01010101}, uint8_t{0b10101010}}) {
    Model model;
    const auto data = model.data(kUp);
    std::fill(data.begin(), data.begin() + kUpTail, static_cast<char>(byte));
    EXPECT_THAT(failures(model.report()), testing::Contains(std::string(kUp) + " zero_fraction"));
  }
}

TEST(WeightChecks, RescaledNorms) {
  // A small attention norm is normal in I2_S files, a small feed-forward norm is not.
  Model model;
  model.scale_norm("blk.2.attn_norm.weight", 0.018F);
  EXPECT_THAT(failures(model.report()), testing::IsEmpty());
  model.scale_norm("blk.2.ffn_norm.weight", 0.018F);
  model.scale_norm("output_norm.weight", 10.0F);
  model.put("blk.3.attn_sub_norm.weight", 8, std::nanf(""));
  EXPECT_THAT(failures(model.report()), testing::ElementsAre("output_norm.weight rms", "blk.2.ffn_norm.weight rms",
                                                             "blk.3.attn_sub_norm.weight rms"));
}

TEST(WeightChecks, BrokenBlockScales) {
  Model model("bitnet-b1.58", &quant::kI2sBitNet32F16);
  model.put(kUp, 8, uint16_t{0x7e00});  // NaN
  model.put(kUp, 18, uint16_t{0});
  EXPECT_THAT(failures(model.report()),
              testing::ElementsAre(std::string(kUp) + " scale_min", std::string(kUp) + " not_finite",
                                   std::string(kUp) + " rms"));
}

TEST(WeightChecks, AFileWithNothingToCheckDoesNotPass) {
  Model model;
  model.replace_everywhere("norm.weight", "nrom.weight");
  EXPECT_THAT(failures(model.report()), testing::ElementsAre(" norms_found"));
}

TEST(WeightChecks, WithoutRulesNothingIsJudged) {
  Model model;
  model.put(kUp, kUpTail, 0.0F);
  const auto view = model.view();
  const WeightReport report = check_weights(*view, nullptr);
  EXPECT_EQ(report.n_failed, 0u);
  EXPECT_FALSE(report.findings.empty());
  for (const WeightFinding& finding : report.findings) {
    EXPECT_FALSE(finding.envelope.has_value());
  }
}

class Policy : public testing::Test {
 protected:
  Result<WeightRules> read(const std::string& text) {
    EXPECT_TRUE(write_file(folder_.path() / "policy.toml", text).has_value());
    return read_policy(folder_.path() / "policy.toml", defaults_);
  }
  std::string error_of(const std::string& text) {
    const auto rules = read(text);
    return rules ? "" : rules.error().line();
  }
  test::TemporaryFolder folder_;
  WeightRules defaults_ = *rules_for(*Model().view());
};

TEST_F(Policy, ReplacesWhatItNames) {
  const auto rules = read(R"(
name = "mine"
[[norm]]
ends_with = ".attn_norm.weight"
min = 3
max = 4.5
[zero_fraction]
min = 0.0
max = 1.0
)");
  ASSERT_TRUE(rules.has_value()) << rules.error().line();
  EXPECT_EQ(rules->name, "mine");
  ASSERT_EQ(rules->norms.size(), 1u);
  EXPECT_EQ(rules->norms[0].rms.high, 4.5);
  EXPECT_EQ(rules->zero_fraction.high, 1.0);
  EXPECT_EQ(rules->projection_scale.high, defaults_.projection_scale.high);
  const Model model;
  const auto view = model.view();
  EXPECT_EQ(check_weights(*view, &*rules).n_failed, 4u);  // one attn_norm per layer
}

TEST_F(Policy, MistakesAreNamed) {
  EXPECT_THAT(error_of("name = "), HasSubstr("policy.toml line 1"));
  EXPECT_THAT(error_of("nrom = 1"), HasSubstr("nrom: is not a key of a policy"));
  EXPECT_THAT(error_of("[other_norms]\nmin = 2"), HasSubstr("other_norms: must be a table with numbers min and max"));
  EXPECT_THAT(error_of("[other_norms]\nmin = 2\nmax = 1"), HasSubstr("min <= max"));
  EXPECT_THAT(error_of("norm = 3"), HasSubstr("must be an array of tables"));
  EXPECT_THAT(error_of("[[norm]]\nmin = 1\nmax = 2"), HasSubstr("norm entry 0"));
  EXPECT_EQ(read_policy(folder_.path() / "none.toml", defaults_).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tern::weight_checks
