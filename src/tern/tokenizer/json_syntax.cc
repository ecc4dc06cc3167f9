#include <nlohmann/json.hpp>

#include "tern/tokenizer/json_node.h"

namespace tern::tokenizer {
namespace {

// Keeps nothing of the document but the place of its first error.
struct ErrorFinder : nlohmann::json_sax<nlohmann::json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    offset = position > 0 ? position - 1 : 0;  // nlohmann counts from 1
    return false;
  }
  std::optional<size_t> offset;
};

}  // namespace

tl::unexpected<Error> syntax_error(std::string_view json, const std::string& where, std::string cause) {
  ErrorFinder finder;
  nlohmann::json::sax_parse(json, &finder);
  return invalid_input(finder.offset ? where + " @ byte " + std::to_string(*finder.offset) : where,
                       "is not valid JSON: " + cause);
}

}  // namespace tern::tokenizer
