#include "tern/estimate/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "tern/compare/sided.h"
#include "tern/gguf/view.h"

namespace tern::estimate {
namespace {

using Ids = std::span<const int32_t>;

size_t n_leading(Ids ids, std::optional<int32_t> id) {
  return static_cast<size_t>(std::find_if(ids.begin(), ids.end(), [&](int32_t own) { return own != id; }) -
                             ids.begin());
}

bool are_equal(Ids a, Ids b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::optional<int32_t> id_of(const gguf::View& view, const char* key) {
  const auto id = view.get_uint(key, 0, INT32_MAX);
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

outcome::Cause cause(std::string id, std::string evidence, Json parameters) {
  return {std::move(id), "tokens", 1, std::move(evidence), std::move(parameters)};
}

// One side has the other's ids, and one more in front.
std::optional<outcome::Cause> difference_in_front(const SpecialIds& special, Ids a, Ids b) {
  const bool is_longer = a.size() > b.size();
  const Ids longer = is_longer ? a : b, shorter = is_longer ? b : a;
  if (longer.size() != shorter.size() + 1 || !are_equal(longer.subspan(1), shorter) || longer[0] != special.bos) {
    return std::nullopt;
  }
  const auto side_of = [&](bool of_longer) { return of_longer == is_longer ? "subject" : "reference"; };
  const size_t n_more = n_leading(longer, special.bos);
  if (n_more > 1) {
    return cause("doubled_bos",
                 fmt::format("the {}'s prompt begins with {} BOS tokens (id {}), the {}'s with {}", side_of(true),
                             n_more, longer[0], side_of(false), n_more - 1),
                 {{"bos", longer[0]}, {"n_bos", n_more}, {"expected", 1}});
  }
  return cause("missing_bos",
               fmt::format("the {}'s {} prompt ids are the other side's without the first one, {}, "
                           "which is the vocabulary's BOS",
                           side_of(false), shorter.size(), longer[0]),
               {{"bos", longer[0]}, {"n_bos", 0}, {"expected", 1}});
}

std::optional<outcome::Cause> difference_behind(const SpecialIds& special, Ids a, Ids b) {
  const bool is_longer = a.size() > b.size();
  const Ids longer = is_longer ? a : b, shorter = is_longer ? b : a;
  if (longer.size() != shorter.size() + 1 || !are_equal(longer.first(shorter.size()), shorter) ||
      longer.back() != special.eos) {
    return std::nullopt;
  }
  return cause("tokenizer",
               fmt::format("the {}'s prompt ends with an EOS token (id {}) that the other side's has not",
                           is_longer ? "subject" : "reference", longer.back()),
               {{"eos", longer.back()}});
}

}  // namespace

std::optional<outcome::Cause> cause_of_prompts(const SpecialIds& special, const trace::RunResult& subject,
                                               const trace::RunResult& reference) {
  const Ids a = subject.prompt_tokens, b = reference.prompt_tokens;
  if (a.empty() || b.empty() || are_equal(a, b)) {
    return std::nullopt;
  }
  if (auto found = difference_in_front(special, a, b)) {
    return found;
  }
  if (auto found = difference_behind(special, a, b)) {
    return found;
  }
  const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  const auto id_at = [at](Ids ids) {
    return static_cast<size_t>(at) < ids.size() ? Json(ids[static_cast<size_t>(at)]) : Json(nullptr);
  };
  return cause(
      "tokenizer",
      fmt::format("the same prompt became {} ids and {} ids, which differ from position {} on", a.size(), b.size(), at),
      {{"position", at}, {"subject", id_at(a)}, {"reference", id_at(b)}});
}

std::optional<outcome::Cause> cause_of_prompts(const std::filesystem::path& model, const trace::RunResult& subject,
                                               const trace::RunResult& reference) {
  SpecialIds special;
  if (const auto view = gguf::View::open(model)) {
    special = {id_of(*view, "tokenizer.ggml.bos_token_id"), id_of(*view, "tokenizer.ggml.eos_token_id")};
  }
  return cause_of_prompts(special, subject, reference);
}

}  // namespace tern::estimate
