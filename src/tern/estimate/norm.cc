// RMSNorm, y = x / sqrt(mean(x^2) + epsilon) * weight: another weight, another epsilon, another divisor.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "tern/estimate/numerics.h"
#include "tern/estimate/site.h"
#include "tern/estimate/weight_map.h"

namespace tern::estimate {
namespace {

using Values = std::vector<double>;

// What a norm is made of.
struct Site {
  Matrix x;
  const gguf::Tensor* tensor;
  Values weight;
  double epsilon;
  size_t head_dim;
};

std::optional<Site> site_of(const StageFacts& facts) {
  const gguf::Tensor* const tensor = weight_of_stage(facts);
  std::optional<Matrix> x = input_of_stage(facts);
  if (tensor == nullptr || !x || tensor->n_rows() != 1 || tensor->n_cols() != x->n_features) {
    return std::nullopt;
  }
  const oracle::Hyperparameters& hp = facts.steps().hyperparameters();
  return Site{std::move(*x), tensor, facts.steps().weight_row(*tensor, 0), hp.norm_epsilon,
              static_cast<size_t>(hp.head_dim)};
}

double mean_square(std::span<const double> x) {
  return std::transform_reduce(x.begin(), x.end(), x.begin(), 0.0) / static_cast<double>(x.size());
}
double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

// x with each row, or each group of `group` features of a row, divided by what `divisor` makes of it.
using Divisor = std::function<double(std::span<const double> x)>;
Matrix divided(const Matrix& x, const Divisor& divisor, size_t group = 0) {
  Matrix y = x;
  group = group == 0 ? x.n_features : group;
  for (size_t begin = 0; begin < y.values.size(); begin += group) {
    const auto part = std::span(y.values).subspan(begin, group);
    const double by = divisor(part);
    std::transform(part.begin(), part.end(), part.begin(), [by](double value) { return value / by; });
  }
  return y;
}

Divisor root_of_mean_square(double epsilon) {
  return [epsilon](std::span<const double> x) { return std::sqrt(mean_square(x) + epsilon); };
}

Matrix normalised(const Site& site) { return divided(site.x, root_of_mean_square(site.epsilon)); }

Matrix times(Matrix x, std::span<const double> weight) {
  for (size_t t = 0; t < x.n_tokens; ++t) {
    std::transform(weight.begin(), weight.end(), x.row(t).begin(), x.row(t).begin(), std::multiplies<>());
  }
  return x;
}

using NormRule = std::function<std::optional<Matrix>(const Site& site, const StageFacts& facts)>;

Proposal norm_proposal(std::string id, Json parameters, std::string says, NormRule rule,
                       double simplicity = kNothingMeasured) {
  return {std::move(id), std::move(parameters), std::move(says),
          [rule = std::move(rule)](const StageFacts& facts) -> std::optional<Matrix> {
            const std::optional<Site> site = site_of(facts);
            return site ? rule(*site, facts) : std::nullopt;
          },
          simplicity};
}

// The norm with its weight changed.
NormRule with_weight(std::function<double(double weight)> change) {
  return [change = std::move(change)](const Site& site, const StageFacts&) {
    Values weight = site.weight;
    std::transform(weight.begin(), weight.end(), weight.begin(), change);
    return times(normalised(site), weight);
  };
}

NormRule with_divisor(Divisor divisor, size_t group = 0) {
  return [divisor = std::move(divisor), group](const Site& site, const StageFacts&) -> std::optional<Matrix> {
    if (group != 0 && site.x.n_features % group != 0) {
      return std::nullopt;
    }
    return times(divided(site.x, divisor, group), site.weight);
  };
}

// Only where the same tensor of the file is meant: other passes of the same stage and layer.
NormRule norm_only_of(std::string_view name, NormRule rule) {
  return [tensor = std::string(name), rule = std::move(rule)](const Site& site, const StageFacts& facts) {
    return site.tensor->name == tensor ? rule(site, facts) : std::nullopt;
  };
}

void propose_left_out(const Site& site, std::vector<Proposal>& proposals) {
  proposals.push_back(norm_proposal("norm_missing", {{"missing", "norm and weight"}}, "the norm is left out",
                                    [](const Site& at, const StageFacts&) { return at.x; }));
  proposals.push_back(norm_proposal("norm_missing", {{"missing", "norm"}},
                                    "the weight is applied to what is not normalised",
                                    [](const Site& at, const StageFacts&) { return times(at.x, at.weight); }));
  proposals.push_back(norm_proposal("norm_doubled", Json::object(), "the norm is applied twice, its weight included",
                                    [](const Site& at, const StageFacts&) {
                                      const auto root = root_of_mean_square(at.epsilon);
                                      return times(divided(times(divided(at.x, root), at.weight), root), at.weight);
                                    }));
  const std::string name(site.tensor->name);
  const auto weight = [&](const char* used, const std::string& says, std::function<double(double)> change) {
    proposals.push_back(
        norm_proposal("norm_weight", {{"weight", name}, {"used", used}}, says, with_weight(std::move(change))));
  };
  weight("1", name + " is left out: ones in its place", [](double) { return 1.0; });
  weight("weight + 1", "1 is added to " + name, [](double w) { return w + 1; });
  weight("weight - 1", "1 is taken from " + name, [](double w) { return w - 1; });
  weight("weight^2", name + " is applied twice", [](double w) { return w * w; });
  weight("1/weight", name + " divides instead of multiplying", [](double w) { return 1 / w; });
  weight("-weight", "the sign of " + name + " is lost", [](double w) { return -w; });
  weight("|weight|", "the signs of " + name + " are lost", [](double w) { return std::abs(w); });
  weight("weight as bfloat16", name + " is rounded to bfloat16", as_bfloat16);
  weight("0", name + " is taken for zeros", [](double) { return 0.0; });
}

// Another norm's weight of the same file, in its place.
void propose_other_weights(const Site& site, const StageFacts& facts, std::vector<Proposal>& proposals) {
  const std::optional<LayerTensor> own = layer_tensor(site.tensor->name);
  for (const gguf::Tensor& other : facts.steps().view().tensors()) {
    if (&other == site.tensor || other.n_elements() != site.x.n_features || other.n_rows() != 1) {
      continue;
    }
    const std::optional<LayerTensor> theirs = layer_tensor(other.name);
    Json parameters = {{"weight", std::string(site.tensor->name)}, {"used", std::string(other.name)}};
    const std::string says = fmt::format("{} in the place of {}", other.name, site.tensor->name);
    if (own && theirs && own->layer == theirs->layer) {
      // The same mistake may be made in every layer.
      const std::string stem = theirs->stem, own_stem = own->stem;
      proposals.push_back(norm_proposal(
          "norm_weight", parameters, says,
          [stem, own_stem](const Site& at, const StageFacts& there) -> std::optional<Matrix> {
            const auto here = layer_tensor(at.tensor->name);
            const gguf::Tensor* const used =
                here && here->stem == own_stem ? there.steps().view().find_tensor(here->sibling(stem)) : nullptr;
            if (used == nullptr || used->n_cols() != at.x.n_features) {
              return std::nullopt;
            }
            return times(normalised(at), there.steps().weight_row(*used, 0));
          }));
      continue;
    }
    if (theirs) {
      parameters["layer"] = theirs->layer;
    }
    const gguf::Tensor* const used = &other;
    proposals.push_back(norm_proposal("norm_weight", std::move(parameters), says,
                                      norm_only_of(site.tensor->name, [used](const Site& at, const StageFacts& there) {
                                        return times(normalised(at), there.steps().weight_row(*used, 0));
                                      })));
  }
}

// Divided by something else than the root of the row's mean square.
void propose_other_divisors(const Site& site, std::vector<Proposal>& proposals) {
  const double epsilon = site.epsilon;
  const auto function = [&](const char* used, const std::string& says, NormRule rule) {
    proposals.push_back(
        norm_proposal("norm_function", {{"function", used}, {"expected", "RMSNorm"}}, says, std::move(rule)));
  };
  function("LayerNorm", "LayerNorm in place of RMSNorm: the mean is taken off first",
           [epsilon](const Site& at, const StageFacts&) {
             Matrix x = at.x;
             for (size_t t = 0; t < x.n_tokens; ++t) {
               const double middle = mean(x.row(t));
               for (double& value : x.row(t)) {
                 value -= middle;
               }
             }
             return times(divided(x, root_of_mean_square(epsilon)), at.weight);
           });
  function("standard deviation", "divided by the standard deviation, the mean left in",
           with_divisor([epsilon](std::span<const double> x) {
             const double middle = mean(x);
             return std::sqrt(mean_square(x) - middle * middle + epsilon);
           }));
  function("L2 norm", "divided by the root of the sum of squares instead of their mean",
           with_divisor([epsilon](std::span<const double> x) {
             return std::sqrt(mean_square(x) * static_cast<double>(x.size()) + epsilon);
           }));
  function("n - 1", "the sum of squares is divided by one less than the number of features",
           with_divisor([epsilon](std::span<const double> x) {
             const auto n = static_cast<double>(x.size());
             return std::sqrt(mean_square(x) * n / (n - 1) + epsilon);
           }));
  function("mean square", "divided by the mean square, not by its root",
           with_divisor([epsilon](std::span<const double> x) { return mean_square(x) + epsilon; }));
  function("mean absolute", "divided by the mean of the absolute values",
           with_divisor([epsilon](std::span<const double> x) {
             return std::transform_reduce(x.begin(), x.end(), epsilon, std::plus<>(),
                                          [n = static_cast<double>(x.size())](double v) { return std::abs(v) / n; });
           }));
  const auto axis = [&](Json over, const std::string& says, NormRule rule) {
    proposals.push_back(norm_proposal("norm_axis", {{"over", std::move(over)}, {"expected", site.x.n_features}}, says,
                                      std::move(rule)));
  };
  axis("all tokens", "one divisor for all tokens of the pass", [epsilon](const Site& at, const StageFacts&) {
    const double by = root_of_mean_square(epsilon)(at.x.values);
    return times(divided(at.x, [by](std::span<const double>) { return by; }), at.weight);
  });
  axis("first token", "every token is divided by what is the first token's",
       [epsilon](const Site& at, const StageFacts&) {
         const double by = root_of_mean_square(epsilon)(at.x.row(0));
         return times(divided(at.x, [by](std::span<const double>) { return by; }), at.weight);
       });
  axis("each feature's tokens", "normalised over the tokens instead of the features",
       [epsilon](const Site& at, const StageFacts&) {
         Matrix y = at.x;
         for (size_t i = 0; i < y.n_features; ++i) {
           Values column(y.n_tokens);
           for (size_t t = 0; t < y.n_tokens; ++t) {
             column[t] = at.x.row(t)[i];
           }
           for (size_t t = 0; t < y.n_tokens; ++t) {
             y.row(t)[i] /= root_of_mean_square(epsilon)(column);
           }
         }
         return times(y, at.weight);
       });
  for (size_t group = 2; group < site.x.n_features; ++group) {
    if (site.x.n_features % group == 0) {
      axis(group, fmt::format("normalised over {} features at a time instead of {}", group, site.x.n_features),
           with_divisor(root_of_mean_square(epsilon), group));
    }
  }
}

// The norm of another tensor of the pass.
void propose_other_inputs(const Site& site, const StageFacts& facts, std::vector<Proposal>& proposals) {
  const auto propose_input = [&](const std::string& name,
                                 std::function<std::optional<Matrix>(const StageFacts&)> input) {
    proposals.push_back(norm_proposal(
        "norm_input", {{"input", name}}, fmt::format("{} is normalised instead", name),
        [input = std::move(input)](const Site& at, const StageFacts& there) {
          std::optional<Matrix> x = input(there);
          const bool fits = x && x->n_tokens == at.x.n_tokens && x->n_features == at.x.n_features;
          return fits ? std::optional(times(divided(*x, root_of_mean_square(at.epsilon)), at.weight)) : std::nullopt;
        }));
  };
  if (facts.id().layer >= 0) {
    propose_input("the layer's input", [](const StageFacts& there) { return there.layer_input(); });
  }
  for (const trace::StageRow& row : trace::kStageTable) {
    const trace::Stage stage(row);
    if (facts.id().stage <= stage) {
      break;
    }
    const std::optional<Matrix> x = facts.input(stage);
    if (x && x->n_tokens == site.x.n_tokens && x->n_features == site.x.n_features && x->values != site.x.values) {
      propose_input(std::string(row.name), [stage](const StageFacts& there) { return there.input(stage); });
    }
  }
}

Proposal epsilon_proposal(double epsilon, double expected, double simplicity) {
  return norm_proposal("norm_epsilon", {{"epsilon", epsilon}, {"expected", expected}},
                       fmt::format("epsilon is {:.4g} instead of {:.4g}", epsilon, expected),
                       with_divisor(root_of_mean_square(epsilon)), simplicity);
}

// 1 / r^2 = mean(x^2) + epsilon, where y = r * x * weight; a token counts by how well it shows epsilon.
void measure_epsilon(const Site& site, const Matrix& y, std::vector<Proposal>& proposals) {
  constexpr double kRounding = 1e-7;  // of float32, in 1 / r^2
  const Matrix weighted = times(site.x, site.weight);
  Values found, found_outside, doubt, weights;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    const auto a = y.row(t), b = weighted.row(t);
    const double r = std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0) /
                     std::transform_reduce(b.begin(), b.end(), b.begin(), 0.0);
    const double square = mean_square(site.x.row(t));
    if (std::isfinite(r) && r != 0) {
      found.push_back(1 / (r * r) - square);
      found_outside.push_back(1 / r - std::sqrt(square));
      weights.push_back(r * r * r * r);
      doubt.push_back(kRounding / (r * r));
    }
  }
  if (found.empty()) {
    return;
  }
  const auto average = [&](const Values& values) {
    return std::transform_reduce(values.begin(), values.end(), weights.begin(), 0.0) /
           std::reduce(weights.begin(), weights.end());
  };
  const double uncertainty = *std::min_element(doubt.begin(), doubt.end());
  const double epsilon = shortest_within(average(found), uncertainty);
  if (epsilon >= 0 && std::abs(epsilon - site.epsilon) > uncertainty) {
    proposals.push_back(epsilon_proposal(epsilon, site.epsilon, kNumberMeasured));
  }
  const double outside = shortest_within(average(found_outside), std::sqrt(uncertainty * kRounding));
  proposals.push_back(norm_proposal(
      "norm_epsilon", {{"epsilon", outside}, {"expected", site.epsilon}, {"place", "outside of the root"}},
      fmt::format("an epsilon of {:.4g} is added to the root, instead of {:.4g} below it", outside, site.epsilon),
      with_divisor([outside](std::span<const double> x) { return std::sqrt(mean_square(x)) + outside; }),
      kTableMeasured));
}

