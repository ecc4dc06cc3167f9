#include "tern/estimate/rope_some.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/rope_turns.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

constexpr double kNoRotation = 0.01;  // Turns::residual

// The textbook's up to a position, and another base from there on.
Proposal base_from_position(const oracle::Hyperparameters& hp, double base, size_t from) {
  return {"rope_base",
          {{"rope_base", base}, {"expected", hp.rope_base}, {"positions", {from, nullptr}}},
          fmt::format("the RoPE base is {:.6g} instead of {:.6g} from position {} on", base, hp.rope_base, from),
          [textbook = textbook_rope(hp), wrong = rope_base_fault(hp, base).rule,
           from](const StageFacts& facts) -> std::optional<Matrix> {
            const std::optional<Matrix> x = input_of_stage(facts);
            const std::vector<RopeToken> tokens = rope_tokens(facts);
            std::optional<Matrix> y = x ? rotated(*x, textbook, tokens) : std::nullopt;
            const std::optional<Matrix> other = x ? rotated(*x, wrong, tokens) : std::nullopt;
            for (size_t t = 0; y && other && t < tokens.size(); ++t) {
              if (tokens[t].position >= from) {
                std::copy_n(other->row(t).begin(), y->n_features, y->row(t).begin());
              }
            }
            return y;
          },
          kTableMeasured};
}

// Where the first tokens are turned as they should be, and more than their first one, at position 0, is turned.
void find_late_base(const StageFacts& facts, const Turns& turns, std::vector<Proposal>& proposals) {
  constexpr double kRight = 1e-5;
  const oracle::Hyperparameters& hp = facts.steps().hyperparameters();
  const std::vector<double> usual = textbook_rope(hp).frequencies, positions = turns.positions();
  size_t from = 0;
  while (from < positions.size() && turns.only({from}).misfit(usual, {positions[from]}) < kRight) {
    ++from;
  }
  if (from == positions.size() || from == 0 || turns.tokens[from - 1].position == 0) {
    return;
  }
  std::vector<size_t> chosen = telling_tokens(positions.size() - from);
  std::transform(chosen.begin(), chosen.end(), chosen.begin(), [from](size_t t) { return t + from; });
  proposals.push_back(base_from_position(hp, nearest_base(turns.only(chosen)), turns.tokens[from].position));
}

// The columns of the head that begins at `begin`.
Matrix head_of(const Matrix& x, size_t begin, size_t head) {
  std::vector<uint64_t> columns(head);
  std::iota(columns.begin(), columns.end(), begin);
  return columns_of(x, columns);
}

// Each head's own position for a token, by the head's number; the textbook's rule otherwise.
using PositionInHead = std::function<double(double number, const RopeToken& token)>;

Proposal positions_of_heads(Json parameters, std::string says, std::vector<double> numbers, PositionInHead position) {
  return {
      "rope_position", std::move(parameters), std::move(says),
      [numbers = std::move(numbers), position = std::move(position)](const StageFacts& facts) -> std::optional<Matrix> {
        const std::optional<Matrix> x = input_of_stage(facts);
        RopeRule rule = textbook_rope(facts.steps().hyperparameters());
        const size_t head = rule.layout.head;
        if (!x || x->n_features % head != 0 || x->n_features / head > numbers.size()) {
          return std::nullopt;
        }
        Matrix y(x->n_tokens, x->n_features);
        for (size_t h = 0; h < x->n_features / head; ++h) {
          rule.position = [&, h](const RopeToken& token) { return position(numbers[h], token); };
          const std::optional<Matrix> part = rotated(head_of(*x, h * head, head), rule, rope_tokens(facts));
          for (size_t t = 0; part && t < y.n_tokens; ++t) {
            std::copy_n(part->row(t).begin(), head, y.row(t).begin() + static_cast<std::ptrdiff_t>(h * head));
          }
        }
        return y;
      },
      kTableMeasured};
}

// Where each head by itself is turned, but not all of them alike: in each, a position for all tokens, or a factor.
void find_heads(const StageFacts& facts, const Matrix& x, const RopeRule& textbook, std::vector<Proposal>& proposals) {
  constexpr size_t kEnough = 12;  // tokens
  const size_t head = textbook.layout.head;
  const std::vector<RopeToken> tokens = rope_tokens(facts);
  std::vector<double> places, factors;
  for (size_t begin = 0; begin + head <= x.n_features; begin += head) {
    const Turns all = turns_of(head_of(x, begin, head), head_of(*facts.is(), begin, head), textbook.layout, tokens);
    std::vector<size_t> chosen;
    for (size_t t = 0; t < tokens.size() && chosen.size() < kEnough; ++t) {
      if (tokens[t].position > 0) {
        chosen.push_back(t);
      }
    }
    if (all.residual > kNoRotation || chosen.empty()) {
      return;
    }
    const Turns turns = all.only(chosen);
    const std::vector<double> positions = turns.positions();
    const std::vector<double> measured = measured_positions(turns, textbook.frequencies);
    std::vector<double> ratios(measured.size());
    std::transform(measured.begin(), measured.end(), positions.begin(), ratios.begin(), std::divides<>());
    const auto refined = [&](double number, const std::function<double(double number, double position)>& at) {
      const auto misfit = [&](double candidate) {
        std::vector<double> moved(positions.size());
        std::transform(positions.begin(), positions.end(), moved.begin(),
                       [&](double position) { return at(candidate, position); });
        return turns.misfit(textbook.frequencies, moved);
      };
      return shortest_that_fits(number, misfit);
    };
    places.push_back(refined(median(measured), [](double place, double) { return place; }));
    factors.push_back(refined(median(ratios), [](double factor, double position) { return factor * position; }));
  }
  proposals.push_back(positions_of_heads({{"position_of_each_head", places}},
                                         "each head has one position for all tokens", places,
                                         [](double place, const RopeToken&) { return place; }));
  proposals.push_back(positions_of_heads(
      {{"factor_of_each_head", factors}, {"expected", 1.0}},
      "each head multiplies the positions by a factor of its own", factors,
      [](double factor, const RopeToken& token) { return factor * static_cast<double>(token.position); }));
}

}  // namespace

std::vector<Proposal> rope_of_some(const StageFacts& facts, const Matrix& x) {
  const RopeRule textbook = textbook_rope(facts.steps().hyperparameters());
  const Turns turns = turns_of(x, *facts.is(), textbook.layout, rope_tokens(facts));
  std::vector<Proposal> proposals;
  if (turns.residual < kNoRotation) {
    find_late_base(facts, turns, proposals);
  } else {
    find_heads(facts, x, textbook, proposals);
  }
  return proposals;
}

}  // namespace tern::estimate
