// act(gate) * up: which function's curve, over which of the two, and where it is clamped.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>
#include <numeric>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"

namespace tern::estimate {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }

struct Function {
  const char* name;
  double (*of)(double x);
};
// Curves that feed-forward blocks use.
constexpr Function kFunctions[] = {
    {"relu_squared", [](double x) { return x > 0 ? x * x : 0; }},
    {"relu", [](double x) { return std::max(x, 0.0); }},
    {"silu", [](double x) { return x * sigmoid(x); }},
    {"gelu", [](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }},
    {"gelu_tanh",
     [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }},
    {"gelu_quick", [](double x) { return x * sigmoid(1.702 * x); }},
    {"identity", [](double x) { return x; }},
    {"sigmoid", sigmoid},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"square", [](double x) { return x * x; }},
    {"absolute", [](double x) { return std::abs(x); }},
    {"relu6", [](double x) { return std::clamp(x, 0.0, 6.0); }},
    {"softplus", softplus},
    {"mish", [](double x) { return x * std::tanh(softplus(x)); }},
    {"elu", [](double x) { return x > 0 ? x : std::expm1(x); }},
    {"hard_swish", [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
    {"hard_sigmoid", [](double x) { return std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
    {"exp", [](double x) { return std::exp(x); }},
    {"silu_squared", [](double x) { return x * sigmoid(x) * x * sigmoid(x); }},
    {"one", [](double) { return 1.0; }},
};

const Function& textbook(const oracle::Hyperparameters& hp) {
  const std::string_view name = hp.relu_squared ? "relu_squared" : "silu";
  return *std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](const Function& f) { return f.name == name; });
}

// What is done with gate and up.
struct ActivationRule {
  std::function<double(double gate)> function;
  bool exchanged = false;  // gate and up
  bool without_up = false;
  bool adds_up = false;  // instead of multiplying
  double factor = 1;
  double up_offset = 0;
  double gate_high = std::numeric_limits<double>::infinity(), gate_low = -gate_high;
  double up_limit = gate_high;   // |up| is no greater
  double out_limit = gate_high;  // |output| is no greater

  double of(double gate, double up) const {
    if (exchanged) {
      std::swap(gate, up);
    }
    const double activated = function(std::clamp(gate, gate_low, gate_high));
    const double other = without_up ? 1 : std::clamp(up, -up_limit, up_limit) + up_offset;
    return std::clamp(factor * (adds_up ? activated + other : activated * other), -out_limit, out_limit);
  }
};

struct Inputs {
  Matrix gate, up;
};

std::optional<Inputs> inputs_of(const StageFacts& facts) {
  std::optional<Matrix> gate = facts.input(trace::Stage::kGateProj), up = facts.input(trace::Stage::kUpProj);
  if (!gate || !up || gate->n_tokens != up->n_tokens || gate->n_features != up->n_features) {
    return std::nullopt;
  }
  return Inputs{std::move(*gate), std::move(*up)};
}

Matrix activated(const Inputs& in, const ActivationRule& rule) {
  Matrix out(in.gate.n_tokens, in.gate.n_features);
  for (size_t i = 0; i < out.values.size(); ++i) {
    out.values[i] = rule.of(in.gate.values[i], in.up.values[i]);
  }
  return out;
}

// The tokens that are furthest off: many thousand points of the curve, clamped ones among them.
std::vector<size_t> telling_tokens(const Matrix& should, const Matrix& is) {
  constexpr size_t kTelling = 32;
  std::vector<std::pair<double, size_t>> by_error;
  for (size_t t = 0; t < is.n_tokens; ++t) {
    const auto a = should.row(t), b = is.row(t);
    by_error.emplace_back(std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                                                [](double x, double y) { return -(x - y) * (x - y); }),
                          t);
  }
  std::sort(by_error.begin(), by_error.end());
  by_error.resize(std::min(by_error.size(), kTelling));
  std::vector<size_t> tokens;
  for (const auto& [error, t] : by_error) {
    tokens.push_back(t);
  }
  return tokens;
}

Matrix rows_of(const Matrix& x, const std::vector<size_t>& tokens) {
  Matrix rows(tokens.size(), x.n_features);
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::copy(x.row(tokens[i]).begin(), x.row(tokens[i]).end(), rows.row(i).begin());
  }
  return rows;
}

class ActivationSearch {
 public:
  ActivationSearch(const StageFacts& facts, Inputs in)
      : facts_(facts), usual_(textbook(facts.steps().hyperparameters())) {
    if (facts.is()) {
      const std::vector<size_t> tokens = telling_tokens(facts.should(), *facts.is());
      in = {rows_of(in.gate, tokens), rows_of(in.up, tokens)};
      y_ = rows_of(*facts.is(), tokens);
      clean_ = relative_error(activated(in, plain()), y_);
    }
    in_ = std::move(in);
  }

  std::vector<Proposal> run() {
    propose_functions();
    if (facts_.is()) {
      find_factor();
      find_power(y_);
      find_limits(y_);
    } else if (facts_.rms()) {
      solve(*facts_.rms());
    }
    return std::move(proposals_);
  }

