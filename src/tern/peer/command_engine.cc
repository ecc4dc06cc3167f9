// command:'PROGRAM ARGUMENTS', any program.
#include <fmt/format.h>

#include "tern/peer/command_template.h"
#include "tern/peer/engine_schemes.h"
#include "tern/peer/number_limits.h"

namespace tern::peer {
namespace {

// "threads" and "ubatch" replace the run's numbers (peer.h); every other value is the command's own.
Status check_numbers(const Settings& settings, const std::string& setting_option) {
  const std::vector<KnownSetting> known = {{.key = "threads", .values = {}, .low = 1, .high = kMostThreads},
                                           {.key = "ubatch", .values = {}, .low = 1, .high = kMostTokensAtOnce}};
  Settings numbers;
  for (const KnownSetting& setting : known) {
    if (const auto found = settings.find(setting.key); found != settings.end()) {
      numbers.insert(*found);
    }
  }
  return check_settings(numbers, known, "a command", setting_option);
}

Result<OpenedEngine> open_command(const EngineRegistry&, const EngineSpec& spec, const Subject&,
                                  const OpenOptions& options) {
  const std::string setting_option = options.option + "-option";
  OpenedEngine opened;
  TERN_ASSIGN_OR_RETURN(opened.settings, parse_settings(options.settings, setting_option));
  TERN_ASSIGN_OR_RETURN(CommandTemplate command,
                        CommandTemplate::parse(spec.argument, options.option, opened.settings));
  for (const auto& [key, value] : opened.settings) {
    const bool by_contract = key == "threads" && command.speaks_engine_contract();
    if (!by_contract && !command.uses(key)) {
      return fail(ErrorCode::kUsage, fmt::format("{} {}={}", setting_option, printable(key), printable(value)),
                  fmt::format("the command has no place {{{}}} for it", printable(key)));
    }
  }
  TERN_RETURN_IF_ERROR(check_numbers(opened.settings, setting_option));
  opened.kind = "command";
  opened.spec = spec.text();
  opened.details = {{"settings", opened.settings}};
  opened.peer = make_command_peer(std::move(command), opened.spec, {.runs = true}, opened.settings);
  return opened;
}

}  // namespace

EngineScheme command_scheme() {
  return {.name = "command",
          .argument = "'PROGRAM ARGUMENTS'",
          .about = "any program that writes the engine contract's files",
          .traits = {.runs = true, .is_command = true},
          .open = open_command};
}

}  // namespace tern::peer
