// A run of the bundled model in which one stage is another: what an estimator is given.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/paths.h"
#include "tern/base/check.h"
#include "tern/base/file.h"
#include "tern/estimate/estimators.h"
#include "tern/oracle/oracle.h"
#include "tern/trace/recorder.h"

namespace tern::test {

// Of the bundled model: query heads, and their width.
inline constexpr size_t kHeads = 4, kWidth = 64;

// Evaluates a prompt and a decode step for each token that is fed.
inline void evaluate_all(oracle::Oracle& oracle, std::span<const int32_t> prompt, std::span<const int32_t> fed,
                         trace::Recorder* recorder) {
  TERN_CHECK(oracle.evaluate(prompt, 0, 0, recorder).has_value());
  for (size_t step = 0; step < fed.size(); ++step) {
    TERN_CHECK(oracle.evaluate(fed.subspan(step, 1), static_cast<int>(step) + 1, 0, recorder).has_value());
  }
}

// The run folder that `recorder` has written to, whole and read back.
inline trace::EngineRun finished_run(trace::FolderRecorder& recorder, const std::filesystem::path& folder,
                                     const std::vector<int32_t>& prompt, const std::vector<int32_t>& fed) {
  TERN_CHECK(recorder.finish().has_value());
  trace::RunResult result;
  result.engine = "computed";
  result.max_tokens = static_cast<int>(fed.size()) + 1;
  result.prompt_tokens = prompt;
  result.generated_tokens = fed;
  result.generated_tokens.push_back(0);
  TERN_CHECK(write_file(folder / "result.json", to_json_text(trace::to_json(result))).has_value());
  auto run = trace::read_run_folder(folder);
  TERN_CHECK(run.has_value());
  return std::move(*run);
}

class AlteredRun {
 public:
  using Matrix = oracle::Matrix;

  // Evaluated by the oracle, every stage rounded to float32, so that what is recorded is what went on.
  explicit AlteredRun(std::vector<int32_t> prompt = {1, 5, 900, 33, 1207, 64, 5, 18, 411, 77, 1500, 2},
                      std::vector<int32_t> fed = {40, 8})
      : prompt_(std::move(prompt)), fed_(std::move(fed)), clean_(clean_run(prompt_, fed_)) {
    runs_.push_back(write({}, true));
  }

  static const oracle::Steps& steps() {
    static const auto steps = oracle::Steps::load(bundled());
    TERN_CHECK(steps.has_value());
    return *steps;
  }

  // As the clean run recorded it; rows of scores are the heads' tokens.
  Matrix values(const std::string& name) const {
    const size_t i = index_of(name);
    return estimate::matrix_of(clean_.records()[i].shape, clean_.values()[i]);
  }
  // A weight of one row.
  std::vector<double> weight(const std::string& name) const {
    return steps().weight_row(*bundled().find_tensor(name), 0);
  }

  // What is known where a side computed `is` for that tensor: with the values of all stages, or hashes and RMS only.
  estimate::StageFacts facts(const std::string& name, const Matrix& is, bool with_values = true) {
    runs_.push_back(write({{name, is}}, with_values));
    return {runs_.back(), runs_.front(), steps(), *trace::TensorId::parse(name)};
  }

 private:
  static const gguf::View& bundled() {
    static const auto view = gguf::View::open(bundled_model_dir() / "tern-tiny-i2_s.gguf");
    TERN_CHECK(view.has_value());
    return *view;
  }
  // Once for all tests of a process.
  static const trace::MemoryRecorder& clean_run(const std::vector<int32_t>& prompt, const std::vector<int32_t>& fed) {
    static std::map<std::pair<std::vector<int32_t>, std::vector<int32_t>>, trace::MemoryRecorder> runs;
    const auto [run, is_new] = runs.try_emplace({prompt, fed}, true);
    if (is_new) {
      oracle::Settings settings;
      settings.significant_bits = 24;
      auto oracle = oracle::Oracle::load(bundled(), settings);
      TERN_CHECK(oracle.has_value());
      evaluate_all(*oracle, prompt, fed, &run->second);
    }
    return run->second;
  }

  size_t index_of(const std::string& name) const {
    const auto& records = clean_.records();
    const auto found =
        std::find_if(records.begin(), records.end(), [&](const auto& record) { return record.id.name() == name; });
    TERN_CHECK(found != records.end());
    return static_cast<size_t>(found - records.begin());
  }

