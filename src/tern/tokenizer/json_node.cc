#include "tern/tokenizer/json_node.h"

namespace tern::tokenizer {
namespace {

std::string_view type_name(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "an array";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::STRING:
      return "a string";
    case simdjson::dom::element_type::BOOL:
      return "a boolean";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

}  // namespace

std::string in_quotes(std::string_view text) { return "'" + printable(text, 80) + "'"; }

tl::unexpected<Error> Node::refused(std::string what, std::string hint) const {
  return invalid_input(where(), std::move(what), std::move(hint));
}

tl::unexpected<Error> Node::wrong_type(std::string_view wanted) const {
  return refused("is " + std::string(type_name(value_)) + ", not " + std::string(wanted));
}

Result<std::string_view> Node::string() const {
  std::string_view text;
  return value_.get(text) == simdjson::SUCCESS ? Result<std::string_view>(text) : wrong_type("a string");
}

Result<bool> Node::boolean() const {
  bool truth = false;
  return value_.get(truth) == simdjson::SUCCESS ? Result<bool>(truth) : wrong_type("a boolean");
}

Result<int64_t> Node::integer() const {
  int64_t number = 0;
  return value_.get(number) == simdjson::SUCCESS ? Result<int64_t>(number) : wrong_type("an integer that fits 64 bits");
}

Result<simdjson::dom::object> Node::members() const {
  simdjson::dom::object found;
  return value_.get(found) == simdjson::SUCCESS ? Result<simdjson::dom::object>(found) : wrong_type("an object");
}

Result<simdjson::dom::array> Node::items() const {
  simdjson::dom::array found;
  return value_.get(found) == simdjson::SUCCESS ? Result<simdjson::dom::array>(found) : wrong_type("an array");
}

Result<std::optional<Node>> Node::find(std::string_view key) const {
  TERN_ASSIGN_OR_RETURN(const simdjson::dom::object all, members());
  simdjson::dom::element value;
  if (all.at_key(key).get(value) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return std::optional<Node>(Node(file_, value, pointer_of(key)));
}

Result<Node> Node::need(std::string_view key) const {
  TERN_ASSIGN_OR_RETURN(auto found, find(key));
  if (!found) {
    return refused("has no key " + in_quotes(key));
  }
  return std::move(*found);
}

Result<bool> Node::flag(std::string_view key, bool when_missing) const {
  TERN_ASSIGN_OR_RETURN(const auto found, find(key));
  return found ? found->boolean() : when_missing;
}

Result<std::string_view> Node::type() const {
  TERN_ASSIGN_OR_RETURN(const Node found, need("type"));
  return found.string();
}

Result<bool> Node::is_unset(std::string_view key) const {
  TERN_ASSIGN_OR_RETURN(const auto found, find(key));
  if (!found || found->is_null()) {
    return true;
  }
  TERN_ASSIGN_OR_RETURN(const std::string_view text, found->string());
  return text.empty();
}

std::string Node::pointer_of(std::string_view key) const {
  std::string pointer = pointer_ + '/';
  for (const char c : key) {
    pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  }
  return pointer;
}

}  // namespace tern::tokenizer
