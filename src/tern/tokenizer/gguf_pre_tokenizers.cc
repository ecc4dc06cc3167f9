// llm_load_vocab in bitnet.cpp's llama.cpp (src/llama.cpp) maps the names, llm_tokenizer_bpe (src/llama-vocab.cpp) has
// the patterns.
#include "tern/tokenizer/gguf_pre_tokenizers.h"

#include <algorithm>

namespace tern::tokenizer {
namespace {

constexpr std::string_view kLlama3 =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
// llama.cpp's approximation of Mistral's own pattern, which distinguishes upper and lower case in all scripts.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])*(?:(?=\p{L})[^A-Z])+|[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])+(?:(?=\p{L})[^A-Z])*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kFalconPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";

const std::vector<GgufPreTokenizer>& pre_tokenizers() {
  static const std::vector<GgufPreTokenizer> table = {
      {{"llama3", "llama-v3", "llama-bpe"}, {kLlama3}, true, true},
      {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3}},
      {{"qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"}, {kQwen2}},
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de",
        "jina-v2-code"},
       {kGpt2}},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"}, {"\\p{N}", kGpt2}},
      {{"falcon"}, {kFalconPunctuation, kGpt2, "[0-9][0-9][0-9]"}},
      {{"falcon3", "falcon_e"}, {kFalconPunctuation, kGpt2, "[0-9]"}},
      {{"tekken"}, {kTekken}, true, true},
      {{"default"}, {kDefaultPunctuation, kGpt2, "\\p{N}+", "[0-9][0-9][0-9]"}},
  };
  return table;
}

bool has_name(const GgufPreTokenizer& row, std::string_view name) {
  return std::find(row.names.begin(), row.names.end(), name) != row.names.end();
}

std::string known_names() {
  std::string names;
  for (const GgufPreTokenizer& row : pre_tokenizers()) {
    for (const std::string_view name : row.names) {
      names.append(names.empty() ? "supported: " : ", ").append(name);
    }
  }
  return names;
}

}  // namespace

Result<const GgufPreTokenizer*> find_gguf_pre_tokenizer(const gguf::View& view, std::vector<std::string>& warnings) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  std::string_view name;
  if (view.has(kKey)) {
    TERN_ASSIGN_OR_RETURN(name, view.get_string(kKey));
  }
  if (name.empty()) {
    name = "default";
    warnings.push_back(view.where_key(kKey) +
                       ": is missing, so that texts are split by the 'default' rules, as bitnet.cpp does; "
                       "token ids may differ from those the model was trained on (convert the model again)");
  }
  for (const GgufPreTokenizer& row : pre_tokenizers()) {
    if (has_name(row, name)) {
      return &row;
    }
  }
  return invalid_input(view.where_key(kKey), "the pre-tokenizer '" + printable(name, 60) + "' is not supported",
                       known_names());
}

}  // namespace tern::tokenizer
