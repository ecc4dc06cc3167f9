#include "tern/estimate/rope_turns.h"

#include <algorithm>
#include <cmath>
#include <complex>

#include "tern/estimate/numerics.h"

namespace tern::estimate {

double Turns::misfit(const std::vector<double>& frequencies, const std::vector<double>& at) const {
  double error = 0, size = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t i = 0; i < n_pairs(); ++i) {
      const double chord = 2 * std::sin((angle(t, i) - frequencies[i] * at[t]) / 2);
      error += weight(t, i) * chord * chord;
      size += weight(t, i);
    }
  }
  return size > 0 ? std::sqrt(error / size) : 0;
}

Turns Turns::only(const std::vector<size_t>& chosen) const {
  Turns some{layout, {}, {}, {}, residual, magnitude};
  for (const size_t t : chosen) {
    some.tokens.push_back(tokens[t]);
    for (size_t i = 0; i < n_pairs(); ++i) {
      some.angles.push_back(angle(t, i));
      some.weights.push_back(weight(t, i));
    }
  }
  return some;
}

std::vector<double> Turns::positions() const {
  std::vector<double> positions;
  for (const RopeToken& token : tokens) {
    positions.push_back(static_cast<double>(token.position));
  }
  return positions;
}

Turns turns_of(const Matrix& x, const Matrix& y, const RopeLayout& layout, const std::vector<RopeToken>& tokens) {
  Turns found{layout, tokens, {}, {}};
  double error = 0, size = 0, before = 0, turned = 0;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t i = 0; i < layout.width / 2; ++i) {
      const auto [a, b] = layout.pair(i, layout.halves_in);
      const auto [to_a, to_b] = layout.pair(i, layout.halves_out);
      std::complex<double> sum;
      double in = 0, out = 0;
      for (size_t head = 0; head < x.n_features; head += layout.head) {
        const std::complex<double> z(x.row(t)[head + a], x.row(t)[head + b]);
        const std::complex<double> w(y.row(t)[head + to_a], y.row(t)[head + to_b]);
        sum += w * std::conj(z);
        in += std::norm(z);
        out += std::norm(w);
      }
      found.angles.push_back(std::arg(sum));
      found.weights.push_back(std::abs(sum));
      error += in > 0 ? std::max(out - std::norm(sum) / in, 0.0) : out;
      size += out;
      before += in;
      turned += std::abs(sum);
    }
    for (size_t f = 0; f < x.n_features; ++f) {
      const size_t inside = f % layout.head;
      if (inside < layout.begin || inside >= layout.begin + layout.width) {
        const double off = y.row(t)[f] - x.row(t)[f];
        error += off * off;
        size += y.row(t)[f] * y.row(t)[f];
      }
    }
  }
  found.residual = size > 0 ? std::sqrt(error / size) : 0;
  found.magnitude = before > 0 ? turned / before : 1;
  return found;
}

double nearest_base(const Turns& turns) {
  constexpr double kLowest = 1.5, kHighest = 1e12;
  const std::vector<double> positions = turns.positions();
  const auto misfit = [&](double log_base) {
    return turns.misfit(rope_frequencies(turns.layout, std::exp(log_base)), positions);
  };
  const double last = *std::max_element(positions.begin(), positions.end());
  const auto n_points = static_cast<size_t>(300 + 30 * std::min(last, 500.0));
  std::vector<double> grid(n_points);
  for (size_t i = 0; i < n_points; ++i) {
    grid[i] = std::log(kLowest) +
              (std::log(kHighest) - std::log(kLowest)) * static_cast<double>(i) / static_cast<double>(n_points - 1);
  }
  return shortest_that_fits(std::exp(argmin(misfit, grid)),
                            [&](double candidate) { return misfit(std::log(candidate)); });
}

std::vector<double> measured_positions(const Turns& turns, const std::vector<double>& frequencies) {
  const std::vector<double> positions = turns.positions();
  const double last = *std::max_element(positions.begin(), positions.end());
  constexpr double kStep = 0.25;
  std::vector<double> grid;
  for (double p = -last - 64; p <= 2 * last + 128; p += kStep) {
    grid.push_back(p);
  }
  std::vector<double> measured;
  for (size_t t = 0; t < positions.size(); ++t) {
    const Turns one = turns.only({t});
    const auto misfit = [&](double p) { return one.misfit(frequencies, {p}); };
    measured.push_back(argmin(misfit, grid));
  }
  return measured;
}

std::vector<size_t> telling_tokens(size_t n_tokens) {
  constexpr size_t kAll = 24;
  std::vector<size_t> chosen;
  for (size_t t = 0; t < n_tokens; t += n_tokens <= kAll ? 1 : 1 + t / 6) {
    chosen.push_back(t);
  }
  return chosen;
}

namespace {

// Of each feature of a head: how much of it changed, relative to what it was.
std::vector<double> change_of_features(const Matrix& x, const Matrix& y, size_t head) {
  std::vector<double> change(head), size(head);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t f = 0; f < x.n_features; ++f) {
      change[f % head] += std::pow(y.row(t)[f] - x.row(t)[f], 2);
      size[f % head] += std::pow(x.row(t)[f], 2);
    }
  }
  for (size_t f = 0; f < head; ++f) {
    change[f] = size[f] > 0 ? std::sqrt(change[f] / size[f]) : 0;
  }
  return change;
}

struct Span {
  size_t begin, end;
};

// From the first feature that changes by more than `rounding` to the last one, and of even width.
Span changed_span(const std::vector<double>& change, double rounding) {
  const auto changes = [rounding](double x) { return x > rounding; };
  const auto begin = std::find_if(change.begin(), change.end(), changes) - change.begin();
  const auto behind = std::find_if(change.rbegin(), change.rend(), changes) - change.rbegin();
  Span span{static_cast<size_t>(begin), change.size() - static_cast<size_t>(behind)};
  if (span.end > span.begin && (span.end - span.begin) % 2 != 0) {
    span.end < change.size() ? ++span.end : --span.begin;
  }
  return span;
}

}  // namespace

std::vector<RopeLayout> layouts(const Matrix& x, const Matrix& y, const RopeLayout& textbook) {
  std::vector<RopeLayout> found;
  const auto add = [&](RopeLayout layout) {
    for (const bool in : {textbook.halves_in, !textbook.halves_in}) {
      for (const bool out : {in, !in}) {
        layout.halves_in = in;
        layout.halves_out = out;
        if (std::find(found.begin(), found.end(), layout) == found.end()) {
          found.push_back(layout);
        }
      }
    }
  };
  const size_t head = textbook.head;
  add(textbook);
  // An engine leaves what it does not turn as it is, or rounds it; the slowest pairs are turned by little more.
  const std::vector<double> change = change_of_features(x, y, head);
  for (const double rounding : {0.0, 1e-6, 1e-4, 1e-2}) {
    const Span turned = changed_span(change, rounding);
    if (turned.begin < turned.end) {
      for (const size_t exponent : {turned.end - turned.begin, head}) {
        add({head, turned.begin, turned.end - turned.begin, exponent});
      }
    }
  }
  for (const size_t other : {head / 2, head * 2, x.n_features}) {
    if (other >= 2 && other % 2 == 0 && x.n_features % other == 0 && other != head) {
      add({other, 0, other, other});
    }
  }
  return found;
}

}  // namespace tern::estimate
