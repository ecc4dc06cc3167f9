// RoPE: the angle by which each pair of features was turned at each position, and what rule gives these angles.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/rope_scaling.h"
#include "tern/estimate/rope_some.h"
#include "tern/estimate/rope_turns.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

using Values = std::vector<double>;

class RopeSearch {
 public:
  RopeSearch(const StageFacts& facts, Matrix x)
      : facts_(facts), hp_(facts.steps().hyperparameters()), textbook_(textbook_rope(hp_)), x_(std::move(x)) {}

  std::vector<Proposal> run() {
    std::vector<Turns> seen;
    const std::vector<RopeToken> tokens = rope_tokens(facts_);
    double least = 1;
    for (const RopeLayout& layout : layouts(x_, *facts_.is(), textbook_.layout)) {
      seen.push_back(turns_of(x_, *facts_.is(), layout, tokens));
      least = std::min(least, seen.back().residual);
    }
    constexpr double kRounding = 1e-6, kNoRotation = 0.01;
    for (const Turns& turns : seen) {
      if (turns.residual <= 10 * least + kRounding && turns.residual < kNoRotation) {
        explain(turns.only(telling_tokens(tokens.size())));
      }
    }
    return std::move(proposals_);
  }

 private:
  void explain(const Turns& turns) {
    const Values usual = rope_frequencies(turns.layout, hp_.rope_base);
    propose(turns, "", Json::object(), "", usual, nullptr, kNothingMeasured);
    if (turns.tokens.back().position == 0) {
      return;  // nothing is turned at position 0
    }
    find_base(turns);
    find_positions(turns, usual);
    find_scaling(turns, usual);
    if (turns.layout == textbook_.layout) {
      find_turned_pairs(turns);
    }
  }

  void find_turned_pairs(const Turns& turns) {
    Values grid;
    for (size_t n = 1; n < turns.n_pairs(); ++n) {
      grid.push_back(turns.misfit(rope_pairs_fault(hp_, n).rule.frequencies, turns.positions()));
    }
    if (!grid.empty()) {
      const auto n = static_cast<size_t>(std::min_element(grid.begin(), grid.end()) - grid.begin()) + 1;
      RopeFault fault = rope_pairs_fault(hp_, n);
      propose(turns, fault.id, std::move(fault.parameters), std::move(fault.says), std::move(fault.rule.frequencies),
              nullptr, kNumberMeasured);
    }
  }

  // `position`: null for the textbook's.
  void propose(const Turns& turns, std::string id, Json parameters, std::string says, Values frequencies,
               std::function<double(const RopeToken&)> position, double simplicity) {
    Json layout_parameters = Json::object();
    std::string layout_says;
    const std::string layout_id = describe_layout(turns.layout, textbook_.layout, layout_parameters, layout_says);
    constexpr double kSame = 1e-5;
    RopeRule rule{turns.layout, std::move(frequencies)};
    if (position) {
      rule.position = std::move(position);
    }
    if (std::abs(turns.magnitude - 1) > kSame) {
      rule.magnitude = shortest_within(turns.magnitude, 1e-7);
      layout_parameters["magnitude"] = rule.magnitude;
      layout_says +=
          fmt::format("{}the turned pairs are {:.6g} times as long", layout_says.empty() ? "" : "; ", rule.magnitude);
    }
    if (!id.empty() && !layout_id.empty()) {
      simplicity *= kTableMeasured;
    }
    if (id.empty()) {
      id = layout_id.empty() ? "rope_scaling" : layout_id;
    }
    for (auto& [key, value] : layout_parameters.items()) {
      if (!parameters.contains(key)) {
        parameters[key] = value;
      }
    }
    says += (says.empty() || layout_says.empty() ? "" : "; ") + layout_says;
    proposals_.push_back({std::move(id), std::move(parameters), std::move(says),
                          [rule = std::move(rule)](const StageFacts& facts) -> std::optional<Matrix> {
                            const std::optional<Matrix> x = input_of_stage(facts);
                            return x ? rotated(*x, rule, rope_tokens(facts)) : std::nullopt;
                          },
                          simplicity});
  }

  void find_base(const Turns& turns) {
    const double base = nearest_base(turns);
    if (base != hp_.rope_base) {
      propose(turns, "rope_base", {{"rope_base", base}, {"expected", hp_.rope_base}},
              fmt::format("the RoPE base is {:.6g} instead of {:.6g}", base, hp_.rope_base),
              rope_frequencies(turns.layout, base), nullptr, kNumberMeasured);
    }
  }

