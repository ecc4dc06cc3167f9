#include "tern/tokenizer/sentencepiece.h"

#include <algorithm>
#include <cmath>

#include "tern/tokenizer/text/unicode.h"
#include "tern/tokenizer/token_models.h"

namespace tern::tokenizer {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

struct Symbol {
  size_t begin;
  size_t length;  // 0: joined into the symbol on its left
  int32_t previous;
  int32_t next;
};

struct Candidate {
  float score;
  int32_t position;
  size_t length;  // of the joined text: another length marks an outdated candidate
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : position > other.position;
  }
};

class Joiner {
 public:
  Joiner(const Vocabulary& vocabulary, const std::vector<float>& scores, std::string_view spelled)
      : vocabulary_(vocabulary), scores_(scores), spelled_(spelled) {
    for (size_t offset = 0; offset < spelled.size();) {
      const size_t length = character_at(spelled, offset).n_bytes;
      const auto position = static_cast<int32_t>(symbols_.size());
      symbols_.push_back({offset, length, position - 1, offset + length < spelled.size() ? position + 1 : -1});
      offset += length;
    }
  }

  const std::vector<Symbol>& run() {
    for (size_t i = 0; i < symbols_.size(); ++i) {
      consider(static_cast<int32_t>(i));
    }
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      const Candidate best = queue_.back();
      queue_.pop_back();
      Symbol& left = at(best.position);
      if (left.length == 0 || left.next < 0 || left.length + at(left.next).length != best.length) {
        continue;
      }
      left.length = best.length;
      at(left.next).length = 0;
      left.next = at(left.next).next;
      if (left.next >= 0) {
        at(left.next).previous = best.position;
      }
      consider(left.previous);
      consider(best.position);
    }
    return symbols_;
  }

 private:
  Symbol& at(int32_t position) { return symbols_[static_cast<size_t>(position)]; }

  void consider(int32_t position) {
    if (position < 0 || at(position).next < 0) {
      return;
    }
    const size_t length = at(position).length + at(at(position).next).length;
    if (length > Vocabulary::kMaxSpellingBytes) {
      return;
    }
    if (const auto id = vocabulary_.find(spelled_.substr(at(position).begin, length))) {
      queue_.push_back({scores_[static_cast<size_t>(*id)], position, length});
      std::push_heap(queue_.begin(), queue_.end());
    }
  }

  const Vocabulary& vocabulary_;
  const std::vector<float>& scores_;
  std::string_view spelled_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> queue_;
};

Result<std::vector<float>> read_scores(const GgufTokens& tokens) {
  const std::string place = tokens.view.where_key("tokenizer.ggml.scores");
  const auto* metadata = tokens.view.find("tokenizer.ggml.scores");
  const auto* numbers = metadata == nullptr ? nullptr : std::get_if<std::vector<double>>(&metadata->value);
  if (numbers == nullptr || numbers->size() != tokens.spellings.size()) {
    return invalid_input(place,
                         "is not an array of " + std::to_string(tokens.spellings.size()) + " floats, one per token");
  }
  std::vector<float> scores;
  scores.reserve(numbers->size());
  for (const double number : *numbers) {
    if (std::isnan(number)) {
      return invalid_input(place + "[" + std::to_string(scores.size()) + "]", "is NaN");
    }
    scores.push_back(static_cast<float>(number));
  }
  return scores;
}

}  // namespace

Result<bool> load_sentencepiece(const GgufTokens& tokens, Definition& definition) {
  TERN_ASSIGN_OR_RETURN(std::vector<float> scores, read_scores(tokens));
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::vector<int32_t> byte_tokens;
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string spelled = std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">";
    const auto id = definition.vocabulary.find(spelled);
    byte_tokens.push_back(id && tokens.types[static_cast<size_t>(*id)] == GgufTokens::kByte ? *id : -1);
  }
  const auto unknown = std::find(tokens.types.begin(), tokens.types.end(), GgufTokens::kUnknown);
  bool add_space = true;
  if (tokens.view.has("tokenizer.ggml.add_space_prefix")) {
    TERN_ASSIGN_OR_RETURN(add_space, tokens.view.get_bool("tokenizer.ggml.add_space_prefix"));
  }
  definition.token_model = std::make_unique<SentencePiece>(
      std::move(scores), std::move(byte_tokens),
      unknown == tokens.types.end() ? -1 : static_cast<int32_t>(unknown - tokens.types.begin()), add_space);
  return true;
}

Status SentencePiece::encode(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const {
  std::string spelled(add_space_ ? kSpace : std::string_view());
  for (const char c : piece) {
    if (c == ' ') {
      spelled.append(kSpace);
    } else {
      spelled.push_back(c);
    }
  }
  Joiner joiner(vocabulary, scores_, spelled);
  for (const Symbol& symbol : joiner.run()) {
    const std::string_view joined = std::string_view(spelled).substr(symbol.begin, symbol.length);
    if (joined.empty()) {
      continue;
    }
    if (const auto id = vocabulary.find(joined)) {
      ids.push_back(*id);
      continue;
    }
    for (const char c : joined) {
      const int32_t byte_token = byte_tokens_[static_cast<uint8_t>(c)];
      if (byte_token < 0 && unknown_ < 0) {
        return invalid_input("text", "the vocabulary has no token for '" + printable(joined, 60) + "'");
      }
      ids.push_back(byte_token >= 0 ? byte_token : unknown_);
    }
  }
  return {};
}

void SentencePiece::append_text(const Vocabulary& vocabulary, int32_t id, std::string& text) const {
  const auto byte = std::find(byte_tokens_.begin(), byte_tokens_.end(), id);
  if (byte != byte_tokens_.end()) {
    text.push_back(static_cast<char>(byte - byte_tokens_.begin()));
    return;
  }
  std::string_view spelled = vocabulary.spelling(id);
  for (size_t space = spelled.find(kSpace); space != std::string_view::npos; space = spelled.find(kSpace)) {
    text.append(spelled.substr(0, space)).append(1, ' ');
    spelled.remove_prefix(space + kSpace.size());
  }
  text.append(spelled);
}

}  // namespace tern::tokenizer
