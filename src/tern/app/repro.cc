#include "tern/app/repro.h"

#include "tern/app/live_reference.h"
#include "tern/app/own_engine.h"
#include "tern/base/environment.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

// What tern and the engines that it starts read, and what decides which libraries an engine loads.
constexpr const char* kVariables[] = {
    "BITNET_CPP_DIR",  "BITNET_DETERMINISTIC", "BITNET_SEED",     "CROSSVAL_TIMEOUT_SECS", "CXX",
    "LD_LIBRARY_PATH", "LD_PRELOAD",           "OMP_NUM_THREADS", "RAYON_NUM_THREADS",     "TERN_ADAPTER_PATH",
    "TERN_ISA"};

struct SpecFromAnywhere {
  std::string text;
  peer::EngineTraits traits;
};

Result<SpecFromAnywhere> from_anywhere(const std::string& spec, const std::string& option) {
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(peer::EngineSpec parsed, registry.parse(spec, option));
  const peer::EngineTraits traits = registry.find(parsed.scheme)->traits;
  if (traits.argument_is_path) {
    parsed.argument = absolute_path(parsed.argument);
  }
  return SpecFromAnywhere{parsed.text(), traits};
}

}  // namespace

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return error ? path : absolute.string();
}

Result<std::string> spec_from_anywhere(const std::string& spec, const std::string& option) {
  TERN_ASSIGN_OR_RETURN(SpecFromAnywhere absolute, from_anywhere(spec, option));
  return std::move(absolute.text);
}

Result<ReproWords> ReproWords::begin(std::string command) {
  TERN_ASSIGN_OR_RETURN(const fs::path program, own_program());
  ReproWords words;
  words.words_ = {program.string(), std::move(command)};
  return words;
}

void ReproWords::add_option(std::string_view option, const std::string& value) {
  if (!value.empty()) {
    words_.emplace_back(option);
    words_.push_back(value);
  }
}

void ReproWords::add_flag(std::string_view flag, bool is_set) {
  if (is_set) {
    words_.emplace_back(flag);
  }
}

Status ReproWords::add_engine(const std::string& option, const std::string& spec,
                              const std::vector<std::string>& settings) {
  TERN_ASSIGN_OR_RETURN(const SpecFromAnywhere absolute, from_anywhere(spec, option));
  runs_a_command_ = runs_a_command_ || absolute.traits.is_command;
  add_option(option, absolute.text);
  for (const std::string& setting : settings) {
    add_option(option + "-option", setting);
  }
  return {};
}

outcome::ReproCommand ReproWords::command(const std::string& output_dir) const {
  outcome::ReproCommand out;
  out.command = words_;
  for (const char* name : kVariables) {
    if (const char* value = environment_variable(name)) {
      out.environment[name] = value;
    }
  }
  std::error_code error;
  if (runs_a_command_) {
    out.working_dir = fs::current_path(error);
  }
  const fs::path folder = fs::path(absolute_path(output_dir)).lexically_normal();
  out.output_dir = folder.has_filename() ? folder : folder.parent_path();  // "DIR/"
  return out;
}

}  // namespace tern::app
