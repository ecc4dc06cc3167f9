#include "tern/peer/engine_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tern/peer/command_template.h"

namespace tern::peer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(EngineSpec, EveryFormOfTheContract) {
  const std::pair<std::string, EngineKind> forms[] = {{"auto", EngineKind::kAuto},
                                                      {"none", EngineKind::kNone},
                                                      {"bitnet.cpp:/opt/b", EngineKind::kBitnetCpp},
                                                      {"llama.cpp:rel/dir", EngineKind::kLlamaCpp},
                                                      {"pack:a:b", EngineKind::kPack},
                                                      {"command:engine --x {out}", EngineKind::kCommand}};
  for (const auto& [text, kind] : forms) {
    const auto spec = parse_engine_spec(text, "--reference");
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->kind, kind);
    EXPECT_EQ(spec->text(), text);
  }
  EXPECT_EQ(parse_engine_spec("pack:a:b", "")->argument, "a:b");
}

TEST(EngineSpec, OthersAreUsageErrorsWithTheList) {
  for (const std::string text : {"", "Auto", "pack", "pack:", "pack: ", "none:x", "vllm:dir", ":", "bitnet.cpp"}) {
    const auto spec = parse_engine_spec(text, "--reference");
    ASSERT_FALSE(spec) << text;
    EXPECT_EQ(spec.error().code, ErrorCode::kUsage);
    EXPECT_THAT(spec.error().line(), HasSubstr("--reference"));
    EXPECT_THAT(spec.error().line(), HasSubstr("auto, none, bitnet.cpp:DIR"));
  }
}

std::vector<std::string> filled(const std::string& text, const Placeholders& values) {
  return CommandTemplate::parse(text, "--subject").value().fill(values);
}

TEST(CommandTemplate, SplitsAsAShellDoes) {
  EXPECT_THAT(filled(R"( a 'b c'  "d \" e" f\ g '' {out}x )", {{"out", "O"}}),
              ElementsAre("a", "b c", "d \" e", "f g", "", "Ox"));
}

TEST(CommandTemplate, AValueIsOneArgumentWhateverItHolds) {
  EXPECT_THAT(filled("e -p {prompt} --n={max_tokens}", {{"prompt", "a 'b' $(c) {out} \n"}, {"max_tokens", "4"}}),
              ElementsAre("e", "-p", "a 'b' $(c) {out} \n", "--n=4"));
}

TEST(CommandTemplate, OtherBracesStay) {
  EXPECT_THAT(filled(R"(e '{"a": {}}' {model})", {{"model", "M"}}), ElementsAre("e", R"({"a": {}})", "M"));
}

TEST(CommandTemplate, WithoutPlacesItSpeaksTheEngineContract) {
  const Placeholders values = {{"model", "M"},      {"tokenizer", "T"}, {"prompt", "P"},
                               {"max_tokens", "3"}, {"threads", "2"},   {"out", "O"}};
  EXPECT_THAT(filled("my-engine --fast", values),
              ElementsAre("my-engine", "--fast", "--model", "M", "--tokenizer", "T", "--prompt", "P", "--max-tokens",
                          "3", "--threads", "2", "--out", "O"));
}

TEST(CommandTemplate, KnowsWhetherItHasAnOutputFolder) {
  EXPECT_TRUE(CommandTemplate::parse("e --o={out}", "")->uses("out"));
  EXPECT_FALSE(CommandTemplate::parse("e {prompt} out", "")->uses("out"));
}

TEST(CommandTemplate, BadCommandsAreUsageErrors) {
  for (const std::string text : {"", "  ", "e 'open", "e \"open", "e {modle}", "'' {out}"}) {
    const auto command = CommandTemplate::parse(text, "--subject");
    ASSERT_FALSE(command) << text;
    EXPECT_EQ(command.error().code, ErrorCode::kUsage);
  }
  EXPECT_THAT(CommandTemplate::parse("e {modle}", "--subject").error().line(), HasSubstr("{modle}"));
}

}  // namespace
}  // namespace tern::peer