  void find_positions(const Turns& turns, const Values& frequencies) {
    const Values positions = turns.positions();
    Values measured = measured_positions(turns, frequencies), offsets(measured.size());
    std::transform(measured.begin(), measured.end(), positions.begin(), offsets.begin(), std::minus<>());
    const auto add = [&](std::string id, Json parameters, std::string says,
                         std::function<double(const RopeToken&)> position, double simplicity) {
      propose(turns, std::move(id), std::move(parameters), std::move(says), frequencies, std::move(position),
              simplicity);
    };
    add("rope_missing", Json::object(), "RoPE is left out", [](const RopeToken&) { return 0.0; }, kNothingMeasured);
    add(
        "rope_direction", Json::object(), "RoPE turns the other way round",
        [](const RopeToken& token) { return -static_cast<double>(token.position); }, kNothingMeasured);
    add(
        "rope_position", {{"restarts", "with each pass"}}, "positions start from 0 in each pass",
        [](const RopeToken& token) { return static_cast<double>(token.index_in_pass); }, kNothingMeasured);
    const auto refined = [&](double number, const std::function<double(double number, double position)>& at) {
      const auto misfit = [&](double candidate) {
        Values moved(positions.size());
        std::transform(positions.begin(), positions.end(), moved.begin(),
                       [&](double position) { return at(candidate, position); });
        return turns.misfit(frequencies, moved);
      };
      return shortest_that_fits(nearest(number, 1e-6, misfit), misfit);
    };
    const double offset = refined(median(offsets), [](double by, double position) { return position + by; });
    const double constant = refined(median(measured), [](double at, double) { return at; });
    const bool is_decode = facts_.id().seq > 0;
    add(
        "rope_position", {{"offset", offset}, {"expected", 0}},
        fmt::format("positions are counted from {:.6g}", offset),
        [offset](const RopeToken& token) { return static_cast<double>(token.position) + offset; },
        is_decode ? kNumberMeasured * kNotBefore : kNumberMeasured);
    if (is_decode) {
      add(
          "rope_position", {{"offset", offset}, {"expected", 0}, {"passes", "decode"}},
          fmt::format("positions of decode steps are off by {:.6g}", offset),
          [offset](const RopeToken& token) {
            return static_cast<double>(token.position) + (token.is_decode ? offset : 0);
          },
          kNumberMeasured);
    }
    add(
        "rope_position", {{"position", constant}}, fmt::format("every token stands at position {:.6g}", constant),
        [constant](const RopeToken&) { return constant; }, kTableMeasured);
    Line line = fit_line(positions, measured);
    if (positions.size() == 1) {
      line = {measured[0] / positions[0], 0};
    }
    if (line.slope > 0) {
      // The factor that configurations state is one over the slope.
      const auto divided = [](double by, double position) { return position / by; };
      const double factor = refined(1 / line.slope, divided);
      const double behind =
          refined(line.intercept, [&](double by, double position) { return position * line.slope + by; });
      propose_factor(turns, frequencies, factor, behind);
    }
    if (positions.size() > 1 && positions.size() == facts_.tokens().size()) {
      const size_t first = facts_.first_position();
      for (double& position : measured) {
        constexpr double kWhole = 1e-4;
        position = std::abs(position - std::nearbyint(position)) < kWhole ? std::nearbyint(position) : position;
      }
      add(
          "rope_position", {{"positions", measured}}, "tokens stand at other positions",
          [measured, first](const RopeToken& token) {
            const size_t i = token.position - first;
            return i < measured.size() ? measured[i] : static_cast<double>(token.position);
          },
          kTableMeasured / 2);
    }
  }

  void propose_factor(const Turns& turns, const Values& frequencies, double factor, double offset) {
    Json parameters = {{"type", "linear"}, {"factor", factor}, {"expected", 1.0}};
    std::string says = fmt::format("RoPE's positions are divided by {:.6g}", factor);
    propose(
        turns, "rope_scaling", parameters, says, frequencies,
        [factor](const RopeToken& token) { return static_cast<double>(token.position) / factor; },
        facts_.id().seq > 0 ? kNumberMeasured * kNotBefore : kNumberMeasured);
    constexpr double kNone = 1e-4;
    if (std::abs(offset) > kNone) {
      parameters["offset"] = offset;
      propose(
          turns, "rope_scaling", parameters, says + fmt::format(", and counted from {:.6g}", offset), frequencies,
          [=](const RopeToken& token) { return static_cast<double>(token.position) / factor + offset; },
          kTableMeasured);
    }
  }

