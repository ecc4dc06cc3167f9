#include "support/paths.h"

#include <stdlib.h>

#include <algorithm>

#include "tern/base/check.h"

namespace tern::test {
namespace fs = std::filesystem;
namespace {

constexpr size_t kFewestGoldenCases = 10;  // in tests/data/golden, without wide-constant

}  // namespace

fs::path source_dir() { return TERN_SOURCE_DIR; }
fs::path tern_binary() { return TERN_BINARY_PATH; }
fs::path bundled_model_dir() { return source_dir() / "models" / "tern-tiny"; }

fs::path golden_dir() {
  if (const char* dir = std::getenv("TERN_GOLDEN_DIR")) {
    return dir;
  }
  const fs::path shared = source_dir().parent_path() / "shared" / "golden";
  return fs::is_directory(shared) ? shared : source_dir() / "tests" / "data" / "golden";
}

fs::path shared_data_dir() {
  const char* const dir = std::getenv("TERN_TEST_DATA_DIR");
  return dir != nullptr ? fs::path(dir) : source_dir().parent_path() / "shared" / "data";
}

std::vector<GoldenCase> golden_cases(bool with_wide_constant) {
  std::vector<GoldenCase> cases;
  const fs::path root = golden_dir();
  for (const auto& model : fs::directory_iterator(root)) {
    const std::string model_name = model.path().filename();
    if (!model.is_directory() || model_name == "models" ||
        (model_name == "wide-constant-i2_s" && !with_wide_constant)) {
      continue;
    }
    for (const auto& entry : fs::directory_iterator(model.path())) {
      cases.push_back({model_name, entry.path().filename(), entry.path(), root / "models" / (model_name + ".gguf"),
                       root / "models" / "tokenizer.json"});
    }
  }
  TERN_CHECK(cases.size() >= kFewestGoldenCases);  // a loop over none would pass
  std::sort(cases.begin(), cases.end(), [](const auto& a, const auto& b) { return a.folder < b.folder; });
  return cases;
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "tern-test-XXXXXX").string();
  TERN_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace tern::test
