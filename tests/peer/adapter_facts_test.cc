// What an adapter prints comes from outside: all of it is checked.
#include "tern/peer/adapter_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace tern::peer {
namespace {

using testing::HasSubstr;

// A whole description with one of its parts replaced.
std::string facts(const std::string& from = "", const std::string& to = "") {
  std::string text = R"({"name":"e 1","arithmetic":null,"level":"logits","abilities":["token_ids"],)"
                     R"("settings":{"a":{"values":["x","y"]},"n":{"from":1,"to":4}},"engine_facts":{"commit":"c"}})";
  if (!from.empty()) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(AdapterFacts, AreReadBetweenALibrarysOwnLines) {
  const auto read = read_adapter_facts("loading...\n" + facts() + "\nbye\n", "w");
  ASSERT_TRUE(read) << read.error().line();
  EXPECT_EQ(read->name, "e 1");
  EXPECT_EQ(read->level, trace::Level::kLogits);
  EXPECT_EQ(read->arithmetic, "");
  EXPECT_TRUE(read->abilities.runs && read->abilities.token_ids);
  EXPECT_FALSE(read->abilities.dump_tensors);
  ASSERT_EQ(read->settings.size(), 2U);
  EXPECT_EQ(read->settings[0].text(), "a (x, y)");
  EXPECT_EQ(read->settings[1].text(), "n (1 to 4)");
  EXPECT_EQ(read->engine_facts["commit"], "c");
}

TEST(AdapterFacts, AreRefusedWhereTheyAreNotWhole) {
  std::string many = "[";
  for (int i = 0; i < 300; ++i) many += "\"v" + std::to_string(i) + "\",";
  many.back() = ']';
  const std::pair<std::string, const char*> wrong[] = {
      {"", "prints no JSON object"},
      {"} {", "prints no JSON object"},
      {"{\"name\":", "prints no JSON object"},
      {"[" + facts() + "]", "prints no JSON object"},
      {facts(R"("name":"e 1",)"), "no key \"name\""},
      {facts("e 1", "e\\u001b[2J"), "key \"name\" is no text"},
      {facts("e 1", std::string(201, 'e')), "at most 200 bytes"},
      {facts(R"("arithmetic":null,)"), "no key \"arithmetic\""},
      {facts("null", "7"), "key \"arithmetic\" is not a string"},
      {facts(R"("level":"logits")", R"("level":"all")"), "level 'all' is none of"},
      {facts(R"(["token_ids"])", "{}"), "key \"abilities\" is no list"},
      {facts(R"(["token_ids"])", "[1]"), "key \"abilities\" is no list"},
      {facts(R"("settings")", R"("setings")"), "no key \"settings\""},
      {facts(R"({"values":["x","y"]})", "7"), "settings/a: is not a JSON object"},
      {facts(R"({"values":["x","y"]})", "{}"), "settings/a: has no key \"from\""},
      {facts(R"(["x","y"])", "[]"), "its values are no list"},
      {facts(R"(["x","y"])", many), "its values are no list"},
      {facts(R"(["x","y"])", R"(["x y"])"), "its values are no list"},
      {facts(R"("a":)", R"("A B":)"), "'A B' is no name of a setting"},
      {facts(R"("from":1)", R"("from":9)"), "key \"to\" is not an integer from 9"},
      {facts(R"("to":4)", R"("to":99999999999)"), "key \"to\" is not an integer"},
      {facts(R"({"commit":"c"})", "[]"), "key \"engine_facts\" is no object"},
  };
  for (const auto& [text, message] : wrong) {
    const auto read = read_adapter_facts(text, "w");
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(exit_code(read.error().code), 3);
    EXPECT_THAT(read.error().line(), HasSubstr(message)) << text;
  }
}

TEST(AdapterFacts, DeepNestingIsRefused) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  EXPECT_FALSE(read_adapter_facts(facts(R"({"commit":"c"})", "{\"a\":" + deep + "}"), "w"));
}

TEST(AdapterFacts, AnInterruptEndsTheAdapter) {
  const Interrupt interrupt;
  ASSERT_EQ(std::raise(SIGINT), 0);
  const auto facts = ask_adapter({"sh", "-c", "sleep 20"}, {}, &interrupt);
  ASSERT_FALSE(facts);
  EXPECT_THAT(facts.error().line(), HasSubstr("was interrupted"));
}

TEST(Settings, AreGivenOnce) {
  EXPECT_EQ(parse_settings({"a=1", "b=x=y"}, "--o").value(), (Settings{{"a", "1"}, {"b", "x=y"}}));
  for (const auto& texts : {std::vector<std::string>{"a=1", "a=2"}, {"=1"}, {"a="}, {"a"}}) {
    EXPECT_FALSE(parse_settings(texts, "--o")) << texts.front();
  }
}

}  // namespace
}  // namespace tern::peer
