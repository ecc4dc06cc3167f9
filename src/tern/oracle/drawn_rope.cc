// What can go wrong with RoPE.
#include <cmath>
#include <numbers>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

// Queries and keys, or one of them.
DrawnFault at_rope(Dice& dice, const FaultyModel& model, const std::string& does) {
  const std::vector<Stage> which[] = {
      {Stage::kQRope, Stage::kKRope}, {Stage::kQRope, Stage::kKRope}, {Stage::kQRope}, {Stage::kKRope}};
  return at(dice.pick(which), pick_layers(dice, model), does);
}

using ChangeRope = std::function<void(const Workbench& bench, Workbench::RopeRule& rule)>;
Workbench::Change turning(ChangeRope change) {
  return [change = std::move(change)](const Workbench& bench, const Place& place, Matrix& result) {
    Workbench::RopeRule rule = bench.rope_rule();
    change(bench, rule);
    result = bench.turned_by(bench.of(place.stage == Stage::kQRope ? Stage::kQProj : Stage::kKProj), rule);
  };
}

DrawnFault rope_base(Dice& dice, const FaultyModel& model) {
  double base = model.hp.rope_base;
  while (std::abs(std::log(base / model.hp.rope_base)) < 0.2) {
    base = dice.log_uniform(1000, 1e7);
  }
  DrawnFault fault = at_rope(dice, model, fmt::format("with the base {:.6g}", base));
  fault.change = turning([base](const Workbench& bench, Workbench::RopeRule& rule) {
    rule.angle = [base, width = static_cast<double>(bench.model().head_dim)](double position, size_t pair) {
      return position * std::pow(base, -2.0 * static_cast<double>(pair) / width);
    };
  });
  fault.causes = {{"rope_base", {{"rope_base", base}}}};
  return fault;
}

DrawnFault rope_scaled(Dice& dice, const FaultyModel& model) {
  const double factor = dice.one_in(4) ? dice.log_uniform(0.2, 0.8) : dice.log_uniform(1.25, 32);
  DrawnFault fault = at_rope(dice, model, fmt::format("with positions divided by {:.4g}", factor));
  fault.change = turning([factor](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [factor, own = rule.angle](double position, size_t pair) { return own(position / factor, pair); };
  });
  fault.causes = {{"rope_scaling", {{"type", "linear"}, {"factor", factor}}}};
  return fault;
}

// A scaling for a longer context: pair i turns by its own angle times share / factor + (1 - share).
struct Lengthening {
  std::string type;
  double factor = 1;
  std::vector<double> shares;  // of each pair: 0 for those that turn as they did, 1 for those slowed down by the factor
  Json figures;                // that say where the shares begin and end
  double length = 1;           // of the turned pairs
};

// What its effect tells. Between which turns or pairs the shares rise, and in what way, only two pairs in between tell.
// The factor, only a pair that is slowed down by all of it.
bool tells_its_factor(const Lengthening& scaling) {
  return std::count(scaling.shares.begin(), scaling.shares.end(), 1) > 0;
}
std::vector<ExpectedCause> causes_of(const Lengthening& scaling) {
  const auto n_pairs = static_cast<std::ptrdiff_t>(scaling.shares.size());
  const auto n_slow = std::count(scaling.shares.begin(), scaling.shares.end(), 1);
  const auto n_between = n_pairs - n_slow - std::count(scaling.shares.begin(), scaling.shares.end(), 0);
  ExpectedCause cause{"rope_scaling",
                      {{"type", n_slow == n_pairs ? "linear" : scaling.type}, {"factor", scaling.factor}}};
  if (scaling.length != 1) {
    cause.parameters["magnitude"] = scaling.length;
  }
  if (n_between >= 2) {
    cause.parameters.update(scaling.figures);
  }
  std::vector<ExpectedCause> causes = {cause};
  if (n_slow < n_pairs && n_between < 2) {
    causes.push_back(cause);
    causes.back().parameters["type"] = scaling.type == "yarn" ? "llama3" : "yarn";
  }
  return causes;
}

DrawnFault lengthened(Dice& dice, const FaultyModel& model, const Lengthening& scaling, const std::string& does) {
  DrawnFault fault = at_rope(dice, model, does);
  fault.change = turning([scaling](const Workbench&, Workbench::RopeRule& rule) {
    rule.length = scaling.length;
    rule.angle = [scaling, own = rule.angle](double position, size_t pair) {
      return own(position, pair) * (scaling.shares[pair] / scaling.factor + 1 - scaling.shares[pair]);
    };
  });
  fault.causes = causes_of(scaling);
  return fault;
}

double own_turns(const FaultyModel& model, size_t pair, double context) {
  return context * std::pow(model.hp.rope_base, -2.0 * static_cast<double>(pair) / model.hp.head_dim) /
         (2 * std::numbers::pi);
}

