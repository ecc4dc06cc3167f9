#include "tern/tokenizer/behaviour.h"

#include <algorithm>
#include <set>

#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

using Piece = Tokenizer::Piece;

// Texts on which the tokenizers of published models are known to differ.
constexpr const char* kTexts[] = {
    "The quick brown fox jumps over the lazy dog.",
    "Hello, world! hello World",
    // digits: groups of three from the left, of three from the right, single ones
    "0",
    "12",
    "123",
    "1234",
    "12345",
    "1234567",
    "3.14159",
    "2024-01-31",
    "1,000,000",
    "v1.2.3",
    "x1y22z333",
    // contractions
    "don't",
    "I'm you're he's we've they'll I'd",
    "DON'T I'M YOU'RE HE'S WE'VE THEY'LL",
    "rock'n'roll",
    "'s 'tis",
    // white space
    " ",
    "  ",
    "   a",
    "a   ",
    "a  b",
    "a\tb",
    "\t\ta",
    "\n",
    "\n\n",
    " \n",
    "a\n\nb",
    "a \n b",
    "a\r\nb",
    "\r",
    "a\n ",
    "\u00A0a\u00A0",
    "a\u3000b",
    "a\u200Bb",
    "\u2028",
    // code
    "int main(void) { return 0; }",
    "for (int i = 0; i < n; ++i) {\n    a[i] += b[i];\n}\n",
    "def f(x):\n\treturn x**2  # square\n",
    "if (a != b && c >= d || !e) x->y();",
    "SELECT * FROM t WHERE id=42;",
    "<a href=\"https://example.com/?q=1&r=2\">link</a>",
    "camelCase snake_case SCREAMING_CASE kebab-case",
    "../a/b.c\n",
    "$x = @{y}; `z` ~w ^v |u| \\t",
    "a+b=c",
    "a==b",
    "--",
    "...",
    "!!!",
    "?!",
    "#1",
    "(a)",
    "[b]",
    "{c}",
    "a/b/c/\n",
    // scripts
    "\u00C9t\u00E9 na\u00EFve fa\u00E7ade",
    "e\u0301",
    "Stra\u00DFe \u00DCBER",
    "\u041F\u0440\u0438\u0432\u0435\u0442",
    "\u4F60\u597D\uFF0C\u4E16\u754C\u3002",
    "\u3053\u3093\u306B\u3061\u306F",
    "\uC548\uB155\uD558\uC138\uC694",
    "\u0645\u0631\u062D\u0628\u0627",
    "\u0928\u092E\u0938\u094D\u0924\u0947",
    "\u0661\u0662\u0663",
    "\u00BD\u00B2\u2167",
    // emoji: alone, with a skin tone, joined, a flag
    "\U0001F600",
    "\U0001F44D\U0001F3FD",
    "\U0001F468\u200D\U0001F469\u200D\U0001F467",
    "\U0001F1E9\U0001F1EA",
    "\u2764\uFE0F",
    "a\U0001F600b",
};

void append_utf8(uint32_t c, std::string& out) {
  const auto add = [&out](uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
  }
  if (c >= 0x80) {
    add(0x80 | (c & 0x3F));
  }
}

// Every byte that UTF-8 can have stands in one of these: U+0000 to U+00FF, and a character for each first byte above.
std::vector<std::string> byte_texts() {
  std::vector<uint32_t> characters;
  for (uint32_t c = 0; c < 0x100; ++c) {
    characters.push_back(c);
  }
  for (uint32_t c = 0x100; c < 0x800; c += 0x40) {
    characters.push_back(c);
  }
  for (uint32_t c = 0x800; c < 0x10000; c += c == 0x800 ? 0x800 : 0x1000) {
    characters.push_back(c);  // none of them is a surrogate
  }
  characters.insert(characters.end(), {0x10000, 0x40000, 0x80000, 0xC0000, 0x100000});
  std::vector<std::string> texts;
  for (const uint32_t c : characters) {
    append_utf8(c, texts.emplace_back());
  }
  return texts;
}

