// The arrows of docs/architecture.md, held against every #include in src/tern: linking alone would not see a header
// that is only used for a constant.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "support/paths.h"

namespace tern {
namespace {

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {}},
    {"quant", {"base"}},
    {"gguf", {"base", "quant"}},
    {"bisect", {"base", "quant", "gguf"}},
    {"tokenizer", {"base", "gguf", "quant"}},
    {"trace", {"base"}},
    {"kernels", {"base", "quant"}},
    {"model", {"base", "quant", "gguf", "kernels", "trace"}},
    {"engine", {"base", "quant", "gguf", "kernels", "model", "tokenizer", "trace"}},
    {"oracle", {"base", "quant", "gguf", "trace"}},
    {"peer", {"base", "trace"}},
    {"compare", {"base", "trace"}},
    {"outcome", {"base", "trace", "compare"}},
    {"arbiter", {"base", "trace", "peer", "compare", "outcome"}},
    {"sweep", {"base", "trace", "peer", "compare", "outcome", "arbiter", "report"}},
    {"report", {"base", "trace", "compare", "outcome"}},
};

TEST(IncludeRules, EveryIncludeFollowsAnArrow) {
  const std::regex include(R"re(^\s*#include "tern/([a-z]+)/)re");
  size_t n_includes = 0;
  const auto root = test::source_dir() / "src" / "tern";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension();
    const std::string folder = *entry.path().lexically_relative(root).begin();
    if ((extension != ".h" && extension != ".cc") || folder == "cli") {
      continue;
    }
    ASSERT_TRUE(kMayInclude.contains(folder)) << entry.path();
    std::ifstream file(entry.path());
    std::smatch match;
    for (std::string line; std::getline(file, line);) {
      if (std::regex_search(line, match, include)) {
        ++n_includes;
        const std::string target = match[1];
        EXPECT_TRUE(target == folder || kMayInclude.at(folder).contains(target)) << entry.path() << ": " << line;
      }
    }
  }
  EXPECT_GT(n_includes, 50U);
}

}  // namespace
}  // namespace tern
