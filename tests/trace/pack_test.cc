#include "tern/trace/pack.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"

namespace tern::trace {
namespace {

namespace fs = std::filesystem;

class PackTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& golden : test::golden_cases()) {
      if (golden.model == "tiny-llama-i2_s" && golden.name.starts_with("scenario")) {
        runs_.push_back(golden.folder);
      }
    }
    ASSERT_GE(runs_.size(), 2U);
    const auto pack =
        Pack::create(pack_folder(), {"m.gguf", std::string(64, '1'), ""}, "arith", {{"name", "E"}}, runs_);
    ASSERT_TRUE(pack) << pack.error().line();
  }
  fs::path pack_folder() const { return folder_.path() / "pack"; }

  test::TemporaryFolder folder_;
  std::vector<fs::path> runs_;
};

TEST_F(PackTest, HoldsWhatWasPutIn) {
  const auto pack = Pack::open(pack_folder());
  ASSERT_TRUE(pack) << pack.error().line();
  EXPECT_EQ(pack->engine_name(), "E");
  ASSERT_EQ(pack->scenarios().size(), runs_.size());
  for (const fs::path& run_folder : runs_) {
    const auto original = read_run_folder(run_folder);
    ASSERT_TRUE(original);
    const auto found = pack->find(original->result.prompt, original->result.max_tokens);
    ASSERT_TRUE(found) << found.error().line();
    EXPECT_EQ(found->result.generated_tokens, original->result.generated_tokens);
    EXPECT_EQ(found->result.arithmetic, "arith");
    ASSERT_EQ(found->trace.size(), original->trace.size());
    EXPECT_TRUE(std::equal(found->trace.begin(), found->trace.end(), original->trace.begin(),
                           [](const auto& a, const auto& b) { return a.id == b.id && a.blake3 == b.blake3; }));
  }
}

TEST_F(PackTest, UnknownPromptSaysWhatThereIs) {
  const auto pack = Pack::open(pack_folder());
  ASSERT_TRUE(pack);
  const auto run = pack->find("never recorded", 1);
  ASSERT_FALSE(run);
  EXPECT_NE(run.error().line().find("2+2="), std::string::npos) << run.error().line();
}

TEST_F(PackTest, SameContentSameId) {
  const auto again =
      Pack::create(folder_.path() / "again", {"m.gguf", std::string(64, '1'), ""}, "arith", {{"name", "E"}}, runs_);
  const auto other =
      Pack::create(folder_.path() / "other", {"m.gguf", std::string(64, '2'), ""}, "arith", {{"name", "E"}}, runs_);
  ASSERT_TRUE(again && other);
  EXPECT_EQ(again->id(), Pack::open(pack_folder())->id());
  EXPECT_NE(other->id(), again->id());
}

TEST_F(PackTest, AnyDamageIsRefused) {
  const fs::path trace = pack_folder() / "scenario1" / "trace.jsonl";
  const auto original = read_file(trace, 1 << 30);
  ASSERT_TRUE(original);
  std::string changed = *original;
  changed[changed.find("\"blake3\":\"") + 10] ^= 1;
  ASSERT_TRUE(write_file(trace, changed));
  EXPECT_FALSE(Pack::open(pack_folder())) << "a changed byte";
  ASSERT_TRUE(write_file(trace, original->substr(1)));
  EXPECT_FALSE(Pack::open(pack_folder())) << "a missing byte";
  fs::remove(trace);
  EXPECT_FALSE(Pack::open(pack_folder())) << "a missing file";
  ASSERT_TRUE(write_file(trace, *original));
  EXPECT_TRUE(Pack::open(pack_folder()));
  ASSERT_TRUE(write_file(pack_folder() / "scenario1" / "extra.safetensors", "x"));
  EXPECT_FALSE(Pack::open(pack_folder())) << "a file that is not listed";
}

TEST_F(PackTest, EditedManifestIsRefused) {
  const fs::path manifest = pack_folder() / "pack.json";
  const auto original = read_file(manifest, 1 << 20);
  ASSERT_TRUE(original);
  std::string changed = *original;
  changed.replace(changed.find("arith\""), 5, "other");
  ASSERT_TRUE(write_file(manifest, changed));
  EXPECT_FALSE(Pack::open(pack_folder()));
}

// A hostile pack can state the right id for whatever it holds, so names are checked before any path is made of them.
TEST_F(PackTest, NamesCannotLeaveTheFolder) {
  const fs::path manifest = pack_folder() / "pack.json";
  for (const auto* name : {"../../etc", "/etc", ".", "..", ""}) {
    auto json = read_json_file(manifest);
    ASSERT_TRUE(json);
    (*json)["scenarios"][0]["name"] = name;
    nlohmann::json sorted = nlohmann::json::parse(json->dump());
    sorted.erase("id");
    const std::string canonical = sorted.dump();
    (*json)["id"] = blake3_hex(std::as_bytes(std::span(canonical)));
    ASSERT_TRUE(write_file(manifest, to_json_text(*json)));
    const auto pack = Pack::open(pack_folder());
    ASSERT_FALSE(pack);
    EXPECT_NE(pack.error().line().find("unsafe name"), std::string::npos) << pack.error().line();
  }
}

TEST_F(PackTest, FailedCreationLeavesNothing) {
  ASSERT_TRUE(write_file(folder_.path() / "empty" / "result.json",
                         R"({"engine":"e","prompt":"p","max_tokens":1,"prompt_tokens":[1],"generated_tokens":[1]})"));
  const auto pack =
      Pack::create(folder_.path() / "bad", {"m", "s", ""}, "", Json::object(), {folder_.path() / "empty"});
  ASSERT_FALSE(pack);
  EXPECT_FALSE(fs::exists(folder_.path() / "bad"));
  EXPECT_FALSE(fs::exists(folder_.path() / "bad.partial"));
}

}  // namespace
}  // namespace tern::trace