// Spellings of special tokens, the first few of a tokenizer, and of what it puts around a text.
void add_special_tokens(const Tokenizer& tokenizer, std::set<std::string>& spellings) {
  constexpr size_t kMost = 16;
  std::set<int32_t> ids(tokenizer.end_of_text().begin(), tokenizer.end_of_text().end());
  if (tokenizer.bos()) {
    ids.insert(*tokenizer.bos());
  }
  for (int32_t id = 0; id < tokenizer.vocab_size() && ids.size() < kMost; ++id) {
    if (tokenizer.is_special(id)) {
      ids.insert(id);
    }
  }
  for (const int32_t id : ids) {
    const auto spelled = tokenizer.token(id);
    if (spelled && !spelled->empty() && !first_invalid_utf8(*spelled)) {
      spellings.insert(std::string(*spelled));
    }
  }
}

std::string in_words(const Piece& piece) {
  std::string ids;
  for (const int32_t id : piece.ids) {
    ids += (ids.empty() ? "" : ", ") + std::to_string(id);
  }
  return "'" + printable(piece.text, 60) + "' [" + ids + "]";
}

std::string in_words(const std::vector<Piece>& pieces, size_t at) {
  return at < pieces.size() ? in_words(pieces[at]) : "nothing";
}

std::string likely_reason(const std::vector<Piece>& json, const std::vector<Piece>& gguf, size_t at,
                          const std::optional<std::string>& pre) {
  const bool both_there = at < json.size() && at < gguf.size();
  if ((at < json.size() && json[at].is_token) || (at < gguf.size() && gguf[at].is_token)) {
    return "only one of them takes that for a special token: look at tokenizer.ggml.token_type and added_tokens";
  }
  if (pre && pre->empty()) {
    return "the GGUF lacks the key tokenizer.ggml.pre, so that engines cut and join texts by the 'default' rules; "
           "convert "
           "the model again, or add the key";
  }
  if (both_there && json[at].text == gguf[at].text) {
    return "both cut the same piece and join it differently: the merges (tokenizer.ggml.merges) are not the same";
  }
  return pre ? "tokenizer.ggml.pre is '" + printable(*pre, 60) + "', which cuts texts otherwise than the tokenizer.json"
             : "they cut texts into other pieces";
}

}  // namespace

std::vector<std::string> probe_texts(const Tokenizer& a, const Tokenizer& b) {
  std::vector<std::string> texts(std::begin(kTexts), std::end(kTexts));
  std::set<std::string> special;
  add_special_tokens(a, special);
  add_special_tokens(b, special);
  for (const std::string& spelled : special) {
    texts.push_back("a" + spelled + " b");
  }
  std::vector<std::string> bytes = byte_texts();
  texts.insert(texts.end(), std::make_move_iterator(bytes.begin()), std::make_move_iterator(bytes.end()));
  return texts;
}

std::optional<std::string> behaviour_difference(const Tokenizer& json, const Tokenizer& gguf) {
  const std::vector<std::string> texts = probe_texts(json, gguf);
  size_t n_different = 0;
  std::string first;
  for (const std::string& text : texts) {
    const auto ours = json.encode(text, false), theirs = gguf.encode(text, false);
    if (ours && theirs && *ours == *theirs) {
      continue;
    }
    if (n_different++ > 0) {
      continue;
    }
    const auto a = json.pieces(text), b = gguf.pieces(text);
    if (!a || !b) {
      first = "'" + printable(text, 60) + "' cannot be encoded by " +
              (a ? "the GGUF's vocabulary" : "the tokenizer.json") + ": " + (a ? b : a).error().line();
      continue;
    }
    const auto at = static_cast<size_t>(std::mismatch(a->begin(), a->end(), b->begin(), b->end()).first - a->begin());
    first = "'" + printable(text, 60) + "', where the first piece that differs is " + in_words(*a, at) +
            " by the tokenizer.json and " + in_words(*b, at) +
            " by the GGUF; likely reason: " + likely_reason(*a, *b, at, gguf.pre_tokenizer_name());
  }
  if (n_different == 0) {
    return std::nullopt;
  }
  return "encoding: " + std::to_string(n_different) + " of " + std::to_string(texts.size()) +
         " texts become other token ids by the tokenizer.json than by the GGUF; the first is " + first + ".";
}

}  // namespace tern::tokenizer
