#include "tern/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>

namespace tern::cli {
namespace {

// CLI11 says of an unknown command only that one is required.
Status check_command_word(::CLI::App& app, int argc, char** argv) {
  ::CLI::App* level = &app;
  std::string path = app.get_name();
  for (int i = 1; i < argc && level->get_require_subcommand_min() > 0; ++i) {
    const std::string word = argv[i];
    if (word.starts_with('-')) {
      break;
    }
    ::CLI::App* chosen = nullptr;
    std::string known;
    for (::CLI::App* command : level->get_subcommands([](const ::CLI::App*) { return true; })) {
      chosen = command->check_name(word) ? command : chosen;
      known += (known.empty() ? "" : ", ") + command->get_name();
    }
    if (chosen == nullptr) {
      return fail(ErrorCode::kUsage, path, "there is no command '" + printable(word) + "'", "there are: " + known);
    }
    level = chosen;
    path += " " + word;
  }
  return {};
}

}  // namespace

ValueCheck::ValueCheck(const ::CLI::Validator& validator)
    : validator_(std::make_shared<const ::CLI::Validator>(validator)) {}

template <class T>
ValueCheck in_range(T low, T high) {
  return ValueCheck(::CLI::Range(low, high));
}
template ValueCheck in_range(int, int);
template ValueCheck in_range(size_t, size_t);
template ValueCheck in_range(double, double);

ValueCheck positive_number() { return ValueCheck(::CLI::PositiveNumber); }
ValueCheck one_of(const std::vector<std::string>& words) { return ValueCheck(::CLI::IsMember(words)); }

CommandOption* CommandOption::required() {
  option_.required();
  return this;
}

CommandOption* CommandOption::capture_default_str() {
  option_.capture_default_str();
  return this;
}

CommandOption* CommandOption::default_str(const std::string& shown) {
  option_.default_str(shown);
  return this;
}

CommandOption* CommandOption::check(const ValueCheck& check) {
  option_.check(check.validator());
  return this;
}

CommandOption* CommandOption::check(const std::function<std::string(const std::string&)>& complaint) {
  option_.check(complaint);
  return this;
}

CommandOption* CommandOption::excludes(CommandOption* other) {
  option_.excludes(&other->option_);
  return this;
}

CommandOption* CommandOption::needs(CommandOption* other) {
  option_.needs(&other->option_);
  return this;
}

CommandOption* CommandOption::each(const std::function<void(std::string)>& use) {
  option_.each(use);
  return this;
}

CommandOption* CommandOption::delimiter(char separator) {
  option_.delimiter(separator);
  return this;
}

CommandOption* CommandOption::allow_extra_args(bool allow) {
  option_.allow_extra_args(allow);
  return this;
}

size_t CommandOption::count() const { return option_.count(); }

Command::Command(const std::string& help, const std::string& name)
    : owned_(std::make_unique<::CLI::App>(help, name)), app_(*owned_) {}
Command::Command(::CLI::App& app) : app_(app) {}
Command::~Command() = default;

Command* Command::add_subcommand(const std::string& name, const std::string& help) {
  commands_.push_back(std::make_unique<Command>(*app_.add_subcommand(name, help)));
  return commands_.back().get();
}

void Command::require_subcommand(size_t count) { app_.require_subcommand(static_cast<int>(count)); }

void Command::set_version_flag(const std::string& name, const std::string& version) {
  app_.set_version_flag(name, version);
}

CommandOption* Command::keep(::CLI::Option* option) {
  options_.push_back(std::make_unique<CommandOption>(*option));
  return options_.back().get();
}

template <class T>
CommandOption* Command::add_option(const std::string& name, T& value, const std::string& help) {
  return keep(app_.add_option(name, value, help));
}

CommandOption* Command::add_option(const std::string& name, const std::function<void(const std::string&)>& use,
                                   const std::string& help) {
  return keep(app_.add_option_function<std::string>(name, use, help));
}

CommandOption* Command::add_flag(const std::string& name, bool& value, const std::string& help) {
  return keep(app_.add_flag(name, value, help));
}

void Command::footer(const std::string& text) { app_.footer(text); }
void Command::callback(const std::function<void()>& chosen) { app_.callback(chosen); }

Result<std::optional<int>> Command::parse(int argc, char** argv) {
  TERN_RETURN_IF_ERROR(check_command_word(app_, argc, argv));
  try {
    app_.parse(argc, argv);
  } catch (const ::CLI::ParseError& error) {
    return app_.exit(error) == 0 ? 0 : exit_code(ErrorCode::kUsage);
  }
  return std::nullopt;
}

// The types that options have.
#define TERN_OPTION_OF(type) \
  template CommandOption* Command::add_option<type>(const std::string&, type&, const std::string&)
TERN_OPTION_OF(std::string);
TERN_OPTION_OF(std::filesystem::path);
TERN_OPTION_OF(int);
TERN_OPTION_OF(int64_t);
TERN_OPTION_OF(double);
TERN_OPTION_OF(uint64_t);
TERN_OPTION_OF(std::optional<int>);
TERN_OPTION_OF(std::optional<size_t>);
TERN_OPTION_OF(std::vector<int32_t>);
TERN_OPTION_OF(std::vector<std::string>);
TERN_OPTION_OF(std::vector<std::filesystem::path>);
#undef TERN_OPTION_OF

}  // namespace tern::cli
