// A tern command, written down so that it does the same again from any folder and in another shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/compare/outcome.h"

namespace tern::cli {

std::string absolute_path(const std::string& path);

class ReproWords {
 public:
  // Errors: those of own_program().
  static Result<ReproWords> begin(std::string command);

  void add_path(const std::string& path) { words_.push_back(absolute_path(path)); }
  // Nothing where the value is empty.
  void add_option(std::string_view option, const std::string& value);
  void add_flag(std::string_view flag, bool is_set);
  // An engine as after --subject. What a command's words mean may depend on where it is started: that is kept.
  void add_engine(std::string_view option, const std::string& spec);

  compare::ReproCommand command(const std::string& output_dir) const;

 private:
  std::vector<std::string> words_;
  bool runs_a_command_ = false;
};

}  // namespace tern::cli
