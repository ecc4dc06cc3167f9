// Ways in which RoPE is got wrong, by name.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/estimate/rope_rule.h"

namespace tern::estimate {
namespace {

const char* name_of(bool halves) { return halves ? "halves" : "neighbours"; }

// As models in use have them.
constexpr double kBases[] = {1e4, 5e5, 1e6, 1e5, 5e4, 1.5e5, 2e6, 5e6, 8e6, 1e7};
constexpr double kFactors[] = {2, 4, 8, 16, 32};

void add_positions(const RopeRule& textbook, std::vector<RopeFault>& faults) {
  const auto add = [&](Json parameters, std::string says, std::function<double(const RopeToken&)> position) {
    RopeRule rule = textbook;
    rule.position = std::move(position);
    faults.push_back({"rope_position", std::move(parameters), std::move(says), std::move(rule)});
  };
  for (const int offset : {-1, 1}) {
    add({{"offset", offset}, {"expected", 0}}, fmt::format("positions are counted from {}", offset),
        [offset](const RopeToken& token) { return static_cast<double>(token.position) + offset; });
  }
  add({{"restarts", "with each pass"}}, "positions start from 0 in each pass",
      [](const RopeToken& token) { return static_cast<double>(token.index_in_pass); });
}

RopeFault layout_fault(const oracle::Hyperparameters& hp, const RopeLayout& layout) {
  RopeFault fault;
  fault.rule = textbook_rope(hp);
  fault.id = describe_layout(layout, fault.rule.layout, fault.parameters, fault.says);
  fault.rule.layout = layout;
  fault.rule.frequencies = rope_frequencies(layout, hp.rope_base);
  return fault;
}

}  // namespace

RopeFault rope_base_fault(const oracle::Hyperparameters& hp, double base) {
  RopeRule rule = textbook_rope(hp);
  rule.frequencies = rope_frequencies(rule.layout, base);
  return {"rope_base",
          {{"rope_base", base}, {"expected", hp.rope_base}},
          fmt::format("the RoPE base is {:.6g} instead of {:.6g}", base, hp.rope_base),
          std::move(rule)};
}

RopeFault rope_pairs_fault(const oracle::Hyperparameters& hp, size_t n_turned) {
  RopeRule rule = textbook_rope(hp);
  const size_t n_pairs = rule.frequencies.size();
  std::fill(rule.frequencies.begin() + static_cast<std::ptrdiff_t>(std::min(n_turned, n_pairs)), rule.frequencies.end(),
            0.0);
  return {"rope_partial",
          {{"pairs_turned", n_turned}, {"features", 2 * n_turned}, {"expected", 2 * n_pairs}},
          fmt::format("RoPE turns the first {} of {} pairs of a head, and leaves the others as they are", n_turned,
                      n_pairs),
          std::move(rule)};
}

RopeFault rope_width_fault(const oracle::Hyperparameters& hp, size_t width, size_t exponent_width) {
  RopeLayout layout = textbook_rope(hp).layout;
  layout.width = width;
  layout.exponent_width = exponent_width;
  return layout_fault(hp, layout);
}

RopeFault rope_decode_offset_fault(const oracle::Hyperparameters& hp, int offset) {
  RopeRule rule = textbook_rope(hp);
  rule.position = [offset](const RopeToken& token) {
    return static_cast<double>(token.position) + (token.is_decode ? offset : 0);
  };
  return {"rope_position",
          {{"offset", offset}, {"expected", 0}, {"passes", "decode"}},
          fmt::format("positions of decode steps are off by {}", offset),
          std::move(rule)};
}

RopeFault rope_factor_fault(const oracle::Hyperparameters& hp, double factor) {
  RopeRule rule = textbook_rope(hp);
  for (double& frequency : rule.frequencies) {
    frequency /= factor;
  }
  return {"rope_scaling",
          {{"type", "linear"}, {"factor", factor}, {"expected", 1.0}},
          fmt::format("RoPE's positions are divided by {:.6g}", factor),
          std::move(rule)};
}

std::vector<RopeFault> usual_rope_faults(const oracle::Hyperparameters& hp) {
  const RopeRule textbook = textbook_rope(hp);
  std::vector<RopeFault> faults;
  RopeLayout other_pairs = textbook.layout;
  other_pairs.halves_in = other_pairs.halves_out = !other_pairs.halves_in;
  faults.push_back(layout_fault(hp, other_pairs));
  RopeRule still = textbook, backwards = textbook;
  still.position = [](const RopeToken&) { return 0.0; };
  backwards.position = [](const RopeToken& token) { return -static_cast<double>(token.position); };
  faults.push_back({"rope_missing", Json::object(), "RoPE is left out", std::move(still)});
  faults.push_back({"rope_direction", Json::object(), "RoPE turns the other way round", std::move(backwards)});
  add_positions(textbook, faults);
  for (const double base : kBases) {
    if (base != hp.rope_base) {
      faults.push_back(rope_base_fault(hp, base));
    }
  }
  for (const double factor : kFactors) {
    faults.push_back(rope_factor_fault(hp, factor));
  }
  return faults;
}

std::string describe_layout(const RopeLayout& layout, const RopeLayout& textbook, Json& parameters, std::string& says) {
  if (layout.halves_in != textbook.halves_in || layout.halves_out != textbook.halves_out) {
    parameters["pairs"] = name_of(layout.halves_in);
    parameters["expected"] = name_of(textbook.halves_in);
    says =
        fmt::format("RoPE pairs {} where the model pairs {}", name_of(layout.halves_in), name_of(textbook.halves_in));
    if (layout.halves_out != layout.halves_in) {
      parameters["written_as"] = name_of(layout.halves_out);
      says += fmt::format(", and writes them as {}", name_of(layout.halves_out));
    }
    return "rope_pairing";
  }
  if (layout == textbook) {
    return {};
  }
  parameters["features"] = layout.width;
  parameters["expected"] = textbook.width;
  says = fmt::format("RoPE turns {} features of {}", layout.width, layout.head);
  if (layout.head != textbook.head) {
    parameters["head"] = layout.head;
    says += fmt::format(" where a head has {}", textbook.head);
  } else if (layout.begin != 0) {
    parameters["from"] = layout.begin;
    says += fmt::format(", from feature {} on", layout.begin);
  }
  if (layout.exponent_width != layout.width) {
    parameters["exponent_width"] = layout.exponent_width;
    says += fmt::format(", with the frequencies of {}", layout.exponent_width);
  } else if (layout.width == textbook.width && layout.head == textbook.head) {
    says = fmt::format("RoPE's frequencies are those of {} features instead of {}", layout.exponent_width,
                       textbook.exponent_width);
  }
  return "rope_partial";
}

}  // namespace tern::estimate