Proposal factor_proposal(const Site& site, double factor, double simplicity) {
  return norm_proposal("norm_weight",
                       {{"weight", std::string(site.tensor->name)}, {"factor", factor}, {"expected", 1.0}},
                       fmt::format("{} times {:.6g}", site.tensor->name, factor),
                       with_weight([factor](double w) { return w * factor; }), simplicity);
}

Proposal offset_proposal(const Site& site, double offset) {
  return norm_proposal("norm_weight",
                       {{"weight", std::string(site.tensor->name)}, {"offset", offset}, {"expected", 0.0}},
                       fmt::format("{:.6g} is added to {}", offset, site.tensor->name),
                       with_weight([offset](double w) { return w + offset; }), kNumberMeasured);
}

// y over the normalised input is the same for every token: the weight that was used.
void measure_weight(const Site& site, const Matrix& y, std::vector<Proposal>& proposals) {
  constexpr double kRounding = 1e-6;
  const Matrix n = normalised(site);
  Values used(n.n_features), size(n.n_features);
  for (size_t t = 0; t < n.n_tokens; ++t) {
    for (size_t i = 0; i < n.n_features; ++i) {
      used[i] += y.row(t)[i] * n.row(t)[i];
      size[i] += n.row(t)[i] * n.row(t)[i];
    }
  }
  double yw = 0, ww = 0, offset = 0;
  for (size_t i = 0; i < used.size(); ++i) {
    yw += used[i] * site.weight[i];
    ww += size[i] * site.weight[i] * site.weight[i];
    offset += used[i] - size[i] * site.weight[i];
    used[i] = size[i] > 0 ? used[i] / size[i] : site.weight[i];
  }
  const double factor = yw / ww;
  proposals.push_back(factor_proposal(site, shortest_within(factor, kRounding * std::abs(factor)), kNumberMeasured));
  offset /= std::reduce(size.begin(), size.end());
  proposals.push_back(offset_proposal(site, shortest_within(offset, kRounding)));

  std::vector<size_t> changed;
  Values values, expected;
  for (size_t i = 0; i < used.size(); ++i) {
    if (std::abs(used[i] - site.weight[i]) > kRounding * (std::abs(used[i]) + std::abs(site.weight[i]))) {
      changed.push_back(i);
      values.push_back(used[i]);
      expected.push_back(site.weight[i]);
    }
  }
  // Of one token, any output is its input times some weight.
  constexpr size_t kListed = 16;
  if (changed.empty() || (y.n_tokens == 1 && changed.size() > used.size() / 8)) {
    return;
  }
  const std::string name(site.tensor->name);
  Json parameters = {{"weight", name}, {"n_features", changed.size()}};
  std::string says = fmt::format("{} values of {} are others, from feature {} to {}", changed.size(), name,
                                 changed.front(), changed.back());
  if (changed.size() <= kListed) {
    parameters["features"] = changed;
    parameters["used"] = values;
    parameters["expected"] = expected;
  } else {
    parameters["first_feature"] = changed.front();
    parameters["last_feature"] = changed.back();
  }
  if (changed.size() == 1) {
    says = fmt::format("{}[{}] is {:.6g} instead of {:.6g}", name, changed[0], values[0], expected[0]);
  }
  proposals.push_back(norm_proposal("weight_value", std::move(parameters), std::move(says),
                                    norm_only_of(name,
                                                 [used, changed](const Site& at, const StageFacts&) {
                                                   Values weight = at.weight;
                                                   for (const size_t i : changed) {
                                                     weight[i] = used[i];
                                                   }
                                                   return times(normalised(at), weight);
                                                 }),
                                    changed.size() <= kListed ? kTableMeasured : kTableMeasured / 2));
}

