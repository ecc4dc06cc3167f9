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

TEST(EarlierRelease, ItsPackIsRead) {
  const auto pack = Pack::open(test::source_dir() / "tests" / "data" / "earlier_release" / "pack");
  ASSERT_TRUE(pack) << pack.error().line();
  EXPECT_EQ(pack->engine_name(), "tern 0.1.0, before format numbers");
  const auto run = pack->find("Hi", 1);
  ASSERT_TRUE(run) << run.error().line();
  EXPECT_EQ(run->trace.size(), 75U);
  EXPECT_EQ(run->result.generated_tokens, std::vector<int32_t>{221});
  EXPECT_TRUE(run->top_logits);
}

TEST_F(PackTest, ALaterFormatIsRefused) {
  Json manifest = read_json_file(pack_folder() / "pack.json").value();
  EXPECT_EQ(manifest["format"], 2);
  for (const Json& format : {Json(3), Json("tern-pack-2"), Json(nullptr)}) {
    manifest["format"] = format;
    ASSERT_TRUE(write_file(pack_folder() / "pack.json", to_json_text(manifest)));
    const auto pack = Pack::open(pack_folder());
    ASSERT_FALSE(pack);
    EXPECT_NE(
        pack.error().line().find(format == 3 ? "has format 3, and this tern reads formats up to 2" : "\"format\""),
        std::string::npos)
        << pack.error().line();
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

TEST_F(PackTest, FoundByTokenIdsToo) {
  const auto pack = Pack::open(pack_folder());
  ASSERT_TRUE(pack);
  ASSERT_FALSE(pack->scenarios().empty());
  for (const PackScenario& scenario : pack->scenarios()) {
    const auto found = pack->find(scenario.prompt_tokens, scenario.max_tokens);
    ASSERT_TRUE(found) << found.error().line();
    EXPECT_EQ(found->result.prompt, scenario.prompt);
    EXPECT_FALSE(pack->find(scenario.prompt_tokens, scenario.max_tokens + 1));
  }
  const auto missing = pack->find(std::vector<int32_t>(1000, 7), 1);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().line().find("[7, 7, 7"), std::string::npos) << missing.error().line();
  EXPECT_LT(missing.error().line().size(), 500U);
}

TEST_F(PackTest, OtherTokensThanToday) {
  const std::vector<int32_t> recorded = {1, 2, 3};
  EXPECT_TRUE(check_prompt_tokens("p", recorded, recorded));
  for (const auto& [today, expected] :
       {std::pair<std::vector<int32_t>, const char*>{{1, 9, 3}, "position 1 is 2, now 9"},
        {{1, 2}, "position 2 is 3, now nothing"},
        {{1, 2, 3, 4}, "position 3 is nothing, now 4"}}) {
    const auto status = check_prompt_tokens("p", recorded, today);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().line().find(expected), std::string::npos) << status.error().line();
  }
}

uint64_t bytes_in(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    bytes += entry.is_regular_file() ? entry.file_size() : 0;
  }
  return bytes;
}

TEST_F(PackTest, SaysWhatItHoldsAndHoldsLessWhenAsked) {
  const PackModel model = {"m.gguf", std::string(64, '1'), ""};
  const fs::path small = folder_.path() / "small";
  const auto full = Pack::open(pack_folder());
  const auto top = Pack::create(small, model, "arith", {{"name", "E"}}, runs_, {.top_logits = 8, .values = false});
  ASSERT_TRUE(full && top) << top.error().line();
  EXPECT_EQ(full->logits(), "full");
  EXPECT_EQ(top->logits(), "top-8");
  EXPECT_FALSE(top->has_values());
  const auto manifest = read_json_file(small / "pack.json");
  ASSERT_TRUE(manifest);
  EXPECT_EQ((*manifest)["logits"], "top-8");
  EXPECT_EQ((*manifest)["values"], false);
  const auto run = top->find(top->scenarios()[0].prompt, top->scenarios()[0].max_tokens);
  ASSERT_TRUE(run) << run.error().line();
  ASSERT_TRUE(run->top_logits);
  EXPECT_EQ(run->top_logits->k(), 8U);
  EXPECT_FALSE(run->values);
  EXPECT_NE(top->id(), full->id());

  // From a folder that has the largest only, the same can be kept, but not others.
  const fs::path scenario = small / top->scenarios()[0].name;
  EXPECT_TRUE(Pack::create(folder_.path() / "again", model, "", {{"name", "E"}}, {scenario}));
  EXPECT_TRUE(Pack::create(folder_.path() / "same", model, "", {{"name", "E"}}, {scenario}, {.top_logits = 8}));
  const auto more = Pack::create(folder_.path() / "more", model, "", {{"name", "E"}}, {scenario}, {.top_logits = 9});
  ASSERT_FALSE(more);
  EXPECT_NE(more.error().line().find("only the top-8"), std::string::npos) << more.error().line();
  const auto mixed = Pack::create(folder_.path() / "mixed", model, "", {{"name", "E"}}, {scenario, runs_[1]});
  ASSERT_FALSE(mixed);
  EXPECT_NE(mixed.error().line().find("'full', those of the runs before it 'top-8'"), std::string::npos)
      << mixed.error().line();
}

TEST_F(PackTest, TopLogitsAreMuchSmaller) {
  const PackModel model = {"m.gguf", std::string(64, '1'), ""};
  const auto full = Pack::create(folder_.path() / "full", model, "", {{"name", "E"}}, runs_, {.values = false});
  const auto top =
      Pack::create(folder_.path() / "top", model, "", {{"name", "E"}}, runs_, {.top_logits = 8, .values = false});
  ASSERT_TRUE(full && top);
  const auto bytes_of = [&](const char* pack, const char* file) {
    return fs::file_size(folder_.path() / pack / full->scenarios()[0].name / file);
  };
  // 269 logits a row here; a vocabulary of 128,256 makes it a factor of a thousand.
  const uint64_t header = 1024;
  EXPECT_LT(bytes_of("top", TopLogits::kFileName), header + bytes_of("full", "logits.safetensors") / 10);
  EXPECT_LT(bytes_in(folder_.path() / "top"), bytes_in(folder_.path() / "full"));
}

// A pack made with another tool can have a right id for a manifest that contradicts its files.
TEST_F(PackTest, WordsThatContradictTheFilesAreRefused) {
  const fs::path manifest = pack_folder() / "pack.json";
  const auto original = read_json_file(manifest);
  ASSERT_TRUE(original);
  const auto with = [&](const char* key, const Json& value) {
    Json json = *original;
    json[key] = value;
    nlohmann::json sorted = nlohmann::json::parse(json.dump());
    sorted.erase("id");
    const std::string canonical = sorted.dump();
    json["id"] = blake3_hex(std::as_bytes(std::span(canonical)));
    EXPECT_TRUE(write_file(manifest, to_json_text(json)));
  };
  const auto reads = [&]() -> Status {
    TERN_ASSIGN_OR_RETURN(const Pack pack, Pack::open(pack_folder()));
    TERN_RETURN_IF_ERROR(pack.find(pack.scenarios()[0].prompt, pack.scenarios()[0].max_tokens));
    return {};
  };
  EXPECT_TRUE(reads());
  with("values", !(*original)["values"].get<bool>());
  EXPECT_FALSE(reads());
  with("logits", "top-8");
  EXPECT_FALSE(reads());
  with("logits", 7);
  EXPECT_FALSE(reads());
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
