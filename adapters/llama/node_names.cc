#include "node_names.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace tern::adapter {
namespace {

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return out;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// ggml calls a node without a name "node_<place>", and what is made of it " (view)", " (cont)" and so on.
bool is_unnamed(std::string_view name) {
  constexpr std::string_view kAutomatic = "node_";
  return name.empty() || name.starts_with(" (") ||
         (name.starts_with(kAutomatic) && is_number(name.substr(kAutomatic.size())));
}

// What cannot stand in a tensor's name, or has a meaning there.
std::string cleaned(std::string_view name) {
  std::string out(name);
  std::replace_if(
      out.begin(), out.end(),
      [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte >= 0x7F || c == '/' || c == '\\';
      },
      '_');
  return out == "." || out == ".." ? "_" : out;
}

}  // namespace

NodeNames::Place NodeNames::place_of(std::string_view name, std::string_view op) {
  if (is_unnamed(name)) {
    return {-1, lower_case(op)};
  }
  // "Qcur-12", and what ggml makes of it: "Qcur-12 (permuted)".
  const size_t derived = std::min(name.find(" ("), name.size());
  const std::string_view own = name.substr(0, derived);
  const size_t dash = own.rfind('-');
  int layer = -1;
  if (dash == std::string_view::npos || dash == 0 || !is_number(own.substr(dash + 1)) ||
      std::from_chars(own.data() + dash + 1, own.data() + own.size(), layer).ec != std::errc()) {
    return {-1, cleaned(name)};
  }
  return {layer, cleaned(std::string(own.substr(0, dash)) + std::string(name.substr(derived)))};
}

void NodeNames::note(std::string_view name, std::string_view op) {
  if (!known_graph_ || !stage_of_node(name, op)) {
    operations_[place_of(name, op)].emplace(op);
  }
}

NodeStage NodeNames::name(std::string_view name, std::string_view op) {
  if (const auto stage = known_graph_ ? stage_of_node(name, op) : std::nullopt;
      stage && used_.emplace(stage->layer, stage->stage.name()).second) {
    return *stage;
  }
  Place place = place_of(name, op);
  const auto operations = operations_.find(place);
  const bool is_shared = operations != operations_.end() && operations->second.size() > 1;
  const bool takes_a_stages_name = known_graph_ && trace::Stage::named(place.second, place.first >= 0).is_known();
  if (is_shared || takes_a_stages_name) {
    place.second += "." + lower_case(op);
  }
  const std::string first = place.second;
  for (int n = 2; !used_.insert(place).second; ++n) {
    place.second = first + "#" + std::to_string(n);
  }
  return {place.first, trace::Stage::named(place.second, place.first >= 0)};
}

}  // namespace tern::adapter
