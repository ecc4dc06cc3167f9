#include "tern/peer/abilities.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tern/peer/peer.h"

namespace tern::peer {
namespace {

using Asked = std::optional<std::string>;

Asked flag(bool is_asked) { return is_asked ? Asked("") : std::nullopt; }
Asked text(const std::string& value) { return value.empty() ? std::nullopt : Asked(value); }
Asked ids(const std::vector<int32_t>& values) { return text(fmt::format("{}", fmt::join(values, ","))); }

constexpr Ability kRows[] = {
    {"token_ids", &Abilities::token_ids, true, "cannot be given a prompt's token ids: it takes text only",
     [](const RunRequest& r) { return ids(r.token_ids); }},
    {"teacher_tokens", &Abilities::teacher_tokens, true, "takes no tokens to go on with",
     [](const RunRequest& r) { return ids(r.teacher_tokens); }},
    {"no_observe", &Abilities::unobserved, false, "cannot be run without its tensors being watched",
     [](const RunRequest& r) { return flag(!r.observe); }},
    {"token_by_token", &Abilities::token_by_token, false, "cannot evaluate the prompt token by token",
     [](const RunRequest& r) { return flag(r.token_by_token); }},
    {"stages", &Abilities::all_stages, true, "cannot be asked for every node of its graph",
     [](const RunRequest& r) { return text(r.all_stages ? "all" : ""); }},
    {"dump_tensors", &Abilities::dump_tensors, false, "cannot be asked for the values of its tensors",
     [](const RunRequest& r) { return flag(r.dump_tensors); }},
    {"trace_list", &Abilities::trace_list, false, "", [](const RunRequest& r) { return flag(r.trace_folder.empty()); }},
    {"inputs_before", &Abilities::inputs_before, true, "cannot be given the inputs of some of its stages only",
     [](const RunRequest& r) { return text(r.inputs_before); }},
    {"around", &Abilities::around, true, "cannot be asked for the values of some of its tensors",
     [](const RunRequest& r) { return text(r.around); }},
    {"ubatch", &Abilities::ubatch, true, "takes no number of prompt tokens to evaluate at once",
     [](const RunRequest& r) { return r.ubatch > 0 ? Asked(std::to_string(r.ubatch)) : std::nullopt; }},
    {"inputs_from", &Abilities::inputs, true, "cannot be given the inputs of its stages",
     [](const RunRequest& r) { return text(r.inputs_from.string()); }},
};

}  // namespace

std::string Ability::option() const {
  std::string word = "--" + std::string(key);
  std::replace(word.begin(), word.end(), '_', '-');
  return word;
}

std::span<const Ability> known_abilities() { return kRows; }

Abilities all_abilities() {
  Abilities all{.runs = true};
  for (const Ability& ability : kRows) {
    all.*ability.flag = true;
  }
  return all;
}

Abilities abilities_of(const std::vector<std::string>& keys) {
  Abilities abilities{.runs = true};
  for (const Ability& ability : kRows) {
    abilities.*ability.flag = std::find(keys.begin(), keys.end(), ability.key) != keys.end();
  }
  return abilities;
}

std::string beyond(const Abilities& abilities, const RunRequest& request) {
  for (const Ability& ability : kRows) {
    if (!ability.lacking.empty() && !(abilities.*ability.flag) && ability.asked(request)) {
      return ability.has_value
                 ? fmt::format("{} ({{{}}} would be the place in a command)", ability.lacking, ability.key)
                 : std::string(ability.lacking);
    }
  }
  return {};
}

}  // namespace tern::peer