 private:
  ActivationRule plain() const { return {usual_.of}; }

  void add(std::string id, Json parameters, std::string says, ActivationRule rule,
           double simplicity = kNothingMeasured) {
    // What does not fit these tokens need not be computed for all.
    constexpr double kWorthIt = 0.5;
    if (facts_.is() && relative_error(activated(in_, rule), y_) > kWorthIt * clean_) {
      return;
    }
    proposals_.push_back({std::move(id), std::move(parameters), std::move(says),
                          [rule = std::move(rule)](const StageFacts& facts) {
                            const std::optional<Inputs> in = inputs_of(facts);
                            return in ? std::optional(activated(*in, rule)) : std::nullopt;
                          },
                          simplicity});
  }

  void propose_functions() {
    for (const Function& function : kFunctions) {
      const bool is_usual = &function == &usual_;
      const Json parameters = {{"function", function.name}, {"expected", usual_.name}};
      const std::string says = fmt::format("{} in place of {}", function.name, usual_.name);
      ActivationRule rule{function.of};
      if (!is_usual) {
        add("activation_function", parameters, says, rule);
      }
      rule.exchanged = true;
      Json exchanged = {{"exchanged", {"gate", "up"}}};
      if (!is_usual) {
        exchanged.update(parameters);
      }
      add("weights_swapped", exchanged, "gate and up change places" + (is_usual ? "" : ", and " + says), rule,
          is_usual ? kNothingMeasured : kNumberMeasured);
      rule.without_up = true;
      add("activation_function", {{"function", function.name}, {"missing", "gate"}, {"expected", usual_.name}},
          fmt::format("the gate is left out: {} of up alone", function.name), rule,
          is_usual ? kNothingMeasured : kNumberMeasured);
      rule.exchanged = false;
      add("activation_function", {{"function", function.name}, {"missing", "up"}, {"expected", usual_.name}},
          fmt::format("up is left out: {} of the gate alone", function.name), rule,
          is_usual ? kNothingMeasured : kNumberMeasured);
    }
    ActivationRule rule = plain();
    rule.adds_up = true;
    add("activation_function", {{"function", usual_.name}, {"combined", "sum"}, {"expected", "product"}},
        "up is added to the activation instead of multiplied with it", rule);
    rule = plain();
    rule.up_offset = 1;
    add("activation_function", {{"function", usual_.name}, {"up_offset", 1.0}, {"expected", 0.0}}, "1 is added to up",
        rule);
  }

  void add_factor(double factor, const Function& function, double simplicity) {
    ActivationRule rule{function.of};
    rule.factor = factor;
    Json parameters = {{"factor", factor}, {"expected", 1.0}};
    std::string says = fmt::format("the activation is multiplied by {:.6g}", factor);
    if (&function != &usual_) {
      parameters = {{"function", function.name}, {"expected", usual_.name}, {"factor", factor}};
      says = fmt::format("{} in place of {}, multiplied by {:.6g}", function.name, usual_.name, factor);
    }
    add(&function == &usual_ ? "activation_factor" : "activation_function", std::move(parameters), std::move(says),
        rule, simplicity);
  }

  void find_factor() {
    constexpr double kRounding = 1e-6;
    for (const Function& function : kFunctions) {
      const Matrix y = activated(in_, {function.of});
      const auto& is = y_.values;
      const double size = std::transform_reduce(y.values.begin(), y.values.end(), y.values.begin(), 0.0);
      const double factor = std::transform_reduce(y.values.begin(), y.values.end(), is.begin(), 0.0) / size;
      if (std::isfinite(factor)) {
        add_factor(shortest_within(factor, kRounding * std::abs(factor)), function,
                   &function == &usual_ ? kNumberMeasured : kTableMeasured);
      }
    }
  }

  // Families with one number in them.
  void add_sloped(double beta, double simplicity) {
    add("activation_function", {{"function", "x * sigmoid(beta * x)"}, {"beta", beta}, {"expected", usual_.name}},
        fmt::format("x * sigmoid({:.6g} x) in place of {}", beta, usual_.name),
        {[beta](double x) { return x * sigmoid(beta * x); }}, simplicity);
  }
  void add_leaky(double slope, double simplicity) {
    add("activation_function", {{"function", "leaky_relu"}, {"slope", slope}, {"expected", usual_.name}},
        fmt::format("ReLU with a slope of {:.6g} below 0 in place of {}", slope, usual_.name),
        {[slope](double x) { return x > 0 ? x : slope * x; }}, simplicity);
  }
  void add_power(double power, double simplicity) {
    add("activation_function", {{"function", "relu^p"}, {"power", power}, {"expected", usual_.name}},
        fmt::format("ReLU to the power of {:.6g} in place of {}", power, usual_.name),
        {[power](double x) { return x > 0 ? std::pow(x, power) : 0; }}, simplicity);
  }

