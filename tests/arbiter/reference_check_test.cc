// Checks that only engines of ours permit (unobserved, token by token), made on stand-ins that have the fault.
#include "tern/arbiter/reference_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"

namespace tern::arbiter {
namespace {

using Status = outcome::ReferenceCheck::Status;
using testing::HasSubstr;

class ReferenceCheckTest : public testing::Test {
 protected:
  static std::unique_ptr<peer::Peer> engine(std::vector<std::string> more_words) {
    std::vector<std::string> words = {test::tern_binary().string(),
                                      "run",
                                      "--model",
                                      "{model}",
                                      "--prompt={prompt}",
                                      "--threads",
                                      "{threads}",
                                      "--max-tokens",
                                      "{max_tokens}",
                                      "--out",
                                      "{out}",
                                      "--ignore-eos"};
    words.insert(words.end(), more_words.begin(), more_words.end());
    return peer::make_command_peer(peer::CommandTemplate(std::move(words)), "stand-in", peer::all_abilities());
  }
  // The status of each check by its id.
  std::map<std::string, Status> check(const std::vector<std::string>& more_words) {
    const auto reference = engine(more_words);
    const test::TemporaryFolder folder;
    CheckPlan plan;
    plan.reference = reference.get();
    plan.why_no_oracle = "not in this test";
    plan.model = test::golden_dir() / "models" / "tiny-i2_s.gguf";
    plan.prompt = "Count: 1,2,3,";
    plan.threads = 2;
    plan.folder = folder.path();
    std::vector<std::string> told;
    const auto result = check_reference(plan, [&](const outcome::ReferenceCheck& done) { told.push_back(done.id); });
    EXPECT_TRUE(result) << result.error().line();
    std::map<std::string, Status> statuses;
    for (const outcome::ReferenceCheck& done : result ? result->checks : std::vector<outcome::ReferenceCheck>()) {
      statuses[done.id] = done.status;
    }
    EXPECT_EQ(told.size(), statuses.size());
    return statuses;
  }
};

TEST_F(ReferenceCheckTest, ARightEnginePassesWhatItCanBeAsked) {
  const auto statuses = check({});
  for (const char* id : {"not_vacuous", "repeatable", "threads", "unobserved", "batch"}) {
    EXPECT_EQ(statuses.at(id), Status::kPassed) << id;
  }
  EXPECT_EQ(statuses.at("oracle"), Status::kSkipped);
}

TEST_F(ReferenceCheckTest, AnObserverThatChangesTheResultIsCaught) {
  const auto statuses = check({"--engine", "oracle", "--fault", "observer_changes_result"});
  EXPECT_EQ(statuses.at("repeatable"), Status::kPassed);
  EXPECT_EQ(statuses.at("unobserved"), Status::kFailed);
}

TEST_F(ReferenceCheckTest, ABatchThatDiffersFromSingleTokensIsCaught) {
  const auto statuses = check({"--engine", "oracle", "--fault", "prefill_only"});
  EXPECT_EQ(statuses.at("repeatable"), Status::kPassed);
  EXPECT_EQ(statuses.at("batch"), Status::kFailed);
}

TEST_F(ReferenceCheckTest, AnEngineThatCannotRunIsAnError) {
  const auto reference = engine({"--no-such-option"});
  const test::TemporaryFolder folder;
  CheckPlan plan;
  plan.reference = reference.get();
  plan.model = test::golden_dir() / "models" / "tiny-i2_s.gguf";
  plan.prompt = "Hello";
  plan.folder = folder.path();
  const auto result = check_reference(plan, [](const auto&) {});
  ASSERT_FALSE(result);
  EXPECT_EQ(exit_code(result.error().code), 4);
  EXPECT_THAT(result.error().line(), HasSubstr("ended with exit code 2"));
}

}  // namespace
}  // namespace tern::arbiter
