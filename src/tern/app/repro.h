// A tern command, written down so that it does the same again from any folder and in another shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/outcome/facts.h"

namespace tern::app {

std::string absolute_path(const std::string& path);

// An engine as after --subject, with absolute paths. What a command's words mean still depends on where it is started.
// Errors: those of peer::EngineRegistry::parse().
Result<std::string> spec_from_anywhere(const std::string& spec, const std::string& option);

class ReproWords {
 public:
  // Errors: those of own_program().
  static Result<ReproWords> begin(std::string command);

  void add_path(const std::string& path) { words_.push_back(absolute_path(path)); }
  // Nothing where the value is empty.
  void add_option(std::string_view option, const std::string& value);
  void add_flag(std::string_view flag, bool is_set);
  // With its settings ("KEY=VALUE"). Where it is a command, the folder to start it in is kept. Errors: those
  // of spec_from_anywhere().
  Status add_engine(const std::string& option, const std::string& spec, const std::vector<std::string>& settings = {});

  outcome::ReproCommand command(const std::string& output_dir = ".") const;

 private:
  std::vector<std::string> words_;
  bool runs_a_command_ = false;
};

}  // namespace tern::app
