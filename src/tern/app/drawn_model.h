// A model that faults are drawn for, with engines that are right about it, engines with a drawn fault, and the
// judgement of two of them as `tern compare` makes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tern/app/compare.h"
#include "tern/arbiter/arbiter.h"
#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/drawn_fault.h"
#include "tern/peer/peer.h"

namespace tern::app {

// Small shapes of three families: grouped and plain heads, either pairing, an output matrix of its own, ternary and
// float weights.
struct DrawnModelFile {
  std::string name;
  std::filesystem::path path;
};
// Writes them into `folder`, which exists. Errors: kIo.
Result<std::vector<DrawnModelFile>> write_models_to_draw_from(const std::filesystem::path& folder);

class DrawnModel {
 public:
  // `setting`: with the model and its tokenizer. `folder` does not exist yet; right engines' runs stay in it. The
  // prompt, 12 to 20 ids with BOS, and two more that are fed to decode steps, are drawn by `seed`. Errors: those of
  // opening a model; kEngine.
  static Result<std::unique_ptr<DrawnModel>> open(std::string name, const peer::RunSetting& setting,
                                                  const std::filesystem::path& folder, uint64_t seed);

  const std::string& name() const { return name_; }
  const oracle::FaultyModel& to_draw_from() const { return to_draw_from_; }
  const std::vector<int32_t>& prompt() const { return prompt_; }
  int32_t bos() const { return bos_; }
  int32_t eos() const { return eos_; }

  // Engines that are right, by name: ours in two roundings and without vector units, the oracle, float32 evaluations.
  std::vector<std::string_view> right_engines() const;
  Result<trace::EngineRun> right_run(std::string_view engine) const;

  // A float32 evaluation (oracle::kFloat32Evaluations) with that fault, or of another prompt: written to `folder`,
  // which does not exist, and read again.
  Result<trace::EngineRun> run_faulty(const oracle::DrawnFault& fault, const oracle::Float32Rules& rules,
                                      const std::filesystem::path& folder) const;
  Result<trace::EngineRun> run_prompt(const std::vector<int32_t>& prompt, const oracle::Float32Rules& rules,
                                      const std::filesystem::path& folder) const;

  // What `tern compare --model` says of the two. `folder` exists and gets the oracle's runs.
  Result<Comparison> judge(trace::EngineRun subject, trace::EngineRun reference,
                           const std::filesystem::path& folder) const;
  // Whether the oracle, stage by stage on the run's own inputs, finds a tensor outside of its tolerance.
  Result<bool> is_wrong(const trace::EngineRun& run, const std::filesystem::path& folder) const;

 private:
  DrawnModel(std::string name, const peer::RunSetting& setting, std::filesystem::path folder, gguf::View view)
      : name_(std::move(name)), setting_(setting), folder_(std::move(folder)), view_(std::move(view)) {}
  void draw_prompt(uint64_t seed);
  Status make_engines();
  Status run_right_engines() const;
  Result<trace::EngineRun> write_run(oracle::Oracle& engine, const std::string& engine_name,
                                     const std::vector<int32_t>& prompt, const std::filesystem::path& folder) const;

  std::string name_;
  peer::RunSetting setting_;
  std::filesystem::path folder_;
  gguf::View view_;
  std::unique_ptr<oracle::Oracle> plain_;
  oracle::FaultyModel to_draw_from_;
  std::vector<int32_t> prompt_, fed_;
  int32_t bos_ = 0, eos_ = 0;
  arbiter::OracleEngines engines_;
};

}  // namespace tern::app
