#include "tern/compare/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "tern/base/check.h"

namespace tern::compare {
namespace {

// A tensor cut into tokens and heads, whichever way its shape has them.
class Pair {
 public:
  Pair(const trace::Shape& shape, std::span<const float> is, std::span<const float> should, double noise,
       size_t n_heads, size_t n_untold)
      : is_(is), should_(should), noise_(noise), n_untold_(n_untold) {
    const auto at = [&shape](size_t i) { return static_cast<size_t>(shape[i]); };
    heads_first_ = shape.size() == 3;
    n_tokens_ = heads_first_ ? at(1) : shape.size() == 2 ? at(0) : 1;
    n_heads_ = heads_first_ ? at(0) : n_heads;
    width_ = is.size() / std::max<size_t>(n_tokens_ * n_heads_, 1);
    usable_ = is.size() == should.size() && !is.empty() && n_tokens_ * n_heads_ * width_ == is.size() &&
              std::all_of(is.begin(), is.end(), [](float x) { return std::isfinite(x); }) &&
              std::all_of(should.begin(), should.end(), [](float x) { return std::isfinite(x); });
  }

  bool usable() const { return usable_; }
  size_t n_tokens() const { return n_tokens_; }
  size_t n_heads() const { return n_heads_; }
  size_t n_untold() const { return n_untold_; }  // tokens
  std::span<const float> is() const { return is_; }
  std::span<const float> should() const { return should_; }

  bool near(double a, double b) const { return std::abs(a - b) <= noise_; }
  bool near_rows(std::span<const float> a, std::span<const float> b) const {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [this](float x, float y) { return near(static_cast<double>(x), static_cast<double>(y)); });
  }
  // The values of one token in one head.
  std::span<const float> is(size_t token, size_t head) const { return is_.subspan(begin(token, head), width_); }
  std::span<const float> should(size_t token, size_t head) const { return should_.subspan(begin(token, head), width_); }
  bool is_right(size_t token, size_t head) const { return near_rows(is(token, head), should(token, head)); }

 private:
  size_t begin(size_t token, size_t head) const {
    return (heads_first_ ? head * n_tokens_ + token : token * n_heads_ + head) * width_;
  }

  std::span<const float> is_, should_;
  double noise_;
  bool heads_first_ = false, usable_ = false;
  size_t n_tokens_ = 1, n_heads_ = 1, width_ = 0, n_untold_;
};

using Clause = std::optional<std::string>;

double dot(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                            [](float x, float y) { return static_cast<double>(x) * static_cast<double>(y); });
}

// Rounding is scaled along with the values.
Clause constant_ratio(const Pair& pair) {
  const double squares = dot(pair.should(), pair.should());
  const double ratio = squares > 0 ? dot(pair.is(), pair.should()) / squares : 0;
  const bool fits =
      ratio != 0 && std::equal(pair.is().begin(), pair.is().end(), pair.should().begin(), [&](float x, float y) {
        return pair.near(static_cast<double>(x) / ratio, static_cast<double>(y));
      });
  return fits ? Clause(fmt::format("every value is {:.6g} times what it should be", ratio)) : std::nullopt;
}

Clause constant_offset(const Pair& pair) {
  const double offset = static_cast<double>(pair.is()[0]) - static_cast<double>(pair.should()[0]);
  const bool fits = std::equal(pair.is().begin(), pair.is().end(), pair.should().begin(), [&](float x, float y) {
    return pair.near(static_cast<double>(x) - static_cast<double>(y), offset);
  });
  return fits && pair.is().size() > 1 ? Clause(fmt::format("every value is {:.6g} too large", offset)) : std::nullopt;
}

bool same_values(const Pair& pair, std::vector<float> a, std::vector<float> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return pair.near_rows(a, b);
}

// Each token has its values, but in other places.
Clause other_order(const Pair& pair) {
  bool within_heads = pair.n_heads() > 1;
  for (size_t t = 0; t < pair.n_tokens(); ++t) {
    std::vector<float> is, should;
    for (size_t h = 0; h < pair.n_heads(); ++h) {
      const auto x = pair.is(t, h), y = pair.should(t, h);
      within_heads = within_heads && same_values(pair, {x.begin(), x.end()}, {y.begin(), y.end()});
      is.insert(is.end(), x.begin(), x.end());
      should.insert(should.end(), y.begin(), y.end());
    }
    if (is.size() < 2 || !same_values(pair, std::move(is), std::move(should))) {
      return std::nullopt;
    }
  }
  return fmt::format("each token has the same values in another order{}", within_heads ? " within each head" : "");
}

