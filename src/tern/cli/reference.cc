#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/app/reference_check.h"
#include "tern/base/json_format.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/report/writers/comparison.h"

namespace tern::cli {
namespace {

namespace fs = std::filesystem;

std::string adapters(const peer::EngineRegistry& registry) {
  return registry.forms([](const peer::EngineScheme& scheme) { return scheme.has_adapter; });
}

Result<int> build(const std::string& text) {
  const peer::EngineRegistry registry = app::engine_registry();
  TERN_ASSIGN_OR_RETURN(peer::EngineSpec spec, registry.parse(text, "--reference"));
  const peer::OpenOptions options = app::reference_options("--reference");
  if (spec.scheme == "auto") {
    spec = {"bitnet.cpp", options.bitnet_cpp_dir.string()};
  }
  // Null for bitnet.cpp where the folder of adapters is gone; open() then states what there is.
  const peer::EngineScheme* const scheme = registry.find(spec.scheme);
  if (scheme != nullptr && !scheme->has_adapter) {
    return fail(ErrorCode::kUsage, "--reference " + printable(text), "needs no adapter",
                "only these do: " + adapters(registry));
  }
  TERN_ASSIGN_OR_RETURN(const peer::OpenedEngine opened, registry.open(spec, {}, options));
  // What an adapter does not state is left out.
  const auto print = [](std::string_view label, const Json& value) {
    if (value.is_string()) {
      fmt::print("{:<10}{}\n", label, printable(value.get<std::string>(), 1000));
    }
  };
  const auto stated = [](const Json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object.at(key) : Json();
  };
  const Json facts = stated(opened.details, "engine");
  const Json layout = stated(opened.details, "layout");
  print("Engine:", opened.engine);
  print("Found:", layout.is_string() ? opened.spec + " (" + layout.get<std::string>() + ")" : opened.spec);
  print("Adapter:", stated(opened.details, "adapter"));
  for (const Json& library : stated(facts, "libraries")) {
    print("Library:", stated(library, "path"));
    print("  sha256:", stated(library, "sha256"));
  }
  print("Built for:", stated(facts, "system_info"));
  print("CPU:", stated(facts, "cpu"));
  return 0;
}

struct CheckOptions {
  std::string reference = "auto";
  std::vector<std::string> settings;  // of the reference, "KEY=VALUE"
  std::string model = app::bundled_model();
  std::string tokenizer;  // empty: tokenizer.json beside the model, or the GGUF's own vocabulary
  std::string prompt = "Count: 1,2,3,";
  std::vector<int32_t> token_ids;
  int max_tokens = 4;
  app::RunSettingOptions setting;
  app::AskOracle ask = app::AskOracle::kAuto;
  bool json = false;
};

std::string_view symbol(outcome::ReferenceCheck::Status status) {
  return status == outcome::ReferenceCheck::Status::kPassed   ? "ok"
         : status == outcome::ReferenceCheck::Status::kFailed ? "FAILED"
                                                              : "skipped";
}

void print_library(const peer::OpenedEngine& opened) {
  const auto print = [](std::string_view label, const Json& value) {
    if (value.is_string()) {
      fmt::print("{:<12}{}\n", label, printable(value.get<std::string>(), 1000));
    }
  };
  fmt::print("{:<12}{}{}\n", "reference", printable(opened.spec, 1000),
             opened.engine.empty() ? "" : " (" + printable(opened.engine) + ")");
  if (!opened.settings.empty()) {
    print("settings", peer::settings_text(opened.settings));
  }
  if (!opened.details.is_object()) {
    return;
  }
  const Json engine = opened.details.value("engine", Json::object());
  if (!engine.is_object()) {
    return;
  }
  for (const Json& library : engine.value("libraries", Json::array())) {
    print("library", library["path"]);
    print("  sha256", library["sha256"]);
  }
  for (const char* key : {"version", "commit", "system_info", "cpu"}) {
    print(key, engine.value(key, Json()));
  }
}

Result<int> check(const CheckOptions& options) {
  const Interrupt interrupt;
  TERN_ASSIGN_OR_RETURN(peer::RunSetting setting, app::run_setting(options.setting));
  const peer::EngineRegistry registry = app::engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, registry.parse(options.reference, "--reference"));
  setting.model = options.model;
  setting.tokenizer = app::tokenizer_for(options.model, options.tokenizer);
  setting.interrupt = &interrupt;
  TERN_ASSIGN_OR_RETURN(const app::OpenedModel model, app::open_model_and_tokenizer(setting.model, setting.tokenizer));
  auto live = registry.open(spec, app::subject_of(options.model, model),
                            app::reference_options("--reference", options.settings, &interrupt));
  if (interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  TERN_ASSIGN_OR_RETURN(const peer::OpenedEngine opened, std::move(live));
  if (!opened.peer) {
    return fail(ErrorCode::kNoVerdict, "--reference " + printable(options.reference), "there is none: " + opened.note,
                "name one: " + registry.forms());
  }
  arbiter::CheckPlan plan(setting);
  plan.reference = opened.peer.get();
  plan.prompt = options.prompt;
  plan.token_ids = options.token_ids;
  plan.max_tokens = options.max_tokens;
  if (!options.json) {
    print_library(opened);
    fmt::print("{:<12}{}\n\n", "model", printable(options.model, 1000));
  }
  const auto result = app::check_reference(plan, options.ask, model, [&](const outcome::ReferenceCheck& done) {
    if (!options.json) {
      fmt::print("{:<8} {}\n         {}\n", symbol(done.status), done.question, printable(done.evidence, 2000));
      std::fflush(stdout);
    }
  });
  if (!result && interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  TERN_RETURN_IF_ERROR(result);
  const auto* failed = result->first_failed();
  if (options.json) {
    Json json = report::reference_check_json(*result);
    json["reference"] = {
        {"kind", opened.kind}, {"spec", opened.spec}, {"engine", opened.engine}, {"details", opened.details}};
    json["model"] = {{"path", options.model}, {"sha256", model.model_facts.sha256}};
    fmt::print("{}", to_json_text(with_format(Document::kCommand, json)));
  } else {
    if (result->cause) {
      fmt::print("\ncause: {} at {} (confidence {:.2f}): {}\n", result->cause->id, result->cause->name,
                 result->cause->confidence, printable(result->cause->evidence, 2000));
    }
    fmt::print("\n{}\n", failed != nullptr ? "mistrusted: it fails the check '" + failed->id + "'"
                                           : "trusted on this model, by these checks");
  }
  return failed != nullptr ? exit_code(ErrorCode::kNoVerdict) : 0;
}

void add_reference_check(Command& group, Action& action) {
  Command* command = group.add_subcommand("check", "What a reference is, and whether it can be trusted on a model");
  auto options = std::make_shared<CheckOptions>();
  command->add_option("--reference", options->reference, "As in a sweep: " + app::engine_registry().forms())
      ->capture_default_str();
  add_setting_option(*command, "--reference", options->settings);
  command->add_option("--model", options->model, "The GGUF to check it on [the bundled model]");
  command->add_option("--tokenizer", options->tokenizer,
                      "Its tokenizer.json [the one beside the model, else the GGUF's own vocabulary]");
  CommandOption* prompt = command->add_option("--prompt", options->prompt, "What to compute")->capture_default_str();
  command->add_option("--token-ids", options->token_ids, "The prompt's token ids instead: 1,2,3")
      ->delimiter(',')
      ->excludes(prompt);
  command->add_option("--max-tokens", options->max_tokens, "Tokens to generate")
      ->check(in_range(1, 1 << 20))
      ->capture_default_str();
  add_run_setting_options(*command, options->setting);
  add_oracle_option(*command, options->ask);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Exit codes: 0 trusted, 4 it cannot run, 5 it fails a check.\n"
      "Example: tern reference check --reference bitnet.cpp:/opt/bitnet.cpp\n"
      "Example: tern reference check --reference llama.cpp:node_modules --model model-f16.gguf");
  command->callback([options, &action] { action = [options] { return check(*options); }; });
}

void add_build(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("build", "Compile the adapter that makes a libllama an engine, and say which library it is");
  auto reference = std::make_shared<std::string>("auto");
  command
      ->add_option("--reference", *reference,
                   adapters(app::engine_registry()) + "; auto is bitnet.cpp in BITNET_CPP_DIR or ~/.cache/bitnet_cpp")
      ->capture_default_str();
  command->footer(
      "Example: tern reference build --reference bitnet.cpp:/opt/bitnet.cpp\n"
      "A sweep does this by itself. Adapters are kept in ~/.cache/tern (XDG_CACHE_HOME) until headers, libraries or\n"
      "tern change.");
  command->callback([reference, &action] { action = [reference] { return build(*reference); }; });
}

}  // namespace

void add_reference(Command& app, Action& action) {
  Command* group = app.add_subcommand("reference", "Live references: bitnet.cpp, llama.cpp and their like");
  group->require_subcommand(1);
  group->footer("Example: tern reference check --reference bitnet.cpp:/opt/bitnet.cpp");
  add_build(*group, action);
  add_reference_check(*group, action);
}

}  // namespace tern::cli
