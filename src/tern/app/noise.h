// The noise floors of one model on one prompt, stage by stage, and how near right engines come to them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/app/run_setting.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"
#include "tern/trace/stage.h"

namespace tern::app {

struct NoiseOptions : OnePromptOptions {
  std::string recording;  // another engine's run folder or pack with values; empty: none
  int max_tokens = 4;
};

struct NoiseOfStage {
  std::vector<double> floors;               // of each of its tensors
  std::optional<double> inherited;          // relative error with what was inherited, at float16's precision
  std::map<std::string, double> multiples;  // by engine: the largest

  std::optional<double> usual_floor() const;
  std::optional<double> largest_floor() const;
};

struct Noise {
  std::vector<std::string> engines;
  std::map<trace::Stage, NoiseOfStage> stages;

  double largest_multiple() const;
  // No engine's multiple is larger than the verdict allows.
  bool is_within_rounding() const;
};

// Errors: those of run_setting(); kEngine where an engine cannot run; kInvalidInput for a recording without values;
// kUsage for a recording of another prompt.
Result<Noise> measure_noise(const NoiseOptions& options, const Interrupt& interrupt);

// A Markdown table, and a line with the largest multiple.
std::string noise_text(const Noise& noise);
Json to_json(const Noise& noise);

}  // namespace tern::app
