// `tern bisect settings`: which of the settings that differ between a good and a bad run make the difference.
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <memory>
#include <optional>

#include "tern/app/bisect_trial.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"
#include "tern/sweep/environment.h"

namespace tern::cli {
namespace {

struct SettingsOptions {
  app::TrialOptions trial;
  std::vector<std::string> settings;  // "NAME=GOOD,BAD"
  bool json = false;
};

struct Setting {
  std::string name, good, bad;
};

// Environment variables as an object's life; an empty value is an absent one. Nothing else runs in this process
// meanwhile.
class ScopedVariable {
 public:
  ScopedVariable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str())) {
      before_ = before;
    }
    set(value.empty() ? std::nullopt : std::optional(value));
  }
  ~ScopedVariable() { set(before_); }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  void set(const std::optional<std::string>& value) const {
    if (value) {
      ::setenv(name_.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }
  std::string name_;
  std::optional<std::string> before_;
};

// Why nothing would come of setting this variable; empty if something may.
std::string problem_with_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(),
                                 [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
  if (name.empty() || !plain || std::isdigit(static_cast<unsigned char>(name.front())) != 0) {
    return "is no name of a variable";
  }
  for (const std::string_view fixed : {"BITNET_DETERMINISTIC", "BITNET_SEED", "BITNET_TRACE_DIR"}) {
    if (name == fixed) {
      return "is set by tern for every run";
    }
  }
  for (const std::string_view place :
       {"prompt", "token_ids", "teacher_tokens", "max_tokens", "seed", "out", "trace_dir"}) {
    if (name == place) {
      return "is a place that tern fills in";
    }
  }
  return name == "RAYON_NUM_THREADS" ? "is set by tern for every run: use threads=GOOD,BAD" : "";
}

Result<Setting> parse_setting(const std::string& text) {
  const std::string where = "--set " + printable(text);
  const size_t equals = text.find('=');
  const size_t comma = text.find(',', equals == std::string::npos ? 0 : equals);
  if (equals == std::string::npos || comma == std::string::npos || text.find(',', comma + 1) != std::string::npos) {
    return fail(ErrorCode::kUsage, where, "is not of the form NAME=GOOD,BAD",
                "values cannot hold a comma; an empty one is an unset variable");
  }
  Setting setting = {text.substr(0, equals), text.substr(equals + 1, comma - equals - 1), text.substr(comma + 1)};
  if (const std::string problem = problem_with_name(setting.name); !problem.empty()) {
    return fail(ErrorCode::kUsage, where, "its name " + problem);
  }
  if (setting.good == setting.bad) {
    return fail(ErrorCode::kUsage, where, "has the same value twice");
  }
  return setting;
}

bool replace_all(std::string& text, const std::string& from, const std::string& to) {
  bool found = false;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
    found = true;
  }
  return found;
}

class SettingsSearch {
 public:
  SettingsSearch(std::vector<Setting> settings, std::string subject, app::Trials trials)
      : settings_(std::move(settings)), subject_(std::move(subject)), trials_(std::move(trials)) {}

  Result<app::Found> find() {
    if (!trials_.has_reference()) {
      TERN_RETURN_IF_ERROR(with({}, [&]() -> Status { return trials_.record_reference(); }));
    }
    std::vector<std::string> names;
    for (const Setting& setting : settings_) {
      names.push_back(fmt::format("{}={}", setting.name, setting.bad));
    }
    return app::find_changes(
        names, [&](const std::vector<size_t>& changes) { return with(changes, [&] { return trials_.run(); }); });
  }

 private:
  // Does `action` while the settings `changes` are bad and the others good.
  template <class Action>
  auto with(const std::vector<size_t>& changes, const Action& action) -> decltype(action()) {
    std::string subject = subject_;
    std::vector<std::unique_ptr<ScopedVariable>> variables;
    for (size_t i = 0; i < settings_.size(); ++i) {
      const bool is_bad = std::find(changes.begin(), changes.end(), i) != changes.end();
      const std::string& value = is_bad ? settings_[i].bad : settings_[i].good;
      TERN_RETURN_IF_ERROR(apply(settings_[i].name, value, subject, variables));
    }
    TERN_RETURN_IF_ERROR(trials_.choose_subject(subject));
    return action();
  }

