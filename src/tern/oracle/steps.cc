#include "tern/oracle/steps.h"

#include <fmt/format.h>

#include <utility>

#include "tern/base/check.h"

namespace tern::oracle {

using trace::Stage;

// Makes the oracle's protected operations callable.
class Steps::Operations final : public Oracle {
 public:
  explicit Operations(Oracle&& plain) : Oracle(std::move(plain)) {}

  const gguf::View& view() const { return *view_; }
  const gguf::Tensor& head() const { return *head_; }
  using Oracle::norm_with;
  using Oracle::project;

  Matrix project(const Matrix& x, const gguf::Tensor& weight, uint64_t n_rows, const RowOf& row_of) const {
    Matrix input = x;
    const std::vector<double> units = prepare_input(input, weight);
    return product(input, units, weight, n_rows, row_of, 1);
  }

  Matrix rounded_input(const Matrix& x, const gguf::Tensor& weight) const {
    Matrix input = x;
    const std::vector<double> units = prepare_input(input, weight);
    for (size_t t = 0; t < input.n_tokens; ++t) {
      for (double& value : input.row(t)) {
        value *= units[t];
      }
    }
    return input;
  }
};

Steps::Steps(std::unique_ptr<Operations> operations) : operations_(std::move(operations)) {}
Steps::~Steps() = default;
Steps::Steps(Steps&&) noexcept = default;
Steps& Steps::operator=(Steps&&) noexcept = default;

Result<Steps> Steps::load(const gguf::View& view) {
  TERN_ASSIGN_OR_RETURN(Oracle plain, Oracle::load(view));
  return Steps(std::make_unique<Operations>(std::move(plain)));
}

const gguf::View& Steps::view() const { return operations_->view(); }

const Hyperparameters& Steps::hyperparameters() const { return operations_->hyperparameters(); }

const gguf::Tensor* Steps::weight_of(Stage stage, int layer) const {
  const std::string_view name = stage.row().weight;
  if (name.empty()) {
    return nullptr;
  }
  if (stage == Stage::kLogits) {
    return &operations_->head();
  }
  return view().find_tensor(layer < 0 ? fmt::format("{}.weight", name) : fmt::format("blk.{}.{}.weight", layer, name));
}

std::vector<double> Steps::weight_row(const gguf::Tensor& weight, uint64_t row) const {
  WeightRow decoded;
  decode_row(weight, row, decoded);
  for (double& value : decoded.weights) {
    value *= decoded.scale;
  }
  return std::move(decoded.weights);
}

double Steps::weight_scale(const gguf::Tensor& weight) const {
  WeightRow decoded;
  decode_row(weight, 0, decoded);
  return decoded.scale;
}

Matrix Steps::project(const Matrix& x, const gguf::Tensor& weight) const { return operations_->project(x, weight); }

Matrix Steps::project(const Matrix& x, const gguf::Tensor& weight, uint64_t n_rows, const RowOf& row_of) const {
  return operations_->project(x, weight, n_rows, row_of);
}

Matrix Steps::rounded_input(const Matrix& x, const gguf::Tensor& weight) const {
  return operations_->rounded_input(x, weight);
}

Matrix Steps::norm(const Matrix& x, std::span<const double> weight, double epsilon) const {
  return operations_->norm_with(x, weight, epsilon);
}

}  // namespace tern::oracle
