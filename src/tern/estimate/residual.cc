// A sum with what went into the half of the layer: an addend missing, doubled, scaled, or taken from elsewhere.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "tern/estimate/least_squares.h"
#include "tern/estimate/numerics.h"

namespace tern::estimate {
namespace {

using trace::Stage;

// One addend of a sum.
struct Addend {
  std::string name;  // for people: "o_proj", "what went into the layer"
  std::function<std::optional<Matrix>(const StageFacts& facts)> values;
};

Addend of_stage(Stage stage) {
  return {std::string(stage.name()), [stage](const StageFacts& facts) { return facts.input(stage); }};
}

Addend of_layer() {
  return {"what went into the layer", [](const StageFacts& facts) { return facts.layer_input(); }};
}

// The residual stream and what the block adds to it, in this order; none for another stage.
std::vector<Addend> addends_of(Stage stage) {
  if (stage == Stage::kFfnInp) {
    return {of_layer(), of_stage(Stage::kOProj)};
  }
  return stage == Stage::kOut ? std::vector<Addend>{of_stage(Stage::kFfnInp), of_stage(Stage::kDownProj)}
                              : std::vector<Addend>();
}

// What could stand in the place of an addend.
std::vector<Addend> others(Stage stage) {
  std::vector<Addend> list = {of_stage(Stage::kEmbeddings), of_stage(Stage::kAttnNorm), of_stage(Stage::kAttnOut),
                              of_stage(Stage::kAttnSubNorm)};
  if (stage == Stage::kOut) {
    list.insert(list.end(), {of_layer(), of_stage(Stage::kOProj), of_stage(Stage::kFfnNorm)});
  }
  return list;
}

Matrix sum(const Matrix& a, double times_a, const Matrix& b, double times_b) {
  Matrix y = a;
  for (size_t i = 0; i < y.values.size(); ++i) {
    y.values[i] = times_a * a.values[i] + times_b * b.values[i];
  }
  return y;
}

Proposal sum_of(const Addend& a, double times_a, const Addend& b, double times_b, Json parameters, std::string says,
                double simplicity, Stage stage) {
  return {"residual", std::move(parameters), std::move(says),
          [=](const StageFacts& facts) -> std::optional<Matrix> {
            if (facts.id().stage != stage && facts.id().stage != Stage::kFfnInp && facts.id().stage != Stage::kOut) {
              return std::nullopt;
            }
            // A mistake of one half of the layer may be made in the other.
            const std::vector<Addend> own = addends_of(facts.id().stage);
            const std::vector<Addend> meant = addends_of(stage);
            const auto here = [&](const Addend& addend) {
              return addend.name == meant[0].name ? own[0] : addend.name == meant[1].name ? own[1] : addend;
            };
            const auto x = here(a).values(facts), term = here(b).values(facts);
            return x && term && x->values.size() == term->values.size()
                       ? std::optional(sum(*x, times_a, *term, times_b))
                       : std::nullopt;
          },
          simplicity};
}

std::string factor_text(const std::string& name, double factor) {
  return factor == 0    ? name + " is not added"
         : factor == 2  ? name + " is added twice"
         : factor == -1 ? name + " is taken away instead of added"
                        : fmt::format("{} is added {:.6g} times", name, factor);
}

class Sum {
 public:
  Sum(const StageFacts& facts, std::vector<Addend> addends, Matrix a, Matrix b)
      : facts_(facts), stage_(facts.id().stage), addends_(std::move(addends)), a_(std::move(a)), b_(std::move(b)) {}

  std::vector<Proposal> run() {
    for (const double factor : {0.0, 2.0, -1.0}) {
      propose(1, factor, 1);
      propose(factor, 1, 1);
    }
    if (facts_.is()) {
      measure(*facts_.is());
    } else if (facts_.rms()) {
      solve(*facts_.rms());
    }
    look_elsewhere();
    return explaining(std::move(proposals_), facts_);
  }

 private:
  static constexpr double kLikeOne = 1e-3;

