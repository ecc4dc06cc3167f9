#include "tern/app/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "tern/app/draws.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct SelftestOptions : app::OnePromptOptions {
  size_t n_draws = 0;  // 0: the fixed list
  uint64_t seed = 1;
};

int n_at_a_time() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u)); }

Result<int> draws(const SelftestOptions& options, const peer::RunSetting& setting, const ScratchFolder& scratch) {
  app::DrawsPlan plan(setting);
  plan.n_draws = options.n_draws;
  plan.seed = options.seed;
  plan.folder = scratch.path();
  plan.n_at_a_time = n_at_a_time();
  TERN_ASSIGN_OR_RETURN(const app::DrawsResult result,
                        app::draw_and_judge(plan, [](const std::string& line) { print_err(line + "\n"); }));
  print_out(options.json ? to_json_text(app::to_json(result)) : app::to_text(result));
  return result.holds() ? 0 : 1;
}

Result<int> selftest(const SelftestOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, app::run_setting(options, interrupt));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  if (options.n_draws > 0) {
    return draws(options, setting, scratch);
  }
  app::SelftestPlan plan(setting);
  plan.prompt = options.prompt;
  plan.folder = scratch.path();
  plan.n_at_a_time = n_at_a_time();
  TERN_ASSIGN_OR_RETURN(const std::vector<app::SelftestRow> rows, app::selftest(plan, [](const app::SelftestRow& row) {
                          print_err(fmt::format("{:<26} {}\n", row.fault, result_name(row.result)));
                        }));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(rows)))
                         : app::selftest_text(rows));
  return app::n_rows_with(rows, app::SelftestRow::Result::kWrong) == 0 ? 0 : 1;
}

}  // namespace

void add_selftest(Command& app, Action& action) {
  auto* command = app.add_subcommand("selftest", "Prove that the judge can fail: engines with known faults");
  auto options = std::make_shared<SelftestOptions>();
  add_one_prompt_options(*command, *options);
  auto* draws = command
                    ->add_option("--draws", options->n_draws,
                                 "Instead of the fixed list and --prompt: draw so many faults, any constant, layer, "
                                 "rows and side, half of them where the subject has hashes and RMS only")
                    ->check(in_range(1, 100000));
  command->add_option("--seed", options->seed, "Of the draws")->needs(draws)->capture_default_str();
  command->footer(fmt::format(
      "Each engine really has its fault and runs as a child process. The judge must say where it first goes wrong,\n"
      "and why; engines that are right must pass, and runs that prove nothing must be mistrusted.\n"
      "With --draws, faults run on --model and on four small random models, on prompts that are drawn too; a tenth as\n"
      "many pairs of right engines are drawn besides. A draw is placed where first_divergence is the first tensor\n"
      "that the fault changes, and named where the cause has its id and states what was drawn, fractions within 2 %.\n"
      "Exit codes: 0 all right, 1 the judge was wrong at least once; with --draws, 1 where fewer than\n"
      "{:.0f} % are placed or {:.0f} % named ({:.0f} % and {:.0f} % where the subject has hashes only),\n"
      "or a right engine is blamed.\n"
      "Example: tern selftest\n"
      "         tern selftest --draws 200 --seed 7",
      100 * app::kWithValues.placed, 100 * app::kWithValues.named, 100 * app::kWithHashes.placed,
      100 * app::kWithHashes.named));
  command->callback([options, &action] {
    action = [options] {
      return app::until_interrupted([&](const Interrupt& interrupt) { return selftest(*options, interrupt); });
    };
  });
}

}  // namespace tern::cli
