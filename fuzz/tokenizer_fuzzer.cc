// Any bytes at all must give a Tokenizer or an Error, and a Tokenizer must encode what anyone types.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tern/tokenizer/tokenizer.h"

namespace {
volatile size_t sink;  // keeps the compiler from leaving the work out
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const auto tokenizer =
      tokenizer::Tokenizer::from_json({reinterpret_cast<const char*>(data), size}, "fuzz/tokenizer.json");
  if (!tokenizer) {
    sink = tokenizer.error().line().size();
    return 0;
  }
  constexpr std::string_view kText =
      "Hello, world! it's 12345  \n\n\t caf\u00E9 \u4F60\u597D \U0001F600 aaaaaaaaaaaaaaaa <|begin_of_text|> <s>";
  const auto ids = tokenizer->encode(kText, true);
  if (!ids) {
    sink = ids.error().line().size();
    return 0;
  }
  const auto text = tokenizer->decode(*ids, true);
  sink = text ? text->size() + tokenizer->warnings().size() : 0;
  return 0;
}
