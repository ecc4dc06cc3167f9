#include "tern/trace/top_logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "tern/base/check.h"

namespace tern::trace {
namespace {

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

// Metadata holds text only. 0 where it is no number of logits.
size_t vocab_in(const Safetensors& file) {
  const auto it = file.metadata().find("vocab");
  int32_t vocab = 0;
  if (it == file.metadata().end()) {
    return 0;
  }
  const std::string& text = it->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), vocab);
  return error == std::errc() && end == text.data() + text.size() && vocab > 0 ? static_cast<size_t>(vocab) : 0;
}

// Why a row cannot be the top of a row of `vocab` logits; empty if it can.
std::string problem_with(const TopLogitsRow& row, size_t vocab, std::vector<int32_t>& scratch) {
  const auto [lowest, highest] = std::minmax_element(row.ids.begin(), row.ids.end());
  if (*lowest < 0 || static_cast<size_t>(*highest) >= vocab) {
    return fmt::format("id {} is none of a vocabulary of {}", *lowest < 0 ? *lowest : *highest, vocab);
  }
  scratch.assign(row.ids.begin(), row.ids.end());
  std::sort(scratch.begin(), scratch.end());
  if (const auto twice = std::adjacent_find(scratch.begin(), scratch.end()); twice != scratch.end()) {
    return fmt::format("id {} stands twice", *twice);
  }
  if (!all_finite(row.logits) || !std::isfinite(row.log_sum_exp)) {
    return "a value is NaN or infinite";
  }
  for (size_t i = 1; i < row.ids.size(); ++i) {
    const bool in_order =
        row.logits[i - 1] > row.logits[i] || (row.logits[i - 1] == row.logits[i] && row.ids[i - 1] < row.ids[i]);
    if (!in_order) {
      return fmt::format("entries {} and {} are not in falling order", i - 1, i);
    }
  }
  // The logits that were left out are between minus infinity and the smallest that was kept.
  const double low = log_sum_exp(row.logits);
  const double rest = static_cast<double>(vocab - row.ids.size());
  const double high = low + std::log1p(rest * std::exp(static_cast<double>(row.logits.back()) - low));
  const double stated = static_cast<double>(row.log_sum_exp);
  const double slack = 1e-6 * std::max(1.0, std::fabs(stated));  // it was rounded to float32
  if (stated < low - slack || stated > high + slack) {
    return fmt::format("the log-sum-exp is {}; with these logits it lies between {:.6g} and {:.6g}", row.log_sum_exp,
                       low, high);
  }
  return {};
}

}  // namespace

double log_sum_exp(std::span<const float> row) {
  TERN_CHECK(!row.empty());
  const double largest = static_cast<double>(*std::max_element(row.begin(), row.end()));
  double sum = 0;
  for (const float value : row) {
    sum += std::exp(static_cast<double>(value) - largest);
  }
  return largest + std::log(sum);
}

std::vector<int32_t> largest_ids(std::span<const float> row, size_t k) {
  TERN_CHECK(k <= row.size());
  std::vector<int32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [row](int32_t a, int32_t b) {
    const float x = row[static_cast<size_t>(a)];
    const float y = row[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(k), ids.end(), before);
  ids.resize(k);
  return ids;
}

Result<TopLogits> TopLogits::open(const std::filesystem::path& path) {
  const std::string where = path.string();
  TERN_ASSIGN_OR_RETURN(Safetensors opened, Safetensors::open(path, Safetensors::Integers::kTaken));
  TopLogits top(std::move(opened));
  const auto* ids = top.file_.find_integers("ids");
  const auto* logits = top.file_.find("logits");
  const auto* sums = top.file_.find("log_sum_exp");
  if (ids == nullptr || logits == nullptr || sums == nullptr) {
    return invalid_input(where, R"(does not hold the tensors "ids" (I32), "logits" and "log_sum_exp" (F32))");
  }
  top.vocab_ = vocab_in(top.file_);
  if (top.vocab_ == 0) {
    return invalid_input(where, R"(its metadata has no "vocab", the number of logits in a whole row)");
  }
  if (ids->shape.size() != 2 || ids->shape != logits->shape || sums->shape != std::vector{ids->shape[0]}) {
    return invalid_input(where, R"("ids" and "logits" are not [positions, k] and "log_sum_exp" [positions])");
  }
  top.n_rows_ = static_cast<size_t>(ids->shape[0]);
  top.k_ = static_cast<size_t>(ids->shape[1]);
  if (top.k_ < 1 || top.k_ > top.vocab_) {
    return invalid_input(where, fmt::format("keeps {} logits of a row of {}", top.k_, top.vocab_));
  }
  top.ids_ = ids->values;
  top.logits_ = logits->values;
  top.log_sum_exp_ = sums->values;
  std::vector<int32_t> scratch;
  for (size_t i = 0; i < top.n_rows_; ++i) {
    if (const std::string problem = problem_with(top.row(i), top.vocab_, scratch); !problem.empty()) {
      return invalid_input(fmt::format("{} row {}", where, i), problem);
    }
  }
  return top;
}

TopLogitsRow TopLogits::row(size_t index) const {
  TERN_CHECK(index < n_rows_);
  return {ids_.subspan(index * k_, k_), logits_.subspan(index * k_, k_), log_sum_exp_[index]};
}

Status write_top_logits(const std::filesystem::path& path, const Safetensors::Entry& logits, size_t k,
                        const std::string& where) {
  TERN_CHECK(logits.shape.size() == 2 && logits.shape[1] > 0);
  const auto n_rows = static_cast<size_t>(logits.shape[0]);
  const auto vocab = static_cast<size_t>(logits.shape[1]);
  if (k < 1 || k > vocab) {
    return invalid_input(where, fmt::format("has {} logits in a row, so their {} largest cannot be kept", vocab, k));
  }
  std::vector<int32_t> ids;
  std::vector<float> kept, sums;
  for (size_t i = 0; i < n_rows; ++i) {
    const auto row = logits.values.subspan(i * vocab, vocab);
    if (!all_finite(row)) {
      return invalid_input(fmt::format("{} row {}", where, i),
                           "a logit is NaN or infinite, which has no place in an order", "keep the full logits");
    }
    for (const int32_t id : largest_ids(row, k)) {
      ids.push_back(id);
      kept.push_back(row[static_cast<size_t>(id)]);
    }
    sums.push_back(static_cast<float>(log_sum_exp(row)));
  }
  const std::vector<int64_t> shape = {logits.shape[0], static_cast<int64_t>(k)};
  TERN_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(4)));
  writer.add_metadata("vocab", std::to_string(vocab));
  TERN_RETURN_IF_ERROR(writer.add_integers("ids", shape, ids));
  TERN_RETURN_IF_ERROR(writer.add("logits", shape, kept));
  TERN_RETURN_IF_ERROR(writer.add("log_sum_exp", {logits.shape[0]}, sums));
  return writer.finish();
}

}  // namespace tern::trace
