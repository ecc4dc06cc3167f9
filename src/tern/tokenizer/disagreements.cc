#include <algorithm>
#include <span>

#include "tern/tokenizer/behaviour.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::tokenizer {
namespace {

constexpr int kMaxShown = 3;

std::string id_and_spelling(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  if (!id) {
    return "nothing";
  }
  const auto spelled = tokenizer.token(*id);
  return "id " + std::to_string(*id) + (spelled ? " ('" + printable(*spelled, 40) + "')" : "");
}

std::optional<std::string> spelling_difference(const Tokenizer& json, const Tokenizer& gguf) {
  int64_t n_different = 0;
  std::string shown;
  const int32_t n_shared = std::min(json.vocab_size(), gguf.vocab_size());
  for (int32_t id = 0; id < n_shared; ++id) {
    const auto json_token = json.token(id);
    const auto gguf_token = gguf.token(id);
    // Converters fill holes with names of their own.
    if (!json_token || json_token == gguf_token) {
      continue;
    }
    if (++n_different <= kMaxShown) {
      shown += (shown.empty() ? "" : ", ") + std::to_string(id) + " is '" + printable(*json_token, 40) + "' against '" +
               (gguf_token ? printable(*gguf_token, 40) : "nothing") + "'";
    }
  }
  if (n_different == 0) {
    return std::nullopt;
  }
  return "spelling: " + std::to_string(n_different) + " of " + std::to_string(n_shared) +
         " shared token ids are spelled differently in the tokenizer.json and in the GGUF: " + shown +
         (n_different > kMaxShown ? ", ..." : "") + ".";
}

// Where the GGUF names a BOS and puts none in front.
std::string why_no_bos(const Tokenizer& gguf) {
  if (gguf.bos() || !gguf.declared_bos()) {
    return "";
  }
  return gguf.pre_tokenizer_name() == ""
             ? " (it lacks tokenizer.ggml.pre, whose rules would put one there, and add_bos_token is not true)"
             : " (add_bos_token is false)";
}

std::optional<int32_t> first_of(std::span<const int32_t> ids) {
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

}  // namespace

std::vector<std::string> disagreements(const Tokenizer& json, const Tokenizer& gguf) {
  std::vector<std::string> found;
  if (json.vocab_size() != gguf.vocab_size()) {
    found.push_back("vocabulary size: the tokenizer.json has " + std::to_string(json.vocab_size()) +
                    " token ids, the GGUF " + std::to_string(gguf.vocab_size()) + ".");
  }
  if (auto difference = spelling_difference(json, gguf)) {
    found.push_back(std::move(*difference));
  }
  if (json.bos() != gguf.bos()) {
    found.push_back("BOS: the tokenizer.json puts " + id_and_spelling(json, json.bos()) +
                    " in front of a text, the GGUF " + id_and_spelling(gguf, gguf.bos()) + why_no_bos(gguf) + ".");
  }
  if (json.bos() && gguf.declared_bos() && json.bos() != gguf.declared_bos() && gguf.bos() != gguf.declared_bos()) {
    found.push_back("BOS: the GGUF names " + id_and_spelling(gguf, gguf.declared_bos()) +
                    " as bos_token_id, the tokenizer.json " + id_and_spelling(json, json.bos()) + ".");
  }
  const auto json_suffix = json.suffix(), gguf_suffix = gguf.suffix();
  if (!std::equal(json_suffix.begin(), json_suffix.end(), gguf_suffix.begin(), gguf_suffix.end())) {
    found.push_back("EOS: the tokenizer.json puts " + id_and_spelling(json, first_of(json_suffix)) +
                    " behind a text, the GGUF " + id_and_spelling(gguf, first_of(gguf_suffix)) +
                    " (tokenizer.ggml.add_eos_token).");
  }
  if (auto difference = behaviour_difference(json, gguf)) {
    found.push_back(std::move(*difference));
  }
  return found;
}

}  // namespace tern::tokenizer
