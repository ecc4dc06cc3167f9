// The product that gives the logits: what any product may suffer from, the embeddings in place of the output matrix or
// the other way round, and a soft cap.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"

namespace tern::estimate {
namespace {

constexpr const char* kHead = "output.weight";
constexpr const char* kEmbeddings = "token_embd.weight";

void propose_tying(const StageFacts& facts, const Product& product, Proposals& proposals) {
  const auto* other = facts.steps().view().find_tensor(product.weight->name == kHead ? kEmbeddings : kHead);
  if (other == nullptr || other == product.weight || other->dims != product.weight->dims) {
    return;
  }
  proposals.push_back(
      propose("head_tying", {{"read", std::string(other->name)}, {"expected", std::string(product.weight->name)}},
              fmt::format("the logits are made with {} in the place of {}", other->name, product.weight->name), 1,
              [name = std::string(other->name)](const Product& at, const StageFacts& there) {
                const auto* read = there.steps().view().find_tensor(name);
                return read == nullptr ? std::nullopt : std::optional(there.steps().project(at.x, *read));
              }));
}

Matrix capped(Matrix y, double cap) {
  std::transform(y.values.begin(), y.values.end(), y.values.begin(),
                 [cap](double value) { return cap * std::tanh(value / cap); });
  return y;
}

// cap · tanh(x / cap) presses a value of this size down the less, the higher the cap is.
void propose_soft_cap(const StageFacts& facts, Proposals& proposals) {
  constexpr double kLeftOver = 0.2;  // where the input is known but for rounding
  double largest = 0;
  for (const double value : facts.should().values) {
    largest = std::max(largest, std::abs(value));
  }
  if (largest == 0) {
    return;
  }
  const auto distance = [&](double cap) { return misfit(facts, capped(facts.should(), cap)); };
  const double cap = argmin(distance, geometric_grid(largest / 20, largest * 20, 40));
  // A number times all of it is told from a cap by its values alone.
  const bool is_number = facts.is() && distance(cap) > 0.5 * best_factor(facts.should(), *facts.is()).error;
  if (!is_number && distance(cap) < kLeftOver * misfit(facts, facts.should())) {
    const double given = shortest_within(cap, 1e-5 * cap);
    proposals.push_back({"logits_soft_cap",
                         {{"cap", given}, {"expected", nullptr}},
                         fmt::format("the logits are capped softly at {:.6g}", given),
                         [cap](const StageFacts& there) -> std::optional<Matrix> {
                           return there.id().stage == trace::Stage::kLogits ? std::optional(capped(there.should(), cap))
                                                                            : std::nullopt;
                         },
                         facts.is() ? kNumberMeasured : kFitsAnything});
  }
}

}  // namespace

std::vector<Proposal> estimate_head(const StageFacts& facts) {
  Proposals proposals = estimate_projection(facts), own;
  if (const auto product = product_of(facts)) {
    propose_tying(facts, *product, own);
    propose_soft_cap(facts, own);
  }
  for (Proposal& proposal : explaining(std::move(own), facts)) {
    proposals.push_back(std::move(proposal));
  }
  return proposals;
}

}  // namespace tern::estimate
