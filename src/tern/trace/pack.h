// A pack: a portable recording of one engine on some prompts, for machines that do not have that engine.
//   pack.json        what it is: model, tokenizer and engine, and each file's size and BLAKE3
//   <scenario>/      an engine-contract folder each (run_folder.h)
// The pack's id is the BLAKE3 of pack.json's canonical content, so two packs with one id hold the same bytes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/trace/run_folder.h"

namespace tern::trace {

struct PackScenario {
  std::string name;  // also the folder's name
  std::string prompt;
  int max_tokens = 0;
  std::vector<int32_t> prompt_tokens;
};

struct PackModel {
  std::string file_name;
  std::string sha256;
  std::string tokenizer_sha256;  // empty where none was used
};

class Pack {
 public:
  // Reads and checks pack.json, and that every file it lists is there with its size and BLAKE3. Errors: kIo;
  // kInvalidInput naming the file that is missing, damaged or not listed.
  static Result<Pack> open(const std::filesystem::path& folder);

  // Makes a pack of engine-contract folders: copies them below `folder` (which must not exist), traces as trace.jsonl.
  // `engine`: free-form facts about the engine (version, compiler, CPU), kept as they are.
  static Result<Pack> create(const std::filesystem::path& folder, const PackModel& model, const std::string& arithmetic,
                             const Json& engine, const std::vector<std::filesystem::path>& run_folders);

  const std::string& id() const { return id_; }
  const PackModel& model() const { return model_; }
  const std::string& arithmetic() const { return arithmetic_; }
  const Json& engine() const { return engine_; }
  std::string engine_name() const;
  const std::vector<PackScenario>& scenarios() const { return scenarios_; }
  // Does any scenario hold the values of its tensors, and not just their hashes?
  bool has_values() const { return has_values_; }

  // The recording of this prompt with this number of tokens asked for, or an error that says what the pack holds.
  Result<EngineRun> find(const std::string& prompt, int max_tokens) const;

 private:
  Pack() = default;
  std::filesystem::path folder_;
  std::string id_;
  PackModel model_;
  std::string arithmetic_;
  Json engine_;
  std::vector<PackScenario> scenarios_;
  bool has_values_ = false;
};

}  // namespace tern::trace