  // Factors that differ from pair to pair.
  void find_scaling(const Turns& turns, const Values& usual) {
    const Values positions = turns.positions(), grid = geometric_grid(1.01, 256, 100);
    const auto best = [&](const std::function<Values(double)>& frequencies) {
      const auto misfit = [&](double factor) { return turns.misfit(frequencies(factor), positions); };
      return shortest_that_fits(argmin(misfit, grid), misfit);
    };
    Values contexts = {8192, 4096, 2048, 32768};
    if (const double own = hp_.n_context; std::find(contexts.begin(), contexts.end(), own) == contexts.end()) {
      contexts.push_back(own);
    }
    const auto add = [&](const char* type, double context, Json parameters, const auto& scaled_by) {
      const double factor = best(scaled_by);
      parameters.update({{"type", type}, {"factor", factor}, {"expected", 1.0}, {"context", context}});
      propose(turns, "rope_scaling", std::move(parameters),
              fmt::format("RoPE is scaled as {} does for a context of {:.0f}, by {:.6g}", type, context, factor),
              scaled_by(factor), nullptr, kNumberMeasured);
    };
    for (const double context : contexts) {
      const Llama3Scaling llama3{1, 1, 4, context};
      add("llama3", context, {{"high_frequency_factor", llama3.high}}, [&](double factor) {
        return scaled_frequencies(usual, Llama3Scaling{factor, llama3.low, llama3.high, context});
      });
      const YarnScaling yarn = yarn_of(1, context, hp_.rope_base, turns.layout.exponent_width);
      add("yarn", context, {{"first_pair", yarn.first_pair}, {"last_pair", yarn.last_pair}}, [&](double factor) {
        return scaled_frequencies(usual, YarnScaling{factor, yarn.first_pair, yarn.last_pair});
      });
    }
    if (facts_.first_position() == 0 && positions.size() > 2) {
      find_each_frequency(turns, usual);
    }
  }

  // A pair's frequency, from token to token: what is known by then says how many whole turns the next one has made.
  static double frequency_of(const Turns& turns, size_t i) {
    double frequency = turns.angle(1, i), along = 0, across = 0;
    for (size_t t = 1; t < turns.tokens.size(); ++t) {
      const auto p = static_cast<double>(turns.tokens[t].position);
      const double off = std::remainder(turns.angle(t, i) - frequency * p, 2 * std::numbers::pi);
      const double weight = turns.weight(t, i);
      across += weight * p * p;
      along += weight * p * (frequency * p + off);
      frequency = across > 0 ? along / across : frequency;
    }
    return frequency;
  }

  void find_each_frequency(const Turns& turns, const Values& usual) {
    if (usual.empty()) {
      return;
    }
    Values frequencies(usual.size()), factors(usual.size());
    for (size_t i = 0; i < usual.size(); ++i) {
      frequencies[i] = frequency_of(turns, i);
      factors[i] = usual[i] / frequencies[i];
    }
    for (MeasuredScaling& scaling : measured_scalings(turns, usual, frequencies)) {
      propose(turns, "rope_scaling", std::move(scaling.parameters), std::move(scaling.says),
              std::move(scaling.frequencies), nullptr, kTableMeasured);
    }
    propose(turns, "rope_scaling", {{"type", "each pair by its own"}, {"factors", factors}},
            "each pair is turned by a factor of its own", frequencies, nullptr, kTableMeasured / 2);
  }

  const StageFacts& facts_;
  const oracle::Hyperparameters& hp_;
  RopeRule textbook_;
  Matrix x_;
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> estimate_rope(const StageFacts& facts) {
  const std::optional<Matrix> x = measurable(facts) ? input_of_stage(facts) : std::nullopt;
  if (!x) {
    return {};
  }
  if (facts.is()) {
    const bool fits = facts.is()->n_tokens == x->n_tokens && facts.is()->n_features == x->n_features;
    if (!fits) {
      return {};
    }
    std::vector<Proposal> proposals = RopeSearch(facts, *x).run();
    for (Proposal& proposal : rope_of_some(facts, *x)) {
      proposals.push_back(std::move(proposal));
    }
    return explaining(std::move(proposals), facts);
  }
  // A rotation leaves the RMS as it is. What was turned otherwise shows in the scores (scores.cc), what was stretched
  // shows here.
  const double should = rms_of(facts.should());
  if (!facts.rms() || !(should > 0)) {
    return {};
  }
  RopeRule rule = textbook_rope(facts.steps().hyperparameters());
  rule.magnitude = *facts.rms() / should;
  Proposal stretched{"rope_scaling",
                     {{"magnitude", rule.magnitude}, {"expected", 1.0}},
                     fmt::format("the turned pairs are {:.6g} times as long", rule.magnitude),
                     [rule](const StageFacts& there) -> std::optional<Matrix> {
                       const std::optional<Matrix> in = input_of_stage(there);
                       return in ? rotated(*in, rule, rope_tokens(there)) : std::nullopt;
                     },
                     kFitsAnything};
  return explaining({std::move(stretched)}, facts);
}

}  // namespace tern::estimate
