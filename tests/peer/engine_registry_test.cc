#include "tern/peer/engine_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/peer/command_template.h"

namespace tern::peer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

EngineRegistry registry() { return EngineRegistry::load({{test::source_dir() / "adapters"}, {}, {}, "c++", {}}); }

TEST(EngineRegistry, EveryFormOfTheContract) {
  const EngineRegistry engines = registry();
  EXPECT_THAT(engines.parse("mine:x", "--reference").error().line(), testing::Not(HasSubstr("cannot be used")));
  const std::pair<std::string, std::string> forms[] = {{"auto", "auto"},
                                                       {"none", "none"},
                                                       {"bitnet.cpp:/opt/b", "bitnet.cpp"},
                                                       {"llama.cpp:rel/dir", "llama.cpp"},
                                                       {"pack:a:b", "pack"},
                                                       {"command:engine --x {out}", "command"}};
  for (const auto& [text, scheme] : forms) {
    const auto spec = engines.parse(text, "--reference");
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->scheme, scheme);
    EXPECT_EQ(spec->text(), text);
  }
  EXPECT_EQ(engines.parse("pack:a:b", "")->argument, "a:b");
  EXPECT_EQ(engines.forms(), "auto, none, pack:DIR, command:'PROGRAM ARGUMENTS', bitnet.cpp:DIR, llama.cpp:DIR");
  EXPECT_EQ(engines.forms([](const EngineScheme& s) { return s.traits.has_adapter; }), "bitnet.cpp:DIR, llama.cpp:DIR");
}

TEST(EngineRegistry, AutoAsASubjectIsTernsOwnEngine) {
  EngineScheme own{.name = "own", .argument = "", .about = "", .traits = {.is_own = true}, .open = {}};
  const EngineRegistry engines = EngineRegistry::load({}, {std::move(own)});
  EXPECT_EQ(engines.as_subject({"auto", ""}).scheme, "own");
  EXPECT_EQ(engines.as_subject({"pack", "DIR"}).text(), "pack:DIR");
  EXPECT_EQ(registry().as_subject({"auto", ""}).scheme, "auto") << "there is no engine of tern's in this registry";
}

TEST(EngineRegistry, AnOpenedEngineHasItsSchemesTraits) {
  const auto command = registry().open({"command", "engine"}, {}, {});
  ASSERT_TRUE(command) << command.error().line();
  EXPECT_TRUE(command->traits.is_command && command->traits.runs && !command->traits.has_adapter);
  const auto none = registry().open({"none", ""}, {}, {});
  ASSERT_TRUE(none) << none.error().line();
  EXPECT_FALSE(none->traits.runs || none->peer);
}

TEST(EngineRegistry, OthersAreUsageErrorsThatNameTheForms) {
  const std::pair<const char*, const char*> wrong[] = {
      {"", "one of: auto, none, pack:DIR"},
      {"Auto", "did you mean auto? one of: auto, none"},
      {"llamacpp:dir", "did you mean llama.cpp:DIR?"},
      {"vllm:dir", "one of: auto, none, pack:DIR"},
      {":", "one of: auto, none"},
      {"pack", "the form is pack:DIR"},
      {"pack:", "the form is pack:DIR"},
      {"pack: ", "the form is pack:DIR"},
      {"bitnet.cpp", "the form is bitnet.cpp:DIR"},
      {"none:x", "none takes nothing behind a colon"},
  };
  for (const auto& [text, message] : wrong) {
    const auto spec = registry().parse(text, "--reference");
    ASSERT_FALSE(spec) << text;
    EXPECT_EQ(spec.error().code, ErrorCode::kUsage);
    EXPECT_THAT(spec.error().line(), HasSubstr("--reference"));
    EXPECT_THAT(spec.error().line(), HasSubstr(message));
  }
}

TEST(EngineRegistry, NumbersOfACommandAreChecked) {
  for (const std::string setting : {"threads=abc", "threads=0", "threads=1025", "ubatch=65537", "ubatch=1.5"}) {
    OpenOptions options;
    options.settings = {setting};
    const auto opened = registry().open({"command", "engine {threads} {ubatch}"}, {}, options);
    ASSERT_FALSE(opened) << setting;
    EXPECT_EQ(opened.error().code, ErrorCode::kUsage);
    EXPECT_THAT(opened.error().line(), HasSubstr("is no value of"));
  }
}

TEST(EngineRegistry, AnAdapterThatCannotBeUsedIsNamedWhereASchemeIsUnknown) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "broken" / "manifest.json", "{"));
  ASSERT_TRUE(write_file(folder.path() / "second" / "manifest.json",
                         R"({"program":"e","schemes":[{"name":"pack","about":"takes a name that is taken"}]})"));
  ASSERT_TRUE(write_file(folder.path() / "second" / "e", ""));
  const EngineRegistry engines = EngineRegistry::load({{folder.path(), "/no/such/folder"}, {}, {}, "c++", {}});
  EXPECT_TRUE(engines.parse("pack:x", "--reference"));
  const auto unknown = engines.parse("mine:x", "--reference");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().line(), HasSubstr("broken/manifest.json"));
  EXPECT_THAT(unknown.error().line(), HasSubstr("the scheme 'pack' is taken already"));
  EXPECT_THAT(unknown.error().line(), HasSubstr("/no/such/folder: cannot be listed"));
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