  // Factors of the stream and of what the block adds.
  void propose(double times_a, double times_b, double simplicity) {
    const bool is_stream = times_b == 1;
    const Addend& named = addends_[is_stream ? 0 : 1];
    const double factor = given(is_stream ? times_a : times_b);
    if (times_a == 1 && times_b == 1) {
      return;
    }
    if (times_a != 1 && times_b != 1) {
      proposals_.push_back(
          sum_of(addends_[0], times_a, addends_[1], times_b,
                 {{"addends", {addends_[0].name, addends_[1].name}}, {"factors", {given(times_a), given(times_b)}}},
                 fmt::format("{} and {}", factor_text(addends_[0].name, given(times_a)),
                             factor_text(addends_[1].name, given(times_b))),
                 kTableMeasured, stage_));
      return;
    }
    proposals_.push_back(sum_of(addends_[0], times_a, addends_[1], times_b,
                                {{"addend", named.name}, {"factor", factor}, {"expected", 1.0}},
                                factor_text(named.name, factor), simplicity, stage_));
  }

  static constexpr double kUncertainty = 2e-6;
  // The factor as reports state it. Sums are computed with the measured factor: they are exact to float32's rounding.
  static double given(double factor) { return shortest_within(factor, kUncertainty * std::max(std::abs(factor), 1.0)); }

  void measure(const Matrix& is) {
    const auto factors = least_squares({a_.values, b_.values}, is.values);
    if (factors.size() != 2) {
      return;
    }
    propose(factors[0], factors[1], kNumberMeasured);
    // Where one addend is as it should be, the other one's factor alone.
    for (const bool stream : {false, true}) {
      if (std::abs(factors[stream ? 1 : 0] - 1) < kLikeOne) {
        const Matrix rest = sum(is, 1, stream ? b_ : a_, -1);
        const auto factor = least_squares({stream ? a_.values : b_.values}, rest.values);
        if (factor.size() == 1) {
          stream ? propose(factor[0], 1, kNumberMeasured) : propose(1, factor[0], kNumberMeasured);
        }
      }
    }
  }

  // |a + f b|² = n rms² has two roots, and |f a + b|² too.
  void solve(double rms) {
    const auto dot = [](const Matrix& x, const Matrix& y) {
      return std::transform_reduce(x.values.begin(), x.values.end(), y.values.begin(), 0.0);
    };
    const double both = dot(a_, b_), wanted = rms * rms * static_cast<double>(a_.values.size());
    for (const bool stream : {false, true}) {
      const double fixed = dot(stream ? b_ : a_, stream ? b_ : a_), scaled = dot(stream ? a_ : b_, stream ? a_ : b_);
      const double root = both * both - scaled * (fixed - wanted);
      if (!(scaled > 0) || root < 0) {
        continue;
      }
      for (const double sign : {1.0, -1.0}) {
        const double factor = shortest_within((-both + sign * std::sqrt(root)) / scaled, 1e-5);
        stream ? propose(factor, 1, kFitsAnything) : propose(1, factor, kFitsAnything);
      }
    }
  }

  // One addend as it is, and another tensor in the place of the other, once or any number of times.
  void look_elsewhere() {
    for (const Addend& other : others(stage_)) {
      const auto c = other.values(facts_);
      if (!c || c->values.size() != a_.values.size()) {
        continue;
      }
      for (const size_t kept : {0U, 1U}) {
        proposals_.push_back(sum_of(
            addends_[kept], 1, other, 1, {{"addend", addends_[1 - kept].name}, {"factor", 0.0}, {"taken", other.name}},
            fmt::format("{} is added in the place of {}", other.name, addends_[1 - kept].name), 0.8, stage_));
      }
    }
  }

  const StageFacts& facts_;
  Stage stage_;
  std::vector<Addend> addends_;
  Matrix a_, b_;
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> estimate_residual(const StageFacts& facts) {
  std::vector<Addend> addends = addends_of(facts.id().stage);
  auto a = addends.empty() ? std::nullopt : addends[0].values(facts);
  auto b = addends.empty() ? std::nullopt : addends[1].values(facts);
  if (!a || !b || a->values.size() != b->values.size() || a->values.size() != facts.should().values.size()) {
    return {};
  }
  return Sum(facts, std::move(addends), std::move(*a), std::move(*b)).run();
}

}  // namespace tern::estimate