  Status apply(const std::string& name, const std::string& value, std::string& subject,
               std::vector<std::unique_ptr<ScopedVariable>>& variables) {
    if (name == "model") {
      trials_.setting().model = value;
    } else if (name == "tokenizer") {
      trials_.setting().tokenizer = value;
    } else if (name == "threads") {
      TERN_ASSIGN_OR_RETURN(trials_.setting().threads, sweep::thread_count(value.c_str(), nullptr));
    } else if (!replace_all(subject, "{" + name + "}", value)) {
      variables.push_back(std::make_unique<ScopedVariable>(name, value));
    }
    return {};
  }

  std::vector<Setting> settings_;
  std::string subject_;
  app::Trials trials_;
};

void print(const std::vector<Setting>& settings, const app::Found& found, bool as_json) {
  if (as_json) {
    Json json = to_json(found);
    json["changes"] = Json::array();
    for (const size_t i : found.changes) {
      json["changes"].push_back({{"name", settings[i].name}, {"good", settings[i].good}, {"bad", settings[i].bad}});
    }
    fmt::print("{}", to_json_text(with_format(Document::kCommand, json)));
    return;
  }
  fmt::print(
      "{} of {} settings {}:\n", found.changes.size(), settings.size(),
      found.changes.size() == 1 ? "is enough to make it bad" : "make it bad together, and each of them is needed");
  for (const size_t i : found.changes) {
    fmt::print("  {}: '{}' -> '{}'\n", settings[i].name, printable(settings[i].good), printable(settings[i].bad));
  }
  fmt::print("{}", app::found_text(found));
}

Result<int> search(const SettingsOptions& options, const Interrupt& interrupt) {
  std::vector<Setting> settings;
  app::TrialOptions trial = options.trial;
  for (const std::string& text : options.settings) {
    TERN_ASSIGN_OR_RETURN(Setting setting, parse_setting(text));
    if (setting.name == "model" && trial.model.empty()) {
      trial.model = setting.good;
    }
    settings.push_back(std::move(setting));
  }
  if (trial.model.empty()) {
    return fail(ErrorCode::kUsage, "--model", "is missing", "name one, or two with --set model=GOOD,BAD");
  }
  app::TrialOptions opened = trial;
  opened.subject = "auto";  // its places are not filled in yet
  TERN_ASSIGN_OR_RETURN(app::Trials trials, app::Trials::open(opened, interrupt));
  TERN_ASSIGN_OR_RETURN(const app::Found found, SettingsSearch(settings, trial.subject, std::move(trials)).find());
  print(settings, found, options.json);
  return 0;
}

}  // namespace

void add_bisect_settings(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("settings", "Find the settings that make one run of an engine compute other than another");
  auto options = std::make_shared<SettingsOptions>();
  command
      ->add_option(
          "--set", options->settings,
          "A setting that differs: NAME=GOOD,BAD; as often as there are such. {NAME} in --subject is replaced by "
          "its value; model, tokenizer and threads are those of the run; any other is an environment variable, "
          "which an empty value leaves unset")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--model", options->trial.model, "The GGUF model");
  command->add_option("--subject", options->trial.subject, "The engine, in the forms of tern sweep")
      ->capture_default_str();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Exit codes: 0 found, 3 unreadable, 5 the good settings are not good or the bad ones not bad.\n"
      "Example: tern bisect settings --model m.gguf --subject 'command:./{build}/engine' --set build=old,new \\\n"
      "           --set OMP_NUM_THREADS=1,8 --set GGML_FLASH_ATTN=,1");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