Clause neighbours_row(const Pair& pair) {
  if (pair.n_tokens() < 3) {
    return std::nullopt;
  }
  const auto shifted = [&](size_t from_is, size_t from_should) {
    for (size_t t = 0; t + 1 < pair.n_tokens(); ++t) {
      for (size_t h = 0; h < pair.n_heads(); ++h) {
        if (!pair.near_rows(pair.is(t + from_is, h), pair.should(t + from_should, h))) {
          return false;
        }
      }
    }
    return true;
  };
  return shifted(1, 0)   ? Clause("each token has the values of the token before it")
         : shifted(0, 1) ? Clause("each token has the values of the token after it")
                         : std::nullopt;
}

// "3", "3 to 5", or "3, 7, 9"
std::string list_of(const std::vector<size_t>& numbers) {
  if (numbers.size() > 1 && numbers.back() - numbers.front() + 1 == numbers.size()) {
    return fmt::format("{} to {}", numbers.front(), numbers.back());
  }
  std::string out;
  for (size_t i = 0; i < numbers.size() && i < 8; ++i) {
    out += fmt::format("{}{}", i > 0 ? ", " : "", numbers[i]);
  }
  return out + (numbers.size() > 8 ? ", ..." : "");
}

// Whole tokens, or whole heads, that are right while others are wrong.
Clause only_some(const Pair& pair, const char* what, size_t n, size_t n_untold, const auto& is_wrong) {
  std::vector<size_t> wrong;
  for (size_t i = 0; i < n; ++i) {
    if (is_wrong(i)) {
      wrong.push_back(i);
    }
  }
  if (wrong.empty() || (wrong.front() <= n_untold && wrong.size() == n - wrong.front())) {
    return std::nullopt;
  }
  const bool tail = wrong.back() + 1 == n && wrong.size() == n - wrong.front() && pair.n_tokens() == n;
  return fmt::format("only {} {} of {} {} wrong{}", what, list_of(wrong), n, wrong.size() == 1 ? "is" : "are",
                     tail ? ": the tail of the batch" : "");
}

Clause only_some_tokens(const Pair& pair) {
  return only_some(pair, "token", pair.n_tokens(), pair.n_untold(), [&](size_t t) {
    for (size_t h = 0; h < pair.n_heads(); ++h) {
      if (!pair.is_right(t, h)) return true;
    }
    return false;
  });
}

Clause only_some_heads(const Pair& pair) {
  return only_some(pair, "head", pair.n_heads(), 0, [&](size_t h) {
    for (size_t t = 0; t < pair.n_tokens(); ++t) {
      if (!pair.is_right(t, h)) return true;
    }
    return false;
  });
}

// Relative errors of the tokens that rise from each to the next, nearly without exception.
Clause grows_with_position(const Pair& pair) {
  constexpr size_t kFewest = 4;
  std::vector<double> errors;
  for (size_t t = 0; t < pair.n_tokens(); ++t) {
    double error = 0, norm = 0;
    for (size_t h = 0; h < pair.n_heads(); ++h) {
      for (size_t i = 0; i < pair.is(t, h).size(); ++i) {
        const auto should = static_cast<double>(pair.should(t, h)[i]);
        error += std::pow(static_cast<double>(pair.is(t, h)[i]) - should, 2);
        norm += should * should;
      }
    }
    errors.push_back(norm > 0 ? std::sqrt(error / norm) : 0);
  }
  if (errors.size() < kFewest || errors.front() >= errors.back() / 2) {
    return std::nullopt;
  }
  size_t n_rising = 0;
  for (size_t t = 1; t < errors.size(); ++t) {
    n_rising += errors[t] > errors[t - 1];
  }
  return n_rising * 5 >= (errors.size() - 1) * 4
             ? Clause(fmt::format("the error grows with the position, from {:.3g} to {:.3g}", errors.front(),
                                  errors.back()))
             : std::nullopt;
}

}  // namespace

std::vector<std::string> patterns(const trace::Shape& shape, std::span<const float> is, std::span<const float> should,
                                  double noise, size_t n_heads, size_t n_untold) {
  TERN_CHECK(n_heads > 0);
  const Pair pair(shape, is, should, noise, n_heads, n_untold);
  std::vector<std::string> found;
  if (!pair.usable()) {
    return found;
  }
  for (const auto look : {constant_ratio, constant_offset, other_order, neighbours_row, only_some_tokens,
                          only_some_heads, grows_with_position}) {
    if (Clause clause = look(pair)) {
      found.push_back(std::move(*clause));
    }
  }
  return found;
}

}  // namespace tern::compare
