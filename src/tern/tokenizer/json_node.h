// One value of a parsed tokenizer.json together with its place, so that every error can name it. Internal
// to tokenizer/.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tern/base/error.h"

namespace tern::tokenizer {

std::string in_quotes(std::string_view text);  // printable, cut

// simdjson says what is wrong with a text but not where: this finds the place, with a second, slower parser.
tl::unexpected<Error> syntax_error(std::string_view json, const std::string& where, std::string cause);

// Look-ups fail with kInvalidInput at "file: /json/pointer" (RFC 6901). Valid as long as the parser and the
// file's name.
class Node {
 public:
  Node(const std::string& file, simdjson::dom::element value, std::string pointer)
      : file_(file), value_(value), pointer_(std::move(pointer)) {}

  simdjson::dom::element value() const { return value_; }
  bool is_null() const { return value_.is_null(); }
  std::string where() const { return file_ + ": " + (pointer_.empty() ? "/" : pointer_); }
  tl::unexpected<Error> refused(std::string what, std::string hint = {}) const;
  tl::unexpected<Error> wrong_type(std::string_view wanted) const;

  Result<std::string_view> string() const;
  Result<bool> boolean() const;
  Result<int64_t> integer() const;
  Result<simdjson::dom::object> members() const;
  Result<simdjson::dom::array> items() const;
  Node item(simdjson::dom::element value, size_t index) const {
    return {file_, value, pointer_ + '/' + std::to_string(index)};
  }
  Node member(std::string_view key, simdjson::dom::element value) const { return {file_, value, pointer_of(key)}; }

  // nullopt where the key is missing; null values are found.
  Result<std::optional<Node>> find(std::string_view key) const;
  Result<Node> need(std::string_view key) const;
  Result<bool> flag(std::string_view key, bool when_missing) const;
  Result<std::string_view> type() const;
  // Null, missing, or an empty string.
  Result<bool> is_unset(std::string_view key) const;

 private:
  std::string pointer_of(std::string_view key) const;

  const std::string& file_;
  simdjson::dom::element value_;
  std::string pointer_;
};

}  // namespace tern::tokenizer
