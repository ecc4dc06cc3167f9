// The table's encoders and decoders against ggml's own, byte for byte and bit for bit: the library of npm's llama.cpp,
// which scripts/test.sh installs into build/npm. Without it the test is skipped; with TERN_REQUIRE_LIVE=1 it fails.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "support/paths.h"
#include "tern/quant/format.h"

namespace tern::quant {
namespace {

// As ggml.h declares it.
struct TypeTraits {
  const char* type_name;
  int64_t blck_size;
  int64_t blck_size_interleave;
  size_t type_size;
  bool is_quantized;
  void (*to_float)(const void* x, float* y, int64_t k);
  void (*from_float_ref)(const float* x, void* y, int64_t k);
};
using QuantizeChunk = size_t (*)(int type, const float* src, void* dst, int64_t start, int64_t nrows, int64_t n_per_row,
                                 const float* imatrix);
using GetTypeTraits = const TypeTraits* (*)(int type);

class GgmlEncoders : public testing::Test {
 protected:
  void SetUp() override {
    const auto path =
        test::source_dir() / "build/npm/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64" / "libggml-base.so";
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* const required = std::getenv("TERN_REQUIRE_LIVE");
      ASSERT_FALSE(required != nullptr && std::string_view(required) == "1") << dlerror();
      GTEST_SKIP() << dlerror();
    }
    quantize_chunk_ = reinterpret_cast<QuantizeChunk>(dlsym(library, "ggml_quantize_chunk"));
    get_type_traits_ = reinterpret_cast<GetTypeTraits>(dlsym(library, "ggml_get_type_traits"));
    ASSERT_TRUE(quantize_chunk_ != nullptr && get_type_traits_ != nullptr);
  }

  QuantizeChunk quantize_chunk_ = nullptr;
  GetTypeTraits get_type_traits_ = nullptr;
};

// Normal values, with a block of zeros, equal magnitudes and ties between two codes among them.
std::vector<float> some_weights(size_t n) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    values[i] = i < 256 ? 0 : i < 512 ? (i % 2 == 0 ? 0.5F : -1.0F) : normal(random);
  }
  return values;
}

TEST_F(GgmlEncoders, AgreeWithTheTable) {
  constexpr int64_t kRows = 64, kCols = 1024;
  const std::vector<float> values = some_weights(kRows * kCols);
  size_t n_compared = 0;
  for (const Format* format : formats()) {
    if (!format->layout.empty()) {
      continue;  // I2_S: ggml has none
    }
    SCOPED_TRACE(format->name);
    const auto type = static_cast<int>(format->type_id);
    const TypeTraits* traits = get_type_traits_(type);
    EXPECT_EQ(find_format(traits->type_name), format);
    EXPECT_EQ(traits->blck_size, format->block_cols);
    EXPECT_EQ(traits->type_size, format->block_bytes);
    const std::vector<std::byte> ours = encode(*format, values, kRows, kCols, 1);
    std::vector<std::byte> theirs(ours.size());
    EXPECT_EQ(quantize_chunk_(type, values.data(), theirs.data(), 0, kRows, kCols, nullptr), ours.size());
    EXPECT_EQ(std::memcmp(ours.data(), theirs.data(), ours.size()), 0);
    if (traits->to_float != nullptr) {
      std::vector<float> decoded(kCols), expected(kCols);
      format->decode_row(std::span(ours).first(format->row_bytes(kCols)), {}, decoded);
      traits->to_float(theirs.data(), expected.data(), kCols);
      EXPECT_EQ(std::memcmp(decoded.data(), expected.data(), kCols * sizeof(float)), 0);
    }
    ++n_compared;
  }
  EXPECT_GE(n_compared, 3U);
}

}  // namespace
}  // namespace tern::quant
