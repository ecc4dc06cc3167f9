// Where tests find the binary, the bundled model and the recordings of bitnet.cpp, and where they may write.
#pragma once

#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

namespace tern::test {

std::filesystem::path source_dir();
std::filesystem::path tern_binary();  // only where the test depends on target `tern`
// models/tern-tiny/ of the source tree.
std::filesystem::path bundled_model_dir();

// The recordings: $TERN_GOLDEN_DIR, else ../shared/golden beside the checkout, else tests/data/golden (fewer cases, the
// same layout: models/<name>.gguf, models/tokenizer.json, <name>/<case>/{result.json,trace.jsonl,...}).
std::filesystem::path golden_dir();
struct GoldenCase {
  std::string model;  // "tiny-i2_s"
  std::string name;   // "scenario1"
  std::filesystem::path folder;
  std::filesystem::path model_path;
  std::filesystem::path tokenizer_path;
  // How GoogleTest shows a case.
  friend std::ostream& operator<<(std::ostream& out, const GoldenCase& c) { return out << c.model << "/" << c.name; }
};
// Sorted; wide-constant, whose recording is wrong by design, is left out unless asked for.
std::vector<GoldenCase> golden_cases(bool with_wide_constant = false);

// Models that the source tree does not hold: $TERN_TEST_DATA_DIR, else ../shared/data beside the checkout. Any may be
// absent; a test that needs one is skipped and says so.
std::filesystem::path shared_data_dir();

// Of what a folder holds, in no order.
std::vector<std::string> names_in(const std::filesystem::path& folder);

// A fresh folder, removed with everything in it at the end of its scope.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace tern::test
