#include "tern/app/sweep_options.h"

#include <fmt/format.h>

#include "tern/app/repro.h"

namespace tern::app {

Result<outcome::ReproCommand> repro_of(const SweepOptions& options, const peer::RunSetting& setting,
                                       const outcome::EngineFacts& reference) {
  TERN_ASSIGN_OR_RETURN(ReproWords words, ReproWords::begin("sweep"));
  words.add_path(options.model);
  words.add_path(options.tokenizer);
  TERN_RETURN_IF_ERROR(words.add_engine("--reference", reference.spec, options.reference_settings));
  TERN_RETURN_IF_ERROR(words.add_engine("--subject", options.subject, options.subject_settings));
  words.add_option("--threads", std::to_string(setting.threads));
  words.add_option("--timeout", fmt::format("{}", setting.timeout_s));
  words.add_option("--oracle", oracle_word(options.ask));
  words.add_option("--check-reference", options.check_reference);
  words.add_option("--reference-arithmetic", options.reference_arithmetic);
  if (!options.scenarios.empty()) {
    words.add_option("--scenarios", absolute_path(options.scenarios));
  }
  if (!options.tolerances.empty()) {
    words.add_option("--tolerances", absolute_path(options.tolerances));
  }
  for (const std::string& pattern : options.allow_missing) {
    words.add_option("--allow-missing", pattern);
  }
  if (options.level) {
    words.add_option("--level", std::string(trace::level_name(*options.level)));
  }
  words.add_flag("--require-reference", options.require_reference);
  words.add_flag("--allow-model-mismatch", options.allow_model_mismatch);
  words.add_flag("--exact", options.exact);
  words.add_flag("--tolerant", options.tolerant);
  if (options.stages != "known") {
    words.add_option("--stages", options.stages);
  }
  words.add_flag("--dump-tensors", options.dump_tensors);
  words.add_flag("--stop-at-divergence", options.stop_at_divergence);
  return words.command(options.output_dir);
}

}  // namespace tern::app
