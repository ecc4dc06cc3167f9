// The embeddings: the row that was taken for each token, and a number that it was multiplied with.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

using Ids = std::vector<int64_t>;

constexpr int64_t kMostOff = 64;

// Which row an id outside of the table gets: those at the other end follow, or the last one is taken.
enum class Outside { kGoesRound, kStays };
constexpr Outside kOutside[] = {Outside::kGoesRound, Outside::kStays};

int64_t row_inside(int64_t id, int64_t n_rows, Outside outside) {
  return outside == Outside::kGoesRound ? (id % n_rows + n_rows) % n_rows : std::clamp<int64_t>(id, 0, n_rows - 1);
}

Matrix rows_of(const oracle::Steps& steps, const gguf::Tensor& table, const Ids& ids) {
  Matrix y(ids.size(), table.n_cols());
  for (size_t t = 0; t < ids.size(); ++t) {
    const auto row = steps.weight_row(table, static_cast<uint64_t>(ids[t]));
    std::copy(row.begin(), row.end(), y.row(t).begin());
  }
  return y;
}

Ids shifted(std::span<const int32_t> tokens, int64_t by, const gguf::Tensor& table, Outside outside) {
  Ids ids;
  for (const int32_t token : tokens) {
    ids.push_back(row_inside(token + by, static_cast<int64_t>(table.n_rows()), outside));
  }
  return ids;
}

std::string offset_text(int64_t by) {
  return fmt::format("each token gets the row of the token {} {} it", std::abs(by), by > 0 ? "behind" : "before");
}

std::optional<Matrix> embeddings_off(const StageFacts& facts, int64_t by, Outside outside) {
  const gguf::Tensor* const table = weight_of_stage(facts);
  return table == nullptr || facts.id().stage != trace::Stage::kEmbeddings
             ? std::nullopt
             : std::optional(rows_of(facts.steps(), *table, shifted(facts.tokens(), by, *table, outside)));
}

Proposal row_offset(int64_t by, Outside outside) {
  return {"embedding_row",
          {{"offset", by}, {"expected", 0}},
          offset_text(by),
          [by, outside](const StageFacts& facts) { return embeddings_off(facts, by, outside); },
          1};
}

// The head reads the same matrix: one mistake in it shows in both.
Proposal row_offset_of_both(int64_t by, Outside outside) {
  return {"embedding_row",
          {{"offset", by}, {"expected", 0}, {"of", {"embeddings", "logits"}}},
          offset_text(by) + ", and each logit that of the same row: the head reads the same matrix",
          [by, outside](const StageFacts& facts) -> std::optional<Matrix> {
            const auto product = product_of(facts);
            if (!product) {
              return embeddings_off(facts, by, outside);
            }
            const auto n_rows = static_cast<int64_t>(product->weight->n_rows());
            return facts.steps().project(
                product->x, *product->weight, product->weight->n_rows(), [&](uint64_t row, oracle::WeightRow& out) {
                  const int64_t read = row_inside(static_cast<int64_t>(row) + by, n_rows, outside);
                  oracle::decode_row(*product->weight, static_cast<uint64_t>(read), out);
                });
          },
          0.95,
          std::nullopt,
          {trace::StageKind::kHead}};
}

void propose_offset(const StageFacts& facts, int64_t by, Outside outside, std::vector<Proposal>& proposals) {
  proposals.push_back(row_offset(by, outside));
  if (facts.steps().weight_of(trace::Stage::kLogits, -1) == weight_of_stage(facts)) {
    proposals.push_back(row_offset_of_both(by, outside));
  }
}

Proposal row_table(std::map<int64_t, int64_t> read) {
  Ids tokens, rows;
  for (const auto& [token, row] : read) {
    tokens.push_back(token);
    rows.push_back(row);
  }
  return {
      "embedding_row",
      {{"tokens", tokens}, {"rows", rows}},
      fmt::format("{} token{} the row of another, the first {} that of {}", tokens.size(),
                  tokens.size() == 1 ? " gets" : "s get", tokens[0], rows[0]),
      [read = std::move(read)](const StageFacts& facts) -> std::optional<Matrix> {
        const gguf::Tensor* table = weight_of_stage(facts);
        Ids ids;
        for (const int32_t token : facts.tokens()) {
          const auto other = read.find(token);
          const int64_t id = other == read.end() ? token : other->second;
          ids.push_back(table == nullptr ? 0 : row_inside(id, static_cast<int64_t>(table->n_rows()), Outside::kStays));
        }
        return table == nullptr ? std::nullopt : std::optional(rows_of(facts.steps(), *table, ids));
      },
      0.7};
}

