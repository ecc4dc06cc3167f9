// Byte-level BPE as tokenizer.json and GGUF carry it: a list of merges besides the vocabulary.
#include <array>
#include <memory>

#include "tern/tokenizer/bpe.h"
#include "tern/tokenizer/gguf_pre_tokenizers.h"
#include "tern/tokenizer/token_models.h"

namespace tern::tokenizer {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

// The merges of one file, in order.
class MergeList {
 public:
  MergeList(Bpe& bpe, const Vocabulary& vocabulary) : bpe_(bpe), vocabulary_(vocabulary) {}

  // `where` is called for the place only when there is something to say. Errors: kInvalidInput.
  template <class Where>
  Status add(std::string_view left, std::string_view right, const Where& where) {
    const auto outcome = bpe_.add_merge(vocabulary_, rank_++, left, right);
    return outcome == Bpe::MergeOutcome::kAdded ? Status{} : report(outcome, left, right, where());
  }

  // Adds the warning about unusable merges, if there were any.
  void finish(std::vector<std::string>& warnings) const {
    if (n_unusable_ > 0) {
      warnings.push_back(first_unusable_ + " joins tokens that the vocabulary does not have; " +
                         std::to_string(n_unusable_) + " of " + std::to_string(rank_) +
                         " merges are skipped for that reason");
    }
  }

 private:
  Status report(Bpe::MergeOutcome outcome, std::string_view left, std::string_view right, const std::string& where) {
    const std::string merge = "the merge '" + printable(left, 60) + " " + printable(right, 60) + "'";
    if (outcome == Bpe::MergeOutcome::kListedTwice) {
      return invalid_input(where, merge + " is listed twice");
    }
    if (outcome == Bpe::MergeOutcome::kNoJoinedToken) {
      return invalid_input(where, merge + " makes a token that the vocabulary does not have");
    }
    if (n_unusable_++ == 0) {
      first_unusable_ = where + ": " + merge;
    }
    return {};
  }

  Bpe& bpe_;
  const Vocabulary& vocabulary_;
  uint32_t rank_ = 0;
  uint32_t n_unusable_ = 0;
  std::string first_unusable_;
};

Status load_vocab(const Node& vocab, Vocabulary& vocabulary) {
  TERN_ASSIGN_OR_RETURN(const object entries, vocab.members());
  vocabulary.reserve(entries.size(), 8 * entries.size());
  for (const auto entry : entries) {
    const auto place = [&] { return vocab.member(entry.key, entry.value).where(); };
    int64_t id = 0;
    if (entry.value.get(id) != simdjson::SUCCESS) {
      return vocab.member(entry.key, entry.value).wrong_type("an integer that fits 64 bits");
    }
    TERN_RETURN_IF_ERROR(vocabulary.add(id, entry.key, Vocabulary::kModel, place));
  }
  return vocabulary.size() == 0 ? vocab.refused("is empty") : Status{};
}

// "a b", or ["a","b"].
bool read_merge(element merge, std::array<std::string_view, 2>& parts) {
  std::string_view text;
  if (merge.get(text) == simdjson::SUCCESS) {
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return false;
    }
    parts = {text.substr(0, space), text.substr(space + 1)};
    return true;
  }
  array pair;
  if (merge.get(pair) != simdjson::SUCCESS || pair.size() != 2) {
    return false;
  }
  size_t n_read = 0;
  for (const element part : pair) {
    if (part.get(parts[n_read++]) != simdjson::SUCCESS) {
      return false;
    }
  }
  return true;
}

Status load_merges(const Node& merges, Bpe& bpe, Definition& definition) {
  TERN_ASSIGN_OR_RETURN(const array all, merges.items());
  bpe.reserve(all.size());
  MergeList list(bpe, definition.vocabulary);
  size_t index = 0;
  for (const element merge : all) {
    std::array<std::string_view, 2> parts;
    if (!read_merge(merge, parts)) {
      return merges.item(merge, index).refused("is not a merge: neither \"a b\" nor [\"a\",\"b\"]");
    }
    TERN_RETURN_IF_ERROR(list.add(parts[0], parts[1], [&] { return merges.item(merge, index).where(); }));
    ++index;
  }
  list.finish(definition.warnings);
  return {};
}

