#include "tern/cli/pack_record.h"

#include <memory>

#include "tern/app/live_reference.h"
#include "tern/app/pack_text.h"
#include "tern/app/record_pack.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/print.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

Result<int> record(const app::RecordPackOptions& options) {
  const Interrupt interrupt;
  TERN_ASSIGN_OR_RETURN(const std::optional<trace::Pack> pack, app::record_pack(options, interrupt));
  if (!pack) {
    print_err("\ntern: interrupted; nothing was recorded\n");
    return app::exit_code_of_signal(interrupt.signal());
  }
  print_out(app::pack_text(*pack));
  return 0;
}

}  // namespace

void add_pack_record(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("record", "Run a live engine and make a pack of what it computed");
  auto options = std::make_shared<app::RecordPackOptions>();
  command
      ->add_option("--reference", options->reference,
                   "The engine: " + app::engine_registry().forms([](const peer::EngineScheme& s) {
                     return s.traits.runs;
                   }) + " (see tern sweep --help)")
      ->required();
  add_setting_option(*command, "--reference", options->settings);
  command->add_option("--model", options->model, "The GGUF model")->required();
  command->add_option("--tokenizer", options->tokenizer, "Its tokenizer.json (or a GGUF with a vocabulary)")
      ->required();
  command->add_option("--out", options->out, "The pack's folder; must not exist")->required();
  command->add_option("--scenarios", options->scenarios,
                      "TOML file with [[scenario]] name, prompt, max_tokens [the sweep's three]");
  command->add_flag("--values", options->contents.values, "Keep every traced tensor's values, too");
  command
      ->add_option("--top-logits", options->contents.top_logits,
                   "Keep only the so many largest logits of each row, and their log-sum-exp [all of them]")
      ->check(in_range(size_t{1}, size_t{1} << 31));
  add_run_setting_options(*command, options->setting);
  command->add_option("--reference-arithmetic", options->arithmetic,
                      "The rounding rules that a live reference is known to follow, e.g. bitnet.cpp-x86-64");
  command->footer(
      "Example: tern pack record --reference bitnet.cpp:/opt/bitnet.cpp --model m.gguf --tokenizer tokenizer.json "
      "--top-logits 64 --out m-reference");
  command->callback([options, &action] { action = [options] { return record(*options); }; });
}

}  // namespace tern::cli