  trace::EngineRun write(const std::map<std::string, Matrix>& altered, bool with_values) {
    const auto path = folder_.path() / ("run" + std::to_string(runs_.size()));
    auto recorder = trace::FolderRecorder::create(path, trace::TraceForm::kList);
    TERN_CHECK(recorder.has_value());
    if (with_values) {
      TERN_CHECK((*recorder)->dump_values(path / "tensors.safetensors", clean_.records().size()).has_value());
    }
    for (size_t i = 0; i < clean_.records().size(); ++i) {
      const trace::TraceRecord& record = clean_.records()[i];
      std::vector<float> values = clean_.values()[i];
      if (const auto other = altered.find(record.id.name()); other != altered.end()) {
        TERN_CHECK(other->second.values.size() == values.size());
        std::transform(other->second.values.begin(), other->second.values.end(), values.begin(),
                       [](double value) { return static_cast<float>(value); });
      }
      TERN_CHECK((*recorder)->record(record.id, record.shape, values).has_value());
    }
    return finished_run(**recorder, path, prompt_, fed_);
  }

  std::vector<int32_t> prompt_, fed_;
  const trace::MemoryRecorder& clean_;
  TemporaryFolder folder_;
  std::list<trace::EngineRun> runs_;
};

inline double distance(const oracle::Matrix& a, const oracle::Matrix& b) {
  double error = 0, size = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    error += (a.values[i] - b.values[i]) * (a.values[i] - b.values[i]);
    size += b.values[i] * b.values[i];
  }
  return std::sqrt(error / size);
}
inline double rms_of_values(const oracle::Matrix& x) {
  double sum = 0;
  for (const double value : x.values) {
    sum += value * value;
  }
  return std::sqrt(sum / static_cast<double>(x.values.size()));
}

// The proposals whose recomputed stage is within float32's rounding of what the side computed (of its RMS, where there
// is nothing else), the simplest first.
inline std::vector<estimate::Proposal> that_hold(const estimate::StageFacts& facts, estimate::Estimator estimator) {
  constexpr double kRounding = 5e-7;
  std::vector<estimate::Proposal> hold;
  for (estimate::Proposal& proposal : estimator(facts)) {
    const auto y = proposal.recompute(facts);
    const double error = !y           ? 1
                         : facts.is() ? distance(*y, *facts.is())
                                      : std::abs(rms_of_values(*y) / *facts.rms() - 1);
    if (error < kRounding) {
      hold.push_back(std::move(proposal));
    }
  }
  std::stable_sort(hold.begin(), hold.end(), [](const auto& a, const auto& b) { return a.simplicity > b.simplicity; });
  return hold;
}

inline std::string listed(const std::vector<estimate::Proposal>& proposals) {
  std::string text;
  for (const estimate::Proposal& proposal : proposals) {
    text += proposal.id + " " + proposal.parameters.dump() + " (" + proposal.says + ")\n";
  }
  return text;
}

// The simplest that holds; an empty one where none does, which the test then shows.
inline estimate::Proposal simplest(const estimate::StageFacts& facts, estimate::Estimator estimator) {
  auto hold = that_hold(facts, estimator);
  if (hold.empty()) {
    ADD_FAILURE() << "nothing explains " << facts.id().name() << "; proposed:\n" << listed(estimator(facts));
    return {};
  }
  return std::move(hold.front());
}

// Among those that hold: what RMS alone cannot tell from others.
inline const estimate::Proposal* find(const std::vector<estimate::Proposal>& proposals, const std::string& id,
                                      const char* key = nullptr) {
  const auto found = std::find_if(proposals.begin(), proposals.end(), [&](const auto& proposal) {
    return proposal.id == id && (key == nullptr || proposal.parameters.contains(key));
  });
  return found == proposals.end() ? nullptr : &*found;
}

// All stages of that kind of a right run.
inline void expect_nothing_proposed(trace::StageKind kind, estimate::Estimator estimator) {
  AlteredRun run;
  int n_seen = 0;
  for (const trace::StageRow& row : trace::kStageTable) {
    if (row.kind != kind || row.place != trace::StagePlace::kInLayer) {
      continue;
    }
    for (const char* pass : {"", "t2/"}) {
      const std::string name = pass + ("blk3/" + std::string(row.name));
      const auto clean = run.values(name);
      for (const bool with_values : {true, false}) {
        const auto facts = run.facts(name, clean, with_values);
        EXPECT_EQ(listed(estimator(facts)), "") << name << " with values: " << with_values;
        ++n_seen;
      }
    }
  }
  EXPECT_GT(n_seen, 0);
}

}  // namespace tern::test
