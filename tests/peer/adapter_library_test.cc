// Trees made of empty files: what is found where, and what is said about what is not there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/peer/adapter/library.h"

namespace tern::peer {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class LlamaLibraryTest : public testing::Test {
 protected:
  static constexpr const char* kBitnetCpp = "bitnet.cpp";
  static constexpr const char* kLlamaCpp = "llama.cpp";

  void make(std::initializer_list<const char*> files) {
    for (const char* file : files) {
      ASSERT_TRUE(write_file(tree_ / file, ""));
    }
  }
  // As the manifest of adapters/llama has it.
  Result<AdapterLibrary> find_in(const std::string& scheme, const fs::path& folder) {
    const auto manifest = read_adapter_manifest(test::source_dir() / "adapters" / "llama");
    EXPECT_TRUE(manifest) << manifest.error().line();
    for (const AdapterScheme& candidate : manifest->schemes) {
      if (candidate.name == scheme) return find_adapter_library(candidate, folder, folder_.path() / "cache", "X");
    }
    return fail(ErrorCode::kUsage, scheme, "is none of its schemes");
  }
  Result<AdapterLibrary> find(const std::string& scheme) { return find_in(scheme, tree_); }
  std::string error(const std::string& scheme, int code) {
    const auto found = find(scheme);
    EXPECT_FALSE(found);
    if (found) {
      return {};
    }
    EXPECT_EQ(exit_code(found.error().code), code);
    return found.error().line();
  }

  test::TemporaryFolder folder_;
  fs::path tree_ = fs::canonical(folder_.path()) / "tree";
};

TEST_F(LlamaLibraryTest, BitnetCppTakesTheFirstPlaceThatHasBoth) {
  EXPECT_THAT(error(kBitnetCpp, 3), HasSubstr("X: there is no such folder"));
  make({"README.md"});
  EXPECT_THAT(error(kBitnetCpp, 3), HasSubstr("is no bitnet.cpp tree: it has no 3rdparty/llama.cpp"));
  make({"3rdparty/llama.cpp/include/llama.h"});
  EXPECT_THAT(error(kBitnetCpp, 3), HasSubstr("ggml/include/ggml.h"));
  make({"3rdparty/llama.cpp/ggml/include/ggml.h", "build/3rdparty/llama.cpp/src/libllama.so"});
  const std::string not_built = error(kBitnetCpp, 3);
  EXPECT_THAT(not_built, HasSubstr("no libllama.so with its libggml.so: looked in build/3rdparty/llama.cpp/src with "
                                   "libggml.so in build/3rdparty/llama.cpp/ggml/src, build/bin, build/lib, build/src"));
  EXPECT_THAT(not_built, HasSubstr("-DBUILD_SHARED_LIBS=ON"));
  make({"build/lib/libllama.so", "build/lib/libggml.so"});
  auto found = find(kBitnetCpp);
  ASSERT_TRUE(found) << found.error().line();
  EXPECT_THAT(found->link, ElementsAre(tree_ / "build/lib/libllama.so", tree_ / "build/lib/libggml.so"));
  EXPECT_THAT(found->include,
              ElementsAre(tree_ / "3rdparty/llama.cpp/include", tree_ / "3rdparty/llama.cpp/ggml/include"));
  make({"build/3rdparty/llama.cpp/ggml/src/libggml.so"});
  found = find(kBitnetCpp);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->link[0], tree_ / "build/3rdparty/llama.cpp/src/libllama.so");
  EXPECT_EQ(found->link[1], tree_ / "build/3rdparty/llama.cpp/ggml/src/libggml.so");
}

TEST_F(LlamaLibraryTest, EachKindSendsToTheOther) {
  make({"3rdparty/llama.cpp/include/llama.h"});
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("write bitnet.cpp:DIR"));
  fs::remove_all(tree_);
  make({"include/llama.h", "ggml/include/ggml.h"});
  EXPECT_THAT(error(kBitnetCpp, 3), HasSubstr("write llama.cpp:DIR"));
}

TEST_F(LlamaLibraryTest, LlamaCppTreeHasItsBaseBesideIt) {
  make({"include/llama.h", "ggml/include/ggml.h"});
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("looked in build/bin, build/lib, build/src"));
  make({"build/bin/libllama.so", "build/bin/libggml.so", "build/bin/libggml-base.so", "build/bin/libggml-cpu.so"});
  const auto found = find(kLlamaCpp);
  ASSERT_TRUE(found) << found.error().line();
  EXPECT_EQ(found->layout, "llama.cpp tree");
  EXPECT_THAT(found->link, ElementsAre(tree_ / "build/bin/libllama.so", tree_ / "build/bin/libggml.so",
                                       tree_ / "build/bin/libggml-base.so"));
}

