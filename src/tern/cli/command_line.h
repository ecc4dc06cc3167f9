// The command line as the commands declare it: a command, its options and what their values must be. Behind it stands
// CLI11, whose header alone takes four seconds to compile: only command_line.cc includes it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace tern::cli {

// What the value of an option must be. The help shows it beside the option.
class ValueCheck {
 public:
  explicit ValueCheck(const ::CLI::Validator& validator);
  const ::CLI::Validator& validator() const { return *validator_; }

 private:
  std::shared_ptr<const ::CLI::Validator> validator_;
};

// A number of type T, `low` and `high` included. T: int, size_t or double.
template <class T>
ValueCheck in_range(T low, T high);
ValueCheck positive_number();
ValueCheck one_of(const std::vector<std::string>& words);

// One option or flag. Each setter returns the option itself; the names and meanings are CLI11's.
class CommandOption {
 public:
  explicit CommandOption(::CLI::Option& option) : option_(option) {}
  CommandOption(const CommandOption&) = delete;
  CommandOption& operator=(const CommandOption&) = delete;

  CommandOption* required();
  // The help shows the value that the variable has now.
  CommandOption* capture_default_str();
  CommandOption* default_str(const std::string& shown);
  CommandOption* check(const ValueCheck& check);
  // Returns what is wrong with a value; empty: nothing.
  CommandOption* check(const std::function<std::string(const std::string&)>& complaint);
  CommandOption* excludes(CommandOption* other);
  CommandOption* needs(CommandOption* other);
  CommandOption* each(const std::function<void(std::string)>& use);
  CommandOption* delimiter(char separator);
  CommandOption* allow_extra_args(bool allow);
  // How many values the command line gave.
  size_t count() const;

 private:
  ::CLI::Option& option_;
};

// A command or a group of commands. What its functions return lives as long as it does.
class Command {
 public:
  Command(const std::string& help, const std::string& name);
  explicit Command(::CLI::App& app);
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  Command* add_subcommand(const std::string& name, const std::string& help);
  void require_subcommand(size_t count);
  void set_version_flag(const std::string& name, const std::string& version);
  // `value` holds the default and receives what the command line gives. T: see the end of command_line.cc.
  template <class T>
  CommandOption* add_option(const std::string& name, T& value, const std::string& help);
  CommandOption* add_option(const std::string& name, const std::function<void(const std::string&)>& use,
                            const std::string& help);
  CommandOption* add_flag(const std::string& name, bool& value, const std::string& help);
  void footer(const std::string& text);
  void callback(const std::function<void()>& chosen);

  // Reads the process's arguments and calls the callback of the command that they choose. Returns the exit code where
  // the arguments end the process: after --help or --version, or because CLI11 printed what is wrong with them.
  // Errors: kUsage, for a word that is not a command.
  Result<std::optional<int>> parse(int argc, char** argv);

 private:
  CommandOption* keep(::CLI::Option* option);

  std::unique_ptr<::CLI::App> owned_;
  ::CLI::App& app_;
  std::vector<std::unique_ptr<Command>> commands_;
  std::vector<std::unique_ptr<CommandOption>> options_;
};

}  // namespace tern::cli