// Llama 3's: pairs that make less than one turn in the context that was trained with are slowed down, those that make
// more than four are not, and the others are in between by their turns.
DrawnFault rope_scaled_by_wavelength(Dice& dice, const FaultyModel& model) {
  constexpr double kSlow = 1, kFast = 4;
  const auto n_pairs = static_cast<size_t>(model.hp.head_dim / 2);
  while (true) {
    const double trained = std::round(dice.log_uniform(32, 8192));
    Lengthening scaling{
        "llama3", dice.log_uniform(2, 16), {}, {{"context", trained}, {"high_frequency_factor", kFast}}};
    for (size_t pair = 0; pair < n_pairs; ++pair) {
      scaling.shares.push_back(1 - std::clamp((own_turns(model, pair, trained) - kSlow) / (kFast - kSlow), 0.0, 1.0));
    }
    if (tells_its_factor(scaling)) {
      return lengthened(dice, model, scaling,
                        fmt::format("scaled as in Llama 3: {:.3g}, {:.0f} tokens", scaling.factor, trained));
    }
  }
}

// YaRN's: the same, between pairs that make 32 turns and one, and in between by their number. Turned pairs are longer
// by a tenth of the factor's logarithm, unless that is left to the scores.
DrawnFault rope_scaled_by_number(Dice& dice, const FaultyModel& model) {
  constexpr double kSlow = 1, kFast = 32;
  const auto width = static_cast<double>(model.hp.head_dim);
  const auto n_pairs = static_cast<size_t>(model.hp.head_dim / 2);
  while (true) {
    const double trained = std::round(dice.log_uniform(32, 8192));
    const auto pair_with = [&](double turns) {
      return width * std::log(trained / (turns * 2 * std::numbers::pi)) / (2 * std::log(model.hp.rope_base));
    };
    const double first = std::max(0.0, std::floor(pair_with(kFast)));
    const double last = std::clamp(std::ceil(pair_with(kSlow)), first + 0.001, width - 1);
    Lengthening scaling{"yarn",
                        dice.log_uniform(2, 16),
                        {},
                        {{"first_pair", static_cast<int>(first)}, {"last_pair", static_cast<int>(last)}}};
    scaling.length = dice.one_in(2) ? 1 : 1 + 0.1 * std::log(scaling.factor);
    for (size_t pair = 0; pair < n_pairs; ++pair) {
      scaling.shares.push_back(std::clamp((static_cast<double>(pair) - first) / (last - first), 0.0, 1.0));
    }
    if (tells_its_factor(scaling)) {
      return lengthened(dice, model, scaling,
                        fmt::format("scaled as YaRN does: {:.3g}, {:.0f} tokens, {}", scaling.factor, trained,
                                    scaling.length == 1 ? "as long as before" : "and lengthened"));
    }
  }
}

DrawnFault rope_offset(Dice& dice, const FaultyModel& model) {
  const int offset = static_cast<int>(1 + dice.below(6)) * (dice.one_in(2) ? 1 : -1);
  DrawnFault fault = at_rope(dice, model, fmt::format("with positions {:+}", offset));
  fault.change = turning([offset](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [offset, own = rule.angle](double position, size_t pair) { return own(position + offset, pair); };
  });
  fault.causes = {{"rope_position", {{"offset", offset}}}};
  return fault;
}

DrawnFault rope_behind_in_decode(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_rope(dice, model, "a position behind in decode steps");
  fault.only_decode = true;
  fault.change = turning([](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [own = rule.angle](double position, size_t pair) { return own(position - 1, pair); };
  });
  fault.causes = {{"rope_position", {{"offset", -1}, {"passes", "decode"}}}};
  return fault;
}

DrawnFault rope_pairing(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_rope(dice, model, "with the other pairing");
  fault.change = turning([](const Workbench&, Workbench::RopeRule& rule) { rule.neox_pairs = !rule.neox_pairs; });
  fault.causes = {{"rope_pairing", {{"pairs", model.hp.rope_neox_pairs ? "neighbours" : "halves"}}}};
  return fault;
}

DrawnFault rope_of_a_part(Dice& dice, const FaultyModel& model) {
  const auto half = static_cast<size_t>(model.hp.head_dim / 2);
  const size_t n_pairs = half / 8 * (1 + dice.below(6));
  DrawnFault fault = at_rope(dice, model, fmt::format("with {} of {} pairs turned", n_pairs, half));
  fault.change = turning([n_pairs](const Workbench&, Workbench::RopeRule& rule) { rule.n_pairs = n_pairs; });
  fault.causes = {{"rope_partial", {{"features", 2 * n_pairs}}}};
  return fault;
}

constexpr FaultVariant kRopeFaults[] = {
    {"RoPE angles", "base", any_model, rope_base},
    {"RoPE angles", "linear scaling", any_model, rope_scaled},
    {"RoPE angles", "Llama 3's scaling", any_model, rope_scaled_by_wavelength},
    {"RoPE angles", "YaRN", any_model, rope_scaled_by_number},
    {"RoPE angles", "offset", any_model, rope_offset},
    {"RoPE angles", "behind in decode steps", any_model, rope_behind_in_decode},
    {"RoPE pairs", "pairing", any_model, rope_pairing},
    {"RoPE pairs", "part of the head", any_model, rope_of_a_part},
};

}  // namespace

std::span<const FaultVariant> drawn_rope_faults() { return kRopeFaults; }

}  // namespace tern::oracle