// `factor` is `measured` as reports state it: in few digits.
Proposal scaled(double measured, double factor, double n_embd, double simplicity) {
  const bool is_root = std::abs(factor - std::sqrt(n_embd)) < 1e-3 * factor;
  return {"embedding_scale",
          {{"factor", factor}, {"expected", 1.0}},
          factor == 0 ? std::string("the embeddings are all zero")
                      : fmt::format("the embeddings are multiplied with {:.6g}{}", factor,
                                    is_root ? ", the root of their width" : ""),
          [measured](const StageFacts& facts) -> std::optional<Matrix> {
            Matrix y = facts.should();
            std::transform(y.values.begin(), y.values.end(), y.values.begin(),
                           [measured](double value) { return value * measured; });
            return y;
          },
          simplicity};
}

bool equals(std::span<const double> a, std::span<const double> b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= tolerance)) {
      return false;
    }
  }
  return true;
}

// The rows that the wrong tokens got, by a look at the whole table; nullopt where one of them got none of it.
std::optional<std::map<int64_t, int64_t>> rows_taken(const StageFacts& facts, const gguf::Tensor& table) {
  std::map<int64_t, int64_t> read;
  std::map<int64_t, size_t> left;  // token: where it stands
  for (size_t t = 0; t < facts.tokens().size(); ++t) {
    if (!equals(facts.is()->row(t), facts.should().row(t), facts.rounding())) {
      left[facts.tokens()[t]] = t;
    }
  }
  for (uint64_t row = 0; row < table.n_rows() && !left.empty(); ++row) {
    const auto values = facts.steps().weight_row(table, row);
    for (auto it = left.begin(); it != left.end();) {
      if (equals(facts.is()->row(it->second), values, facts.rounding())) {
        read[it->first] = static_cast<int64_t>(row);
        it = left.erase(it);
      } else {
        ++it;
      }
    }
  }
  return left.empty() && !read.empty() ? std::optional(read) : std::nullopt;
}

// Proposes the number by which all rows are off, where there is one.
void propose_common_offset(const StageFacts& facts, const std::map<int64_t, int64_t>& read, int64_t n_rows,
                           std::vector<Proposal>& proposals) {
  if (read.size() < 2 && facts.tokens().size() > 1) {
    return;
  }
  // The first and the last token do not both leave the table at one end.
  std::vector<int64_t> offsets;
  for (const auto& [token, row] : {*read.begin(), *read.rbegin()}) {
    for (const int64_t round : {int64_t{0}, n_rows, -n_rows}) {
      offsets.push_back(row - token + round);
    }
  }
  std::stable_sort(offsets.begin(), offsets.end(), [](int64_t a, int64_t b) { return std::abs(a) < std::abs(b); });
  for (const int64_t by : offsets) {
    for (const Outside outside : kOutside) {
      const bool is_common = std::all_of(read.begin(), read.end(), [&](const auto& entry) {
        return row_inside(entry.first + by, n_rows, outside) == entry.second;
      });
      if (is_common) {
        propose_offset(facts, by, outside, proposals);
        return;
      }
    }
  }
}

// Both ways to stay inside of the table, where they differ.
void propose_offset_blindly(const StageFacts& facts, const gguf::Tensor& table, int64_t by,
                            std::vector<Proposal>& proposals) {
  propose_offset(facts, by, Outside::kGoesRound, proposals);
  if (shifted(facts.tokens(), by, table, Outside::kGoesRound) != shifted(facts.tokens(), by, table, Outside::kStays)) {
    propose_offset(facts, by, Outside::kStays, proposals);
  }
}

}  // namespace

std::vector<Proposal> estimate_embeddings(const StageFacts& facts) {
  const gguf::Tensor* const table = weight_of_stage(facts);
  const double should = rms_of(facts.should());
  if (table == nullptr || facts.tokens().size() != facts.should().n_tokens || !(should > 0)) {
    return {};
  }
  std::vector<Proposal> proposals;
  const auto n_embd = static_cast<double>(table->n_cols());
  if (facts.is() && facts.is()->n_features == table->n_cols() && facts.is()->n_tokens == facts.tokens().size()) {
    double both = 0, own = 0;
    for (size_t i = 0; i < facts.should().values.size(); ++i) {
      both += facts.is()->values[i] * facts.should().values[i];
      own += facts.should().values[i] * facts.should().values[i];
    }
    const double factor = both / own;
    proposals.push_back(scaled(factor, shortest_within(factor, 1e-6 * std::abs(factor)), n_embd, kNumberMeasured));
    if (const auto read = rows_taken(facts, *table)) {
      propose_common_offset(facts, *read, static_cast<int64_t>(table->n_rows()), proposals);
      proposals.push_back(row_table(*read));
    }
  } else if (facts.rms()) {
    proposals.push_back(scaled(*facts.rms() / should, *facts.rms() / should, n_embd, kFitsAnything));
    for (int64_t by = 1; by <= kMostOff; ++by) {
      propose_offset_blindly(facts, *table, by, proposals);
      propose_offset_blindly(facts, *table, -by, proposals);
    }
  }
  return explaining(std::move(proposals), facts);
}

}  // namespace tern::estimate
