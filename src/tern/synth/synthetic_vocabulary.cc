#include "tern/synth/synthetic_vocabulary.h"

#include <array>

#include "tern/base/check.h"
#include "tern/base/json.h"

namespace tern::synth {
namespace {

constexpr std::array kMerges = {"t h", "i n", "e r", "Ġ t", "Ġ a", "th e", "Ġt he", "o u", "a n", "Ġ s"};
constexpr std::array kSpecialTokens = {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"};
constexpr int32_t kNormal = 1;
constexpr int32_t kControl = 3;
constexpr int32_t kUnused = 5;

// Llama 3's, from its tokenizer.json.
constexpr const char* kSplitPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string utf8_below_0x800(unsigned code_point) {
  if (code_point < 0x80) {
    return std::string(1, static_cast<char>(code_point));
  }
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 upwards (bytes_to_unicode() in
// openai/gpt-2, src/encoder.py).
std::vector<std::string> byte_alphabet() {
  std::vector<std::string> alphabet;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet.push_back(utf8_below_0x800(printable ? byte : next++));
  }
  return alphabet;
}

}  // namespace

SyntheticVocabulary synthetic_vocabulary(uint64_t n_tokens) {
  SyntheticVocabulary vocabulary;
  vocabulary.tokens = byte_alphabet();
  for (const std::string merge : kMerges) {
    vocabulary.merges.push_back(merge);
    const size_t space = merge.find(' ');
    vocabulary.tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  vocabulary.token_types.assign(vocabulary.tokens.size(), kNormal);
  vocabulary.n_regular = static_cast<uint32_t>(vocabulary.tokens.size());
  vocabulary.bos = vocabulary.n_regular;
  vocabulary.eos = vocabulary.n_regular + 1;
  for (const char* token : kSpecialTokens) {
    vocabulary.tokens.emplace_back(token);
    vocabulary.token_types.push_back(kControl);
  }
  TERN_CHECK(n_tokens == 0 || n_tokens >= vocabulary.tokens.size());
  while (vocabulary.tokens.size() < n_tokens) {
    vocabulary.tokens.push_back("[PAD" + std::to_string(vocabulary.tokens.size()) + "]");
    vocabulary.token_types.push_back(kUnused);
  }
  return vocabulary;
}

std::string synthetic_tokenizer_json(const SyntheticVocabulary& vocabulary) {
  Json added = Json::array();
  for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
    added.push_back({{"id", vocabulary.n_regular + i},
                     {"content", kSpecialTokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  Json ids = Json::object();
  for (size_t i = 0; i < vocabulary.n_regular; ++i) {
    ids[vocabulary.tokens[i]] = i;
  }
  const std::string& bos = vocabulary.tokens[vocabulary.bos];
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kSplitPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json single = Json::array(
      {Json{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}}, Json{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  Json special_tokens = Json::object();
  special_tokens[bos] = {{"id", bos}, {"ids", Json::array({vocabulary.bos})}, {"tokens", Json::array({bos})}};

  Json tokenizer = Json::object();
  tokenizer["version"] = "1.0";
  tokenizer["truncation"] = nullptr;
  tokenizer["padding"] = nullptr;
  tokenizer["added_tokens"] = added;
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}};
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", Json::array()}, {"special_tokens", special_tokens}};
  tokenizer["decoder"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  tokenizer["model"] = {{"type", "BPE"},
                        {"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", nullptr},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"ignore_merges", true},
                        {"vocab", ids},
                        {"merges", vocabulary.merges}};
  return to_json_text(tokenizer);
}

}  // namespace tern::synth
