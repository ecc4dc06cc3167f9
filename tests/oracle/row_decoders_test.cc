// The oracle's decoders against the table's, on random bytes: two readings of each format that were written apart.
#include "tern/oracle/row_decoders.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tern/oracle/oracle.h"

namespace tern::oracle {
namespace {

std::vector<std::byte> random_bytes(size_t n, std::mt19937& random) {
  std::vector<std::byte> bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(RowDecoders, AgreeWithTheTableOnRandomBlocks) {
  constexpr uint64_t kRows = 3;
  for (const quant::Format* format : quant::formats()) {
    SCOPED_TRACE(fmt::format("{} {}", format->name, format->layout));
    ASSERT_TRUE(can_decode(*format)) << "a format of the table that the oracle cannot decode";
    EXPECT_TRUE(Oracle::can_compute(*format)) << "the oracle does not follow the format's rule for activations";
    std::mt19937 random(11);
    for (int trial = 0; trial < 20; ++trial) {
      const uint64_t n_cols = (1 + random() % 5) * format->block_cols - (format->pads_rows ? random() % 7 : 0);
      const std::vector<std::byte> bytes = random_bytes(*format->tensor_bytes(kRows, n_cols), random);
      const gguf::Tensor tensor{.name = "t",
                                .type_id = format->type_id,
                                .dims = {n_cols, kRows},
                                .format = format,
                                .data = bytes,
                                .file_offset = 0};
      for (uint64_t r = 0; r < kRows; ++r) {
        std::vector<float> expected(n_cols);
        format->decode_row(tensor.row(r), tensor.tail(), expected);
        WeightRow row;
        decode_row(tensor, r, row);
        ASSERT_EQ(row.weights.size(), n_cols);
        for (uint64_t c = 0; c < n_cols; ++c) {
          const auto weight = static_cast<float>(row.weights[c] * row.scale);
          ASSERT_TRUE(weight == expected[c] || (std::isnan(weight) && std::isnan(expected[c])))
              << "row " << r << ", column " << c << ": " << weight << ", the table has " << expected[c];
        }
      }
    }
  }
}

}  // namespace
}  // namespace tern::oracle
