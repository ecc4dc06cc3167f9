#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "tern/cli/command.h"

namespace {

int run(int argc, char** argv) {
  using namespace tern;
  spdlog::set_default_logger(spdlog::stderr_color_mt("tern"));
  spdlog::set_pattern("%^%l%$: %v");

  CLI::App app{
      "tern says whether an LLM inference engine computes what it should, and if not, where it first goes wrong.",
      "tern"};
  app.set_version_flag("--version", TERN_VERSION);
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
  cli::add_synth(app, action);
  cli::add_bench(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : exit_code(ErrorCode::kUsage);
  }
  const Result<int> result = action();
  if (!result) {
    std::fflush(stdout);
    std::fprintf(stderr, "tern: error: %s\n", result.error().line().c_str());
    return exit_code(result.error().code);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fprintf(stderr, "tern: error: stdout: cannot be written\n");
    return exit_code(ErrorCode::kIo);
  }
  return *result;
}

}  // namespace

int main(int argc, char** argv) {
  // An ignored SIGCHLD would be inherited, and the ends of our children never be seen.
  std::signal(SIGCHLD, SIG_DFL);
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "tern: error: out of memory\n");
    return 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tern: internal error: %s\n", error.what());
    return 70;
  }
}
