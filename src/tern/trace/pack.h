// A pack: a portable recording of one engine on some prompts, for machines that do not have that engine.
//   pack.json        what it is: model, tokenizer and engine, and each file's size and BLAKE3
//   <scenario>/      an engine-contract folder each (run_folder.h)
// The pack's id is the BLAKE3 of pack.json's canonical content, so two packs with one id hold the same bytes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
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

// What of a run goes into a pack besides tokens and trace hashes, which always do.
struct PackContents {
  std::optional<size_t> top_logits = {};  // keep only the so many largest logits of each row (top_logits.h)
  bool values = true;                     // keep tensors.safetensors where there is one
};

class Pack {
 public:
  // Reads and checks pack.json, and that every file it lists is there with its size and BLAKE3. Errors: kIo;
  // kInvalidInput naming the file that is missing, damaged or not listed.
  static Result<Pack> open(const std::filesystem::path& folder);

  // Makes a pack of engine-contract folders: copies them below `folder` (which must not exist), traces as trace.jsonl.
  // `engine`: free-form facts about the engine (version, compiler, CPU), kept as they are. Errors: kIo; kInvalidInput
  // where a run cannot be read, is of another model, has no trace, or has logits that are not those of the other runs
  // or that `contents` cannot be made of; nothing is left behind.
  static Result<Pack> create(const std::filesystem::path& folder, const PackModel& model, const std::string& arithmetic,
                             const Json& engine, const std::vector<std::filesystem::path>& run_folders,
                             const PackContents& contents = {});

  const std::string& id() const { return id_; }
  const PackModel& model() const { return model_; }
  const std::string& arithmetic() const { return arithmetic_; }
  const Json& engine() const { return engine_; }
  std::string engine_name() const;
  const std::vector<PackScenario>& scenarios() const { return scenarios_; }
  // Whether a scenario holds the values of its tensors, and not just their hashes.
  bool has_values() const { return has_values_; }
  // "full", "top-64", "none": of every scenario.
  const std::string& logits() const { return logits_; }

  // The recording of this prompt with this number of tokens asked for, or an error that says what the pack holds.
  Result<EngineRun> find(const std::string& prompt, int max_tokens) const;
  // The same for a prompt that is given by its token ids.
  Result<EngineRun> find(std::span<const int32_t> token_ids, int max_tokens) const;

 private:
  Pack() = default;
  Result<EngineRun> read(const PackScenario& scenario) const;
  // `wanted`: what was looked for, for the error.
  tl::unexpected<Error> not_found(const std::string& wanted, int max_tokens) const;

  std::filesystem::path folder_;
  std::string id_;
  PackModel model_;
  std::string arithmetic_;
  Json engine_;
  std::vector<PackScenario> scenarios_;
  std::string logits_;
  bool has_values_ = false;
};

// Errors: kInvalidInput where a prompt's recorded token ids are not those that a tokenizer gives for it today, with the
// first position that differs.
Status check_prompt_tokens(const std::string& where, std::span<const int32_t> recorded, std::span<const int32_t> today);

}  // namespace tern::trace
