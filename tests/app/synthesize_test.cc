#include "tern/app/synthesize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::app {
namespace {

namespace fs = std::filesystem;

class Synthesize : public testing::Test {
 protected:
  Synthesize() {
    options_.output = (folder_.path() / "model.gguf").string();
    options_.tokenizer_output = (folder_.path() / "tokenizer.json").string();
  }
  Result<std::optional<std::string>> write() {
    return synthesize(
        options_,
        [this](uint64_t done, uint64_t total) {
          last_progress_ = {done, total};
        },
        interrupt_);
  }

  test::TemporaryFolder folder_;
  Interrupt interrupt_;
  SynthesizeOptions options_;
  std::pair<uint64_t, uint64_t> last_progress_;
};

TEST_F(Synthesize, WritesAModelAndItsTokenizer) {
  const auto written = write();
  ASSERT_TRUE(written && *written) << written.error().line();
  EXPECT_THAT(**written, testing::StartsWith(options_.output + ": bitnet-b1.58 tiny, "));
  EXPECT_THAT(**written, testing::EndsWith(", I2_S layout bitnet.cpp, seed 1"));
  EXPECT_TRUE(gguf::View::open(options_.output));
  EXPECT_TRUE(tokenizer::Tokenizer::open(options_.tokenizer_output));
  EXPECT_GT(last_progress_.first, 0U);
  EXPECT_GE(last_progress_.second, last_progress_.first);
}

TEST_F(Synthesize, TakesEveryFamilyAndEmbeddingFormat) {
  size_t n_written = 0;
  for (const std::string& family : synthesized_families()) {
    for (const std::string& format : embedding_formats()) {
      options_.architecture = family;
      options_.embeddings = format;
      const auto written = write();
      ASSERT_TRUE(written && *written) << family << " " << format << ": " << written.error().line();
      ++n_written;
    }
  }
  EXPECT_GE(n_written, 3U * 2U);
}

TEST_F(Synthesize, NamesThatDoNotGoTogetherAreUsageErrors) {
  const auto expect_usage = [&](SynthesizeOptions options) {
    options.output = options_.output;
    const auto written = synthesize(
        options, [](uint64_t, uint64_t) {}, interrupt_);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, ErrorCode::kUsage) << written.error().line();
    EXPECT_FALSE(fs::exists(options.output));
  };
  SynthesizeOptions options;
  options.layout = "qk256";
  options.weights = "f16";
  expect_usage(options);
  options = {};
  options.preset = "huge";
  expect_usage(options);
  options = {};
  options.embeddings = "i2_s";
  expect_usage(options);
}

TEST_F(Synthesize, AnInterruptLeavesNothing) {
  std::raise(SIGINT);
  const auto written = write();
  ASSERT_TRUE(written) << written.error().line();
  EXPECT_FALSE(*written);
  EXPECT_FALSE(fs::exists(options_.output));
  EXPECT_FALSE(fs::exists(options_.tokenizer_output));
}

}  // namespace
}  // namespace tern::app
