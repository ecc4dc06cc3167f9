#include <algorithm>
#include <limits>

#include "tern/compare/parts.h"

namespace tern::compare {

TokenComparison compare_tokens(const trace::EngineRun& subject, const trace::EngineRun& reference) {
  const auto& a = subject.result.generated_tokens;
  const auto& b = reference.result.generated_tokens;
  const auto asked = [](const trace::RunResult& result) {
    return std::max(result.generated_tokens.size(), static_cast<size_t>(std::max(result.max_tokens, 0)));
  };
  TokenComparison tokens;
  tokens.prompt_equal = subject.result.prompt_tokens == reference.result.prompt_tokens;
  tokens.n_asked = std::min(asked(subject.result), asked(reference.result));
  tokens.n_subject = std::min(a.size(), tokens.n_asked);
  tokens.n_reference = std::min(b.size(), tokens.n_asked);
  if (!tokens.prompt_equal) {
    return tokens;
  }
  tokens.n_compared = std::min(tokens.n_subject, tokens.n_reference);
  const size_t n_all = std::max(tokens.n_subject, tokens.n_reference);
  for (size_t step = 0; step < n_all; ++step) {
    const bool equal = step < tokens.n_compared && a[step] == b[step];
    tokens.n_equal += equal;
    if (!equal && !tokens.first_divergence_step) {
      tokens.first_divergence_step = step;
    }
  }
  if (n_all > 0) {
    tokens.exact_match_rate = static_cast<double>(tokens.n_equal) / static_cast<double>(n_all);
  }
  return tokens;
}

int last_comparable_seq(const TokenComparison& tokens) {
  if (!tokens.prompt_equal) {
    return -1;
  }
  if (!tokens.first_divergence_step) {
    return std::numeric_limits<int>::max();
  }
  // Token s comes out of pass s, so pass s still had equal tokens before it, unless a side stopped before running it.
  const size_t step = *tokens.first_divergence_step;
  const size_t last = step < tokens.n_compared || step == 0 ? step : step - 1;
  return static_cast<int>(last);
}

}  // namespace tern::compare
