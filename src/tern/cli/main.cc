#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>

#include "tern/app/build_facts.h"
#include "tern/app/commit_step.h"
#include "tern/cli/command.h"
#include "tern/kernels/dispatch.h"

namespace {

using namespace tern;

int report(const Error& error) {
  std::fflush(stdout);
  std::fprintf(stderr, "tern: error: %s\n", error.line().c_str());
  return exit_code(error.code);
}

// `code`, where everything that was printed has been written.
int with_output_written(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
    return code;
  }
  std::fprintf(stderr, "tern: error: stdout: cannot be written\n");
  return exit_code(ErrorCode::kIo);
}

int run(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("tern"));
  spdlog::set_pattern("%^%l%$: %v");

  cli::Command app{
      "tern says whether an LLM inference engine computes what it should, and if not, where it first goes wrong.",
      "tern"};
  app.set_version_flag("--version", tern::app::version());
  app.require_subcommand(1);
  app.footer(
      "Example: tern sweep models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json /tmp/crossval\n"
      "Exit codes: 0 parity, 1 divergence, 2 usage, 3 bad input, 4 an engine failed, 5 no verdict possible.");
  cli::Action action;
  cli::add_sweep(app, action);
  cli::add_run(app, action);
  cli::add_compare(app, action);
  cli::add_inspect(app, action);
  cli::add_validate(app, action);
  cli::add_tokenize(app, action);
  cli::add_pack(app, action);
  cli::add_reference(app, action);
  cli::add_selftest(app, action);
  cli::add_bisect(app, action);
  cli::add_noise(app, action);
  cli::add_oracle_tensor(app, action);
  cli::add_synth(app, action);
  cli::add_bench(app, action);

  const Result<std::optional<int>> ended = app.parse(argc, argv);
  if (!ended) {
    return report(ended.error());
  }
  if (*ended) {
    return with_output_written(**ended);
  }
  // Of every command, and before it does anything: in the engines that it starts it would look like their failure.
  if (const auto table = kernels::choose_table(); !table) {
    return report(table.error());
  }
  const Result<int> result = action();
  return result ? with_output_written(*result) : report(result.error());
}

}  // namespace

int main(int argc, char** argv) {
  int code = 70;
  try {
    code = run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "tern: error: out of memory\n");
    code = 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tern: internal error: %s\n", error.what());
  }
  return tern::app::exit_code_for_git(std::span(argv, static_cast<size_t>(argc)), code);
}