// Numbers that give the recorded RMS.
void solve_from_rms(const Site& site, const StageFacts& facts, double rms, std::vector<Proposal>& proposals) {
  const auto beyond = [&](const Proposal& proposal) { return rms_of(*proposal.recompute(facts)) - rms; };
  const auto of_epsilon = [&](double e) { return beyond(epsilon_proposal(e, site.epsilon, 0)); };
  for (const double epsilon : roots(of_epsilon, geometric_grid(1e-12, 1e6, 73))) {
    proposals.push_back(epsilon_proposal(epsilon, site.epsilon, kFitsAnything));
  }
  Values grid = geometric_grid(1e-3, 1e3, 61);
  const Values mirrored(grid.rbegin(), grid.rend());
  std::transform(mirrored.begin(), mirrored.end(), grid.begin(), std::negate<>());
  const Values positive(mirrored.rbegin(), mirrored.rend());
  grid.insert(grid.end(), positive.begin(), positive.end());
  for (const double offset : roots([&](double b) { return beyond(offset_proposal(site, b)); }, grid)) {
    proposals.push_back(offset_proposal(site, offset));
    proposals.back().simplicity = kFitsAnything;
  }
  if (const double should = rms_of(facts.should()); should > 0) {
    proposals.push_back(factor_proposal(site, rms / should, kFitsAnything));
  }
}

}  // namespace

std::vector<Proposal> estimate_norm(const StageFacts& facts) {
  const std::optional<Site> site = measurable(facts) ? site_of(facts) : std::nullopt;
  if (!site || site->x.n_tokens != facts.should().n_tokens || site->x.n_features != facts.should().n_features) {
    return {};
  }
  std::vector<Proposal> proposals;
  propose_left_out(*site, proposals);
  propose_other_weights(*site, facts, proposals);
  for (Proposal& map : usual_weight_maps(facts)) {
    proposals.push_back(std::move(map));
  }
  propose_other_divisors(*site, proposals);
  propose_other_inputs(*site, facts, proposals);
  if (facts.is()) {
    measure_epsilon(*site, *facts.is(), proposals);
    measure_weight(*site, *facts.is(), proposals);
  } else if (facts.rms()) {
    solve_from_rms(*site, facts, *facts.rms(), proposals);
  }
  return explaining(std::move(proposals), facts);
}

}  // namespace tern::estimate