Status refuse_unsupported(const Node& model) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    TERN_ASSIGN_OR_RETURN(const bool unset, model.is_unset(key));
    if (!unset) {
      return model.refused(std::string(key) + " is not supported");
    }
  }
  TERN_ASSIGN_OR_RETURN(const auto dropout, model.find("dropout"));
  if (dropout && !dropout->is_null() && (dropout->value().get_double().error() || double(dropout->value()) != 0.0)) {
    return dropout->refused("dropout makes the encoding random and is not supported");
  }
  return {};
}

}  // namespace

Status load_bpe(const Node& model, Definition& definition) {
  TERN_RETURN_IF_ERROR(refuse_unsupported(model));
  auto bpe = std::make_unique<Bpe>();
  TERN_ASSIGN_OR_RETURN(const bool ignore_merges, model.flag("ignore_merges", false));
  bpe->set_ignore_merges(ignore_merges);
  TERN_ASSIGN_OR_RETURN(const Node vocab, model.need("vocab"));
  TERN_RETURN_IF_ERROR(load_vocab(vocab, definition.vocabulary));
  TERN_ASSIGN_OR_RETURN(const Node merges, model.need("merges"));
  TERN_RETURN_IF_ERROR(load_merges(merges, *bpe, definition));
  bpe->set_byte_tokens(definition.vocabulary);
  // Both only ever act on bytes that have no token.
  TERN_ASSIGN_OR_RETURN(const bool byte_fallback, model.flag("byte_fallback", false));
  TERN_ASSIGN_OR_RETURN(const bool no_unknown, model.is_unset("unk_token"));
  if ((byte_fallback || !no_unknown) && !bpe->covers_all_bytes()) {
    return model.refused(std::string(byte_fallback ? "byte_fallback" : "unk_token") +
                         " is not supported with a vocabulary that lacks tokens for single bytes");
  }
  definition.token_model = std::move(bpe);
  return {};
}

Result<bool> load_bpe(const GgufTokens& tokens, Definition& definition) {
  const gguf::View& view = tokens.view;
  TERN_ASSIGN_OR_RETURN(const GgufPreTokenizer* pre, find_gguf_pre_tokenizer(view, definition.warnings));
  const auto pre_name = view.get_string("tokenizer.ggml.pre");
  definition.pre_tokenizer_name = pre_name ? std::string(*pre_name) : std::string();
  for (const std::string_view pattern : pre->patterns) {
    TERN_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern, view.where_key("tokenizer.ggml.pre")));
    definition.pre_tokenizer.add_split(std::move(regex), SplitBehavior::kIsolated, false);
  }
  auto bpe = std::make_unique<Bpe>();
  bpe->set_ignore_merges(pre->ignore_merges);
  TERN_ASSIGN_OR_RETURN(const auto merges, view.get_strings("tokenizer.ggml.merges"));
  bpe->reserve(merges.size());
  MergeList list(*bpe, definition.vocabulary);
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto place = [&] { return view.where_key("tokenizer.ggml.merges") + "[" + std::to_string(i) + "]"; };
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos) {
      return invalid_input(place(), "'" + printable(merges[i], 60) + "' is not two tokens with a space between");
    }
    TERN_RETURN_IF_ERROR(list.add(merges[i].substr(0, space), merges[i].substr(space + 1), place));
  }
  list.finish(definition.warnings);
  bpe->set_byte_tokens(definition.vocabulary);
  definition.token_model = std::move(bpe);
  return pre->add_bos;
}

}  // namespace tern::tokenizer
