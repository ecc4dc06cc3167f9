// The abilities of engines beyond a prompt: one table. Each ability has one key, from which come the option of the
// engine's command line (--teacher-tokens), the place in a `command:` template ({teacher_tokens}) and the word in an
// adapter's --facts ("teacher_tokens"). One more ability is one more row of kRows in abilities.cc.
// Callers: peers, tern's own engine and adapters/, whose --facts list the rows that their command lines take.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern::peer {

struct RunRequest;

struct Abilities {
  bool runs = false;  // computes anew each time; a recording does not
  bool token_ids = false;
  bool teacher_tokens = false;
  bool unobserved = false;  // RunRequest::observe = false
  bool token_by_token = false;
  bool all_stages = false;
  bool dump_tensors = false;
  bool around = false;
  bool ubatch = false;
  bool inputs = false;  // RunRequest::inputs_from
  bool inputs_before = false;
  bool trace_list = false;  // all trace records in one file, for requests without a trace folder
};

struct Ability {
  std::string_view key;  // "teacher_tokens"
  bool Abilities::*flag;
  bool has_value;            // false: the option is a word of its own and there is no place for it
  std::string_view lacking;  // "takes no tokens to go on with"; empty: the request is met without it
  // The option's value for this request (empty for an option without one); nullopt: not asked for.
  std::optional<std::string> (*asked)(const RunRequest& request);

  std::string option() const;  // "--teacher-tokens"
};

std::span<const Ability> known_abilities();

// Of an engine that runs and takes each option of the table.
Abilities all_abilities();
// Of an engine that runs and takes the options of these keys. Unknown keys are passed over: a newer adapter may have
// abilities that this tern lacks.
Abilities abilities_of(const std::vector<std::string>& keys);

// Why a request cannot be put to an engine of these abilities: one clause; empty if it can.
std::string beyond(const Abilities& abilities, const RunRequest& request);

}  // namespace tern::peer
