// Two faults in one run: the first in execution order is what a judge must find, and that it does not explain all.
#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

DrawnFault any_visible(Dice& dice, const FaultyModel& model) {
  const auto kinds = {drawn_weight_faults(), drawn_reading_faults(), drawn_graph_faults(), drawn_rope_faults(),
                      drawn_attention_faults()};
  while (true) {
    const FaultVariant& variant = dice.pick(dice.pick(kinds));
    if (variant.fits(model) && !variant.may_hide) {
      return variant.draw(dice, model);
    }
  }
}

bool share_a_stage(const DrawnFault& one, const DrawnFault& other) {
  return std::any_of(one.stages.begin(), one.stages.end(), [&](const Stage stage) {
    return std::find(other.stages.begin(), other.stages.end(), stage) != other.stages.end();
  });
}

DrawnFault two_faults(Dice& dice, const FaultyModel& model) {
  while (true) {
    DrawnFault first = any_visible(dice, model), second = any_visible(dice, model);
    if (second.claimed_place() < first.claimed_place()) {
      std::swap(first, second);
    }
    // One cause may hold in two places, and then leaves nothing unexplained.
    const bool may_be_one = first.causes.front().id == second.causes.front().id;
    if (!share_a_stage(first, second) && !may_be_one) {
      first.does += ", and " + second.does;
      first.besides.push_back(std::move(second));
      return first;
    }
  }
}

constexpr FaultVariant kPairsOfFaults[] = {{"two faults", "any two", any_model, two_faults}};

}  // namespace

std::span<const FaultVariant> drawn_pairs_of_faults() { return kPairsOfFaults; }

}  // namespace tern::oracle
