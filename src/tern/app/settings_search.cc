#include "tern/app/settings_search.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "tern/sweep/environment.h"

namespace tern::app {
namespace {

// Environment variables as an object's life; an empty value is an absent one. Nothing else runs in this
// process meanwhile.
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

bool replace_all(std::string& text, const std::string& from, const std::string& to) {
  bool found = false;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
    found = true;
  }
  return found;
}

bool is_of_the_run(std::string_view name) { return name == "model" || name == "tokenizer" || name == "threads"; }

class SettingsSearch {
 public:
  SettingsSearch(const std::vector<VariedSetting>& settings, const TrialOptions& options, Trials trials)
      : settings_(settings), options_(options), trials_(std::move(trials)) {}

  Result<Found> find() {
    TERN_RETURN_IF_ERROR(find_out_what_the_subject_has());
    if (!trials_.has_reference()) {
      TERN_RETURN_IF_ERROR(with({}, [&]() -> Status { return trials_.record_reference(); }));
    }
    std::vector<std::string> names;
    for (const VariedSetting& setting : settings_) {
      names.push_back(fmt::format("{}={}", setting.name, setting.bad));
    }
    return find_changes(
        names, [&](const std::vector<size_t>& changes) { return with(changes, [&] { return trials_.run(); }); });
  }

 private:
  // What a trial runs with.
  struct Trial {
    std::string subject;
    std::vector<std::string> subject_settings;  // "KEY=VALUE"
    std::vector<std::unique_ptr<ScopedVariable>> variables;
  };

  Status find_out_what_the_subject_has() {
    Trial trial{options_.subject, options_.subject_settings, {}};
    for (const VariedSetting& setting : settings_) {
      if (!is_of_the_run(setting.name)) {
        replace_all(trial.subject, "{" + setting.name + "}", setting.good);
      }
    }
    TERN_RETURN_IF_ERROR(trials_.choose_subject(trial.subject, trial.subject_settings));
    for (const peer::KnownSetting& known : trials_.known_settings()) {
      keys_.insert(known.key);
    }
    return {};
  }

  // Does `action` while the settings `changes` are bad and the others good.
  template <class Action>
  auto with(const std::vector<size_t>& changes, const Action& action) -> decltype(action()) {
    Trial trial{options_.subject, options_.subject_settings, {}};
    for (size_t i = 0; i < settings_.size(); ++i) {
      const bool is_bad = std::find(changes.begin(), changes.end(), i) != changes.end();
      TERN_RETURN_IF_ERROR(apply(settings_[i].name, is_bad ? settings_[i].bad : settings_[i].good, trial));
    }
    TERN_RETURN_IF_ERROR(trials_.choose_subject(trial.subject, trial.subject_settings));
    return action();
  }

  Status apply(const std::string& name, const std::string& value, Trial& trial) {
    if (name == "model") {
      trials_.setting().model = value;
    } else if (name == "tokenizer") {
      trials_.setting().tokenizer = value;
    } else if (name == "threads") {
      TERN_ASSIGN_OR_RETURN(trials_.setting().threads, sweep::thread_count(value.c_str(), nullptr));
    } else if (replace_all(trial.subject, "{" + name + "}", value)) {
      return {};
    } else if (keys_.contains(name)) {
      std::erase_if(trial.subject_settings, [&](const std::string& set) { return set.starts_with(name + "="); });
      if (!value.empty()) trial.subject_settings.push_back(fmt::format("{}={}", name, value));
    } else {
      trial.variables.push_back(std::make_unique<ScopedVariable>(name, value));
    }
    return {};
  }

  const std::vector<VariedSetting>& settings_;
  const TrialOptions& options_;
  Trials trials_;
  std::set<std::string> keys_;  // of the subject's settings
};

}  // namespace

Result<VariedSetting> parse_varied_setting(const std::string& text) {
  const std::string where = "--set " + printable(text);
  const size_t equals = text.find('=');
  const size_t comma = text.find(',', equals == std::string::npos ? 0 : equals);
  if (equals == std::string::npos || comma == std::string::npos || text.find(',', comma + 1) != std::string::npos) {
    return fail(ErrorCode::kUsage, where, "is not of the form NAME=GOOD,BAD",
                "values cannot hold a comma; an empty one is an unset variable");
  }
  VariedSetting setting = {text.substr(0, equals), text.substr(equals + 1, comma - equals - 1), text.substr(comma + 1)};
  if (const std::string problem = problem_with_name(setting.name); !problem.empty()) {
    return fail(ErrorCode::kUsage, where, "its name " + problem);
  }
  if (setting.good == setting.bad) {
    return fail(ErrorCode::kUsage, where, "has the same value twice");
  }
  return setting;
}

Result<FoundSettings> find_settings(const SettingsOptions& options, const Interrupt& interrupt) {
  std::vector<VariedSetting> settings;
  TrialOptions trial = options.trial;
  for (const std::string& text : options.settings) {
    TERN_ASSIGN_OR_RETURN(VariedSetting setting, parse_varied_setting(text));
    if (setting.name == "model" && trial.model.empty()) {
      trial.model = setting.good;
    }
    settings.push_back(std::move(setting));
  }
  if (trial.model.empty()) {
    return fail(ErrorCode::kUsage, "--model", "is missing", "name one, or two with --set model=GOOD,BAD");
  }
  TrialOptions opened = trial;
  opened.subject = "auto";  // its places are not filled in yet
  opened.subject_settings.clear();
  TERN_ASSIGN_OR_RETURN(Trials trials, Trials::open(opened, interrupt));
  TERN_ASSIGN_OR_RETURN(Found found, SettingsSearch(settings, trial, std::move(trials)).find());
  FoundSettings out{settings.size(), {}, std::move(found)};
  for (const size_t i : out.found.changes) {
    out.changes.push_back(settings[i]);
  }
  return out;
}

std::string settings_text(const FoundSettings& settings) {
  std::string text = fmt::format(
      "{} of {} settings {}:\n", settings.changes.size(), settings.n_settings,
      settings.changes.size() == 1 ? "is enough to make it bad" : "make it bad together, and each of them is needed");
  for (const VariedSetting& setting : settings.changes) {
    text += fmt::format("  {}: '{}' -> '{}'\n", setting.name, printable(setting.good), printable(setting.bad));
  }
  return text + found_text(settings.found);
}

Json to_json(const FoundSettings& settings) {
  Json json = to_json(settings.found);
  json["changes"] = Json::array();
  for (const VariedSetting& setting : settings.changes) {
    json["changes"].push_back({{"name", setting.name}, {"good", setting.good}, {"bad", setting.bad}});
  }
  return json;
}

}  // namespace tern::app
