#include "tern/app/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>

#include "tern/app/until_interrupted.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

using app::SelftestRow;

void print(const std::vector<SelftestRow>& rows) {
  const auto cell = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  fmt::print("| fault | first differs at | found at | named | |\n| --- | --- | --- | --- | --- |\n");
  for (const SelftestRow& row : rows) {
    fmt::print("| {} | {} | {} | {} | {} |\n", row.fault, cell(row.injected), cell(row.found_at), row.found,
               result_name(row.result));
  }
}

Result<int> selftest(const app::OnePromptOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, app::run_setting(options, interrupt));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  app::SelftestPlan plan(setting);
  plan.prompt = options.prompt;
  plan.folder = scratch.path();
  plan.n_at_a_time = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
  TERN_ASSIGN_OR_RETURN(const std::vector<SelftestRow> rows, app::selftest(plan, [](const SelftestRow& row) {
                          std::fprintf(stderr, "%-26s %s\n", row.fault.c_str(),
                                       std::string(result_name(row.result)).c_str());
                        }));
  const auto count = [&](SelftestRow::Result result) {
    return std::count_if(rows.begin(), rows.end(), [&](const SelftestRow& row) { return row.result == result; });
  };
  if (options.json) {
    fmt::print("{}", to_json_text(app::to_json(rows)));
  } else {
    print(rows);
    fmt::print("\n{} right, {} named but seen late, {} hidden by rounding, {} wrong, {} that this model cannot have\n",
               count(SelftestRow::Result::kRight), count(SelftestRow::Result::kLate),
               count(SelftestRow::Result::kHidden), count(SelftestRow::Result::kWrong),
               count(SelftestRow::Result::kNotOnThisModel));
  }
  return count(SelftestRow::Result::kWrong) == 0 ? 0 : 1;
}

}  // namespace

void add_selftest(Command& app, Action& action) {
  auto* command = app.add_subcommand("selftest", "Prove that the judge can fail: engines with known faults");
  auto options = std::make_shared<app::OnePromptOptions>();
  add_one_prompt_options(*command, *options);
  command->footer(
      "Each engine really has its fault and runs as a child process. The judge must say where it first goes wrong, "
      "and\n"
      "why; engines that are right must pass, and runs that prove nothing must be mistrusted.\n"
      "Exit codes: 0 all right, 1 the judge was wrong at least once.\n"
      "Example: tern selftest");
  command->callback([options, &action] {
    action = [options] {
      return app::until_interrupted([&](const Interrupt& interrupt) { return selftest(*options, interrupt); });
    };
  });
}

}  // namespace tern::cli
