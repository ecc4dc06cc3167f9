#include "tern/app/pack_text.h"

#include <fmt/format.h>

namespace tern::app {

Json pack_json(const trace::Pack& pack) {
  Json scenarios = Json::array();
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    scenarios.push_back({{"name", scenario.name},
                         {"prompt", scenario.prompt},
                         {"max_tokens", scenario.max_tokens},
                         {"prompt_tokens", scenario.prompt_tokens}});
  }
  return {{"id", pack.id()},
          {"model",
           {{"file_name", pack.model().file_name},
            {"sha256", pack.model().sha256},
            {"tokenizer_sha256", pack.model().tokenizer_sha256}}},
          {"engine", pack.engine()},
          {"arithmetic", pack.arithmetic()},
          {"logits", pack.logits()},
          {"values", pack.has_values()},
          {"scenarios", std::move(scenarios)}};
}

std::string pack_text(const trace::Pack& pack) {
  const auto or_none = [](const std::string& text) {
    return text.empty() ? std::string("none given") : printable(text);
  };
  const auto cpu = pack.engine().find("cpu");
  std::string out = fmt::format(
      "id          {}\nengine      {}\ncpu         {}\narithmetic  {}\nmodel       {} (sha256 {})\ntokenizer   {}\n"
      "logits      {}\nvalues      {}\n",
      pack.id(), printable(pack.engine_name()),
      or_none(cpu != pack.engine().end() && cpu->is_string() ? cpu->get<std::string>() : ""),
      or_none(pack.arithmetic()), printable(pack.model().file_name), printable(pack.model().sha256),
      or_none(pack.model().tokenizer_sha256), printable(pack.logits()), pack.has_values() ? "yes" : "no");
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    out += fmt::format("{}: \"{}\" ({} prompt tokens), {} to generate\n", scenario.name, printable(scenario.prompt),
                       scenario.prompt_tokens.size(), scenario.max_tokens);
  }
  return out;
}

}  // namespace tern::app
