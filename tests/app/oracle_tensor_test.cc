#include "tern/app/oracle_tensor.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/trace/safetensors.h"

namespace tern::app {
namespace {

class OracleTensor : public testing::Test {
 protected:
  OracleTensor() {
    options_.model = (test::golden_dir() / "models" / "tiny-i2_s.gguf").string();
    options_.tensor = "blk0/q_rope";
    options_.out = (folder_.path() / "with-faults.safetensors").string();
    options_.prompt = {1, 2, 3};
    options_.faults = {"rope_base", "rope_pairing"};
  }
  ErrorCode error_of(const OracleTensorOptions& options) {
    const Status status = oracle_tensor(options);
    EXPECT_FALSE(status);
    return status ? ErrorCode::kNoVerdict : status.error().code;
  }

  test::TemporaryFolder folder_;
  OracleTensorOptions options_;
};

TEST_F(OracleTensor, HasATensorForEachFault) {
  const Status status = oracle_tensor(options_);
  ASSERT_TRUE(status) << status.error().line();
  const auto written = trace::Safetensors::open(options_.out);
  ASSERT_TRUE(written) << written.error().line();
  const auto* base = written->find("rope_base");
  const auto* pairing = written->find("rope_pairing");
  ASSERT_TRUE(base != nullptr && pairing != nullptr);
  ASSERT_EQ(base->values.size(), pairing->values.size());
  EXPECT_EQ(base->shape.front(), 3);
  EXPECT_FALSE(std::equal(base->values.begin(), base->values.end(), pairing->values.begin()));
}

TEST_F(OracleTensor, OtherNamesAreUsageErrors) {
  OracleTensorOptions options = options_;
  options.tensor = "blk0/of_another_graph";
  EXPECT_EQ(error_of(options), ErrorCode::kUsage);
  options = options_;
  options.inputs_before = "blk";
  EXPECT_EQ(error_of(options), ErrorCode::kUsage);
  options = options_;
  options.faults = {"no_such_fault"};
  EXPECT_EQ(error_of(options), ErrorCode::kUsage);
}

}  // namespace
}  // namespace tern::app
