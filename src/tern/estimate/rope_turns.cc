#include "tern/estimate/rope_turns.h"

#include <algorithm>
#include <cmath>
#include <complex>

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

std::vector<size_t> telling_tokens(size_t n_tokens) {
  constexpr size_t kAll = 24;
  std::vector<size_t> chosen;
  for (size_t t = 0; t < n_tokens; t += n_tokens <= kAll ? 1 : 1 + t / 6) {
    chosen.push_back(t);
  }
  return chosen;
}

std::vector<RopeLayout> layouts(const Matrix& x, const RopeLayout& textbook) {
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
  for (size_t eighths = 1; eighths < 8; ++eighths) {
    const size_t width = head * eighths / 8 / 2 * 2;
    if (width > 0) {
      for (const size_t begin : {size_t{0}, head - width}) {
        for (const size_t exponent : {width, head}) {
          add({head, begin, width, exponent});
        }
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
