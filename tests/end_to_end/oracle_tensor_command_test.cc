// `tern oracle-tensor`: one tensor with each of some faults is what a whole run with that fault records of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/trace/run_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAreArray;
using testing::HasSubstr;

class OracleTensor : public testing::Test {
 protected:
  test::Ended run(std::vector<std::string> words) const {
    ChildCommand command;
    command.argv = {test::tern_binary().string()};
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    command.environment = {{"BITNET_TRACE_DIR", ""}};
    command.timeout_s = 60;
    return test::run_program(command);
  }

  const std::string model_ = (test::golden_dir() / "models" / "tiny-i2_s.gguf").string();
  test::TemporaryFolder folder_;
};

TEST_F(OracleTensor, EqualsAWholeRunWithThatFault) {
  const std::string file = (folder_.path() / "with-faults.safetensors").string();
  const test::Ended one = run({"oracle-tensor", "--model", model_, "--token-ids", "1,5,9", "--tensor", "blk0/q_rope",
                               "--fault", "rope_base=1300000", "--fault", "rope_pairing", "--out", file});
  ASSERT_EQ(one.exit_code, 0) << one.output;
  auto with_faults = trace::Safetensors::open(file);
  ASSERT_TRUE(with_faults) << with_faults.error().line();
  for (const std::string fault : {"rope_base=1300000", "rope_pairing"}) {
    const fs::path whole = folder_.path() / fault;
    const test::Ended ended = run({"run", "--engine", "oracle", "--fault", fault, "--model", model_, "--token-ids",
                                   "1,5,9", "--max-tokens", "1", "--dump-tensors", "--out", whole.string()});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    const auto folder = trace::read_run_folder(whole);
    ASSERT_TRUE(folder) << folder.error().line();
    const auto* expected = folder->values->find("blk0/q_rope");
    const auto* found = with_faults->find(fault);
    ASSERT_NE(expected, nullptr);
    ASSERT_NE(found, nullptr) << fault;
    EXPECT_EQ(found->shape, expected->shape);
    EXPECT_THAT(found->values, ElementsAreArray(expected->values.begin(), expected->values.end())) << fault;
  }
}

TEST_F(OracleTensor, RefusesWhatItDoesNotCompute) {
  const std::string file = (folder_.path() / "none.safetensors").string();
  const test::Ended unknown = run({"oracle-tensor", "--model", model_, "--token-ids", "1", "--tensor", "blk0/nonsense",
                                   "--fault", "rope_base", "--out", file});
  EXPECT_EQ(unknown.exit_code, 2) << unknown.output;
  EXPECT_THAT(unknown.output, HasSubstr("blk0/nonsense"));
  const test::Ended fault = run({"oracle-tensor", "--model", model_, "--token-ids", "1", "--tensor", "blk0/q_rope",
                                 "--fault", "nonsense", "--out", file});
  EXPECT_EQ(fault.exit_code, 2) << fault.output;
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace tern