  void find_power(const Matrix& y) {
    constexpr double kRounding = 1e-5;
    std::vector<double> log_gate, log_ratio, slopes;
    for (size_t i = 0; i < y.values.size(); ++i) {
      const double gate = in_.gate.values[i], ratio = y.values[i] / in_.up.values[i];
      if (gate > 0 && ratio > 0 && std::isfinite(ratio)) {
        log_gate.push_back(std::log(gate));
        log_ratio.push_back(std::log(ratio));
      } else if (gate < 0 && std::isfinite(ratio)) {
        slopes.push_back(ratio / gate);
      }
    }
    if (log_gate.size() > 1) {
      add_power(shortest_within(fit_line(log_gate, log_ratio).slope, kRounding), kNumberMeasured);
    }
    if (!slopes.empty()) {
      add_leaky(shortest_within(median(slopes), kRounding), kNumberMeasured);
    }
    const auto misfit = [&](double beta) {
      return relative_error(activated(in_, {[beta](double x) { return x * sigmoid(beta * x); }}), y);
    };
    add_sloped(shortest_that_fits(argmin(misfit, geometric_grid(0.05, 50, 60)), misfit), kNumberMeasured);
  }

  // `where`: "gate", "up" or "output".
  ActivationRule limited(const std::string& where, double limit, bool both) const {
    ActivationRule rule = plain();
    if (where == "gate") {
      rule.gate_high = limit;
      rule.gate_low = both ? -limit : rule.gate_low;
    } else {
      (where == "up" ? rule.up_limit : rule.out_limit) = limit;
    }
    return rule;
  }
  void add_limit(const std::string& where, double limit, bool both, double simplicity) {
    Json parameters = {{"clamped", where}, {"limit", limit}, {"expected", nullptr}};
    if (where == "gate") {
      parameters["sides"] = both ? 2 : 1;
    }
    add("activation_clamp", std::move(parameters), fmt::format("the {} is clamped at {:.6g}", where, limit),
        limited(where, limit, both), simplicity);
  }

  // A clamp changes the greatest values alone, and all of them to one.
  void find_limits(const Matrix& y) {
    const auto largest = [](const Matrix& x) {
      double most = 0;
      for (const double value : x.values) {
        most = std::max(most, std::abs(value));
      }
      return most;
    };
    for (const auto& [where, both, most] :
         {std::tuple("gate", false, largest(in_.gate)), std::tuple("gate", true, largest(in_.gate)),
          std::tuple("up", true, largest(in_.up))}) {
      const auto misfit = [&, where = where, both = both](double limit) {
        return relative_error(activated(in_, limited(where, limit, both)), y);
      };
      if (most > 0) {
        add_limit(where, shortest_that_fits(argmin(misfit, geometric_grid(1e-3 * most, most, 120)), misfit), both,
                  both ? kNumberMeasured : kNumberMeasured * 0.9);
      }
    }
    // Of outputs that are clamped, the largest is the limit.
    if (const double limit = largest(y); limit > 0) {
      add_limit(
          "output",
          shortest_that_fits(
              limit, [&](double near) { return relative_error(activated(in_, limited("output", near, true)), y); }),
          true, kNumberMeasured);
    }
  }

  // Numbers that give the recorded RMS.
  void solve(double rms) {
    const auto beyond = [&](const ActivationRule& rule) { return rms_of(activated(in_, rule)) - rms; };
    const auto grid = geometric_grid(0.01, 100, 41);
    for (const double power :
         roots([&](double p) { return beyond({[p](double x) { return x > 0 ? std::pow(x, p) : 0; }}); }, grid)) {
      add_power(power, kTableMeasured);
    }
    for (const double beta :
         roots([&](double b) { return beyond({[b](double x) { return x * sigmoid(b * x); }}); }, grid)) {
      add_sloped(beta, kTableMeasured);
    }
    for (const double slope :
         roots([&](double s) { return beyond({[s](double x) { return x > 0 ? x : s * x; }}); }, grid)) {
      add_leaky(slope, kTableMeasured);
    }
    for (const char* where : {"gate", "up", "output"}) {
      const auto limits = geometric_grid(1e-3, 1e4, 71);
      for (const double limit : roots([&](double c) { return beyond(limited(where, c, true)); }, limits)) {
        add_limit(where, limit, true, kTableMeasured);
      }
    }
    if (const double should = rms_of(facts_.should()); should > 0) {
      add_factor(rms / should, usual_, kFitsAnything);
    }
  }

  const StageFacts& facts_;
  const Function& usual_;
  Inputs in_;         // where there are values: of some tokens
  Matrix y_;          // what the side computed for these
  double clean_ = 0;  // the error that there is
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> estimate_activation(const StageFacts& facts) {
  std::optional<Inputs> in = measurable(facts) ? inputs_of(facts) : std::nullopt;
  const bool fits =
      in && in->gate.n_tokens == facts.should().n_tokens && in->gate.n_features == facts.should().n_features;
  return fits ? explaining(ActivationSearch(facts, std::move(*in)).run(), facts) : std::vector<Proposal>();
}

}  // namespace tern::estimate