TEST_F(LlamaLibraryTest, AnInstalledPrefixMayHaveAnyLib) {
  make({"include/llama.h"});
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("include/ggml.h"));
  make({"include/ggml.h", "lib/x86_64-linux-gnu/other.so"});
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("looked in lib, lib/x86_64-linux-gnu"));
  make({"lib/x86_64-linux-gnu/libllama.so", "lib/x86_64-linux-gnu/libggml.so"});
  const auto found = find(kLlamaCpp);
  ASSERT_TRUE(found) << found.error().line();
  EXPECT_EQ(found->link[0], tree_ / "lib/x86_64-linux-gnu/libllama.so");
  EXPECT_THAT(found->include, ElementsAre(tree_ / "include"));
}

#ifdef __x86_64__  // the package's name holds the platform
constexpr const char* kBinaries = "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/";

// With a git repository of one commit as the bundle.
class NpmTest : public LlamaLibraryTest {
 protected:
  void SetUp() override {
    const std::string binaries = kBinaries;
    for (const char* name :
         {"libllama.v1.so", "libggml.v1.so", "libggml-base.so", "libllama-common.so", "libggml-cpu-haswell.so"}) {
      ASSERT_TRUE(write_file(tree_ / (binaries + name), ""));
    }
    ASSERT_TRUE(write_file(tree_ / (binaries + "_nlcBuildMetadata.json"),
                           R"({"buildOptions": {"llamaCpp": {"release": "v1"}}})"));
    ASSERT_TRUE(write_file(source_ / "llama.cpp.info.json", R"({"tag": "v1"})"));
    ChildCommand git;
    git.argv = {"sh", "-c",
                "mkdir -p r/include r/ggml/include && cd r && touch include/llama.h ggml/include/ggml.h other.c && "
                "git init -q && git add . && git -c user.name=t -c user.email=t@example.org commit -q -m c && "
                "git bundle create -q " +
                    (source_ / "gitRelease.bundle").string() + " HEAD"};
    git.working_dir = folder_.path();
    const auto ended = run_child(git);
    ASSERT_TRUE(ended);
    ASSERT_EQ(ended->exit_code, 0) << ended->output_tail;
  }
  fs::path source_ = tree_ / "node_modules/node-llama-cpp/llama";
};

TEST_F(NpmTest, LibrariesAndTheHeadersOfTheBundle) {
  const auto found = find(kLlamaCpp);
  ASSERT_TRUE(found) << found.error().line();
  EXPECT_EQ(found->layout, "npm package");
  const fs::path binaries = tree_ / kBinaries;
  EXPECT_THAT(found->link,
              ElementsAre(binaries / "libllama.v1.so", binaries / "libggml.v1.so", binaries / "libggml-base.so"));
  ASSERT_EQ(found->include.size(), 2U);
  EXPECT_TRUE(fs::exists(found->include[0] / "llama.h"));
  EXPECT_TRUE(fs::exists(found->include[1] / "ggml.h"));
  EXPECT_FALSE(fs::exists(found->include[0] / "../other.c"));
  // Unpacked once: the second time needs no git.
  const auto again = find_in(kLlamaCpp, tree_ / "node_modules");
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_EQ(again->include, found->include);
}

TEST_F(NpmTest, TwoVersionsAreRefused) {
  ASSERT_TRUE(write_file(source_ / "llama.cpp.info.json", R"({"tag": "v2"})"));
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("the libraries are of release v1 and the headers of v2"));
  ASSERT_TRUE(write_file(source_ / "llama.cpp.info.json", R"({"tag": 2})"));
  EXPECT_THAT(error(kLlamaCpp, 3), HasSubstr("llama.cpp.info.json: has no text at /tag"));
}

TEST_F(NpmTest, ABrokenBundleIsGitsMessage) {
  ASSERT_TRUE(write_file(source_ / "gitRelease.bundle", "no bundle"));
  EXPECT_THAT(error(kLlamaCpp, 4), HasSubstr("git failed"));
}
#endif

}  // namespace
}  // namespace tern::peer
