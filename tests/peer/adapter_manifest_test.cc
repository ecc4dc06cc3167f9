// A manifest comes from outside: what is in it is bounded and stays in its folder, and an unknown key is an error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/peer/adapter/manifest.h"

namespace tern::peer {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class AdapterManifestTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(write_file(adapter_ / "e.cc", "int main() {}")); }

  // A whole manifest with one of its parts replaced.
  Result<AdapterManifest> read(const std::string& from = "", const std::string& to = "") {
    std::string text =
        R"({"format":1,"program":"e","sources":["e.cc"],"flags":["-O1"],"links_tern":false,"schemes":[{"name":"mine",)"
        R"("argument":"DIR","about":"an engine","options":["--fast"],"layouts":[{"name":"tree","marker":"m.h",)"
        R"("headers":[{"folder":"inc","file":"m.h"}],"libraries":[{"name":"libm1"}],"places":[["lib*"]],)"
        R"("one_release":[{"of":"x","file":"r.json","pointer":"/tag"}]}]}]})";
    if (!from.empty()) {
      const size_t at = text.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      text.replace(at, from.size(), to);
    }
    EXPECT_TRUE(write_file(adapter_ / "manifest.json", text));
    return read_adapter_manifest(adapter_);
  }

  test::TemporaryFolder folder_;
  fs::path adapter_ = folder_.path() / "adapter";
};

TEST_F(AdapterManifestTest, IsReadWhole) {
  const auto manifest = read();
  ASSERT_TRUE(manifest) << manifest.error().line();
  EXPECT_EQ(manifest->program, "e");
  EXPECT_THAT(manifest->sources, testing::ElementsAre("e.cc"));
  ASSERT_EQ(manifest->schemes.size(), 1U);
  EXPECT_EQ(manifest->schemes[0].name, "mine");
  ASSERT_EQ(manifest->schemes[0].layouts.size(), 1U);
  EXPECT_EQ(manifest->schemes[0].layouts[0].places[0][0], "lib*");
}

TEST_F(AdapterManifestTest, WhatIsWrongIsNamed) {
  std::string many = "[";
  for (int i = 0; i < 300; ++i) many += "\"e.cc\",";
  many.back() = ']';
  const std::pair<std::pair<const char*, std::string>, const char*> wrong[] = {
      {{R"("format":1)", R"("format":2)"}, "has format 2, and this tern reads formats up to 1"},
      {{R"("program":"e",)", ""}, "no key \"program\""},
      {{R"("program":"e")", R"("program":"../e")"}, "'../e' is no name of a file"},
      {{R"("program":"e")", R"("program":".")"}, "'.' is no name of a file"},
      {{R"("program":"e")", R"("progam":"e")"}, "unknown key \"progam\" (did you mean \"program\"?)"},
      {{R"(["e.cc"])", R"(["/etc/passwd"])"}, "'/etc/passwd' leads out of its folder"},
      {{R"(["e.cc"])", R"(["../x.cc"])"}, "'../x.cc' leads out of its folder"},
      {{R"(["e.cc"])", R"(["a/../../x.cc"])"}, "leads out of its folder"},
      {{R"(["e.cc"])", R"(["link.cc"])"}, "'link.cc' leads out of its folder"},
      {{R"(["e.cc"])", R"(["none.cc"])"}, "there is no file"},
      {{R"(["e.cc"])", R"(["manifest.json"])"}, "ends in none of .c, .cc, .cpp"},
      {{R"(["e.cc"])", R"([7])"}, "sources/0"},
      {{R"(["e.cc"])", many}, "is no list of at most 256 entries"},
      {{R"("sources":["e.cc"],)", ""}, "there is no file"},  // then `program` is run as it is
      {{"-O1", "-o/etc/x"}, "is no flag that a manifest may give"},
      {{"-O1", "@file"}, "is no flag that a manifest may give"},
      {{"-O1", "-fplugin=x"}, "is no flag that a manifest may give"},
      {{"-O1", "-Wl,-rpath,/x"}, "is no flag that a manifest may give"},
      {{R"("links_tern":false)", R"("links_tern":"no")"}, "links_tern: is neither true nor false"},
      {{R"("name":"mine")", R"("name":"a:b")"}, "'a:b' is no scheme"},
      {{R"("name":"mine")", R"("name":"")"}, "is no scheme"},
      {{R"("about":"an engine",)", ""}, "no key \"about\""},
      {{R"("about":"an engine")", R"("about":"\u001b[2J")"}, "is no line of at most"},
      {{R"("argument":"DIR",)", ""}, "has layouts, but no argument"},
      {{R"("marker":"m.h",)", ""}, "no key \"marker\""},
      {{R"("folder":"inc")", R"("folder":"/usr")"}, "'/usr' leads out of its folder"},
      {{R"("name":"libm1")", R"("name":"../libm1")"}, "is no name of a file"},
      {{R"("name":"libm1")", R"("name":"libm1","column":99)"}, "\"column\" is not an integer from 0 to 8"},
      {{R"(["lib*"])", R"(["a","b"])"}, "is no list of 1 or 1 folders"},
      {{R"("places":[["lib*"]],)", ""}, "has only one of libraries and places"},
      {{R"("pointer":"/tag")", R"("pointer":"tag")"}, "is no path of keys"},
  };
  fs::create_symlink("/etc/passwd", adapter_ / "link.cc");
  for (const auto& [change, message] : wrong) {
    const auto manifest = read(change.first, change.second);
    ASSERT_FALSE(manifest) << change.second;
    EXPECT_EQ(exit_code(manifest.error().code), 3);
    EXPECT_THAT(manifest.error().line(), HasSubstr(message)) << change.second;
    EXPECT_THAT(manifest.error().line(), HasSubstr("manifest.json")) << change.second;
  }
}

TEST_F(AdapterManifestTest, AHugeOneIsNotRead) {
  ASSERT_TRUE(write_file(adapter_ / "manifest.json", std::string(70000, ' ')));
  EXPECT_FALSE(read_adapter_manifest(adapter_));
  EXPECT_FALSE(read_adapter_manifest(folder_.path() / "nothing"));
}

}  // namespace
}  // namespace tern::peer
