// Small hand-made runs for tests: written as an engine-contract folder and read back, so that nothing is compared that
// a real engine could not have produced.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "support/paths.h"
#include "tern/trace/run_folder.h"

namespace tern::test {

struct RunBuilder {
  std::string arithmetic = "test-arithmetic";
  Json settings;  // null: not stated
  std::string prompt = "Hi";
  int max_tokens = 2;
  std::vector<int32_t> prompt_tokens = {1, 5};
  std::vector<int32_t> generated_tokens = {3, 2};
  std::vector<int32_t> teacher_tokens;
  std::map<std::string, std::vector<float>> tensors;  // by trace name, shape [1, n]
  std::map<std::string, size_t> n_rows = {};          // of those of another shape, [rows, n / rows]
  std::vector<std::vector<float>> logits;             // rows; none: no logits.safetensors
  bool with_values = true;                            // write tensors.safetensors
  int rms_digits = 0;                                 // that the records state; 0: all
  std::vector<std::string> order;                     // of execution, all names; empty: that of the known stages

  // Two layers of a few stages, prefill and one decode step, four logits that choose the tokens above.
  static RunBuilder example();

  // Written below `folder`, which gets a new sub-folder.
  trace::EngineRun build(const TemporaryFolder& folder) const;
};

}  // namespace tern::test
