#include "tern/arch/model_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <unordered_set>

#include "tern/base/check.h"
#include "tern/quant/format.h"

namespace tern::arch {
namespace {

Status check_format(const gguf::View& view, const gguf::Tensor& tensor, Use use) {
  const auto wrong = [&](std::string_view why) {
    return invalid_input(view.where_tensor(tensor),
                         fmt::format("is {}: {}", quant::type_name_and_id(tensor.type_id), why));
  };
  if (tensor.format == nullptr) {
    return wrong("tern cannot compute with this format");
  }
  if (use == Use::kNorm && !tensor.format->is_float()) {
    return wrong("a norm must be F32 or F16");
  }
  if (use == Use::kRows && tensor.format->tail_bytes > 0) {
    return wrong("rows of this tensor are read one by one, which its format does not allow");
  }
  return {};
}

Status check_shape(const gguf::View& view, const gguf::Tensor& tensor, int64_t n_rows, int64_t n_cols) {
  if (tensor.n_cols() == static_cast<uint64_t>(n_cols) && tensor.n_rows() == static_cast<uint64_t>(n_rows) &&
      tensor.dims.size() <= 2) {
    return {};
  }
  const std::string demanded = n_rows == 1 ? fmt::format("[{}]", n_cols) : fmt::format("[{}, {}]", n_cols, n_rows);
  return invalid_input(view.where_tensor(tensor), fmt::format("its shape is [{}], but the hyperparameters demand {}",
                                                              fmt::join(tensor.dims, ", "), demanded));
}

}  // namespace

Status ModelFile::bind(const gguf::View& view) {
  std::unordered_set<std::string_view> used;
  layers_.resize(static_cast<size_t>(numbers_.n_layers));
  for (const TensorSpec& spec : family_->tensors) {
    const int64_t n_copies = spec.is_per_layer ? numbers_.n_layers : 1;
    for (int64_t layer = 0; layer < n_copies; ++layer) {
      const std::string name = tensor_name(spec, layer);
      const gguf::Tensor* tensor = view.find_tensor(name);
      if (tensor == nullptr) {
        if (spec.is_required) {
          return invalid_input(view.name(), fmt::format("the tensor {} is missing", name));
        }
        continue;
      }
      TERN_RETURN_IF_ERROR(check_shape(view, *tensor, spec.n_rows(numbers_), spec.n_cols(numbers_)));
      TERN_RETURN_IF_ERROR(check_format(view, *tensor, spec.use));
      used.insert(tensor->name);
      ByRole& tensors = spec.is_per_layer ? layers_[static_cast<size_t>(layer)] : whole_;
      tensors[static_cast<size_t>(spec.role)] = tensor;
    }
  }
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (!used.contains(tensor.name)) {
      return invalid_input(view.where_tensor(tensor),
                           fmt::format("{} does not use this tensor, in the graph that tern computes", family_->name),
                           "leaving it out would give wrong numbers");
    }
  }
  return {};
}

Result<ModelFile> ModelFile::read(const gguf::View& view) {
  TERN_ASSIGN_OR_RETURN(const Family* family, family_of(view));
  TERN_ASSIGN_OR_RETURN(const Numbers numbers, read_numbers(view, *family));
  ModelFile file(*family, numbers);
  TERN_RETURN_IF_ERROR(file.bind(view));
  return file;
}

const gguf::Tensor* ModelFile::find(Role role, int64_t layer) const {
  const TensorSpec* spec = family_->find(role);
  if (spec == nullptr) {
    return nullptr;
  }
  return (spec->is_per_layer ? layers_[static_cast<size_t>(layer)] : whole_)[static_cast<size_t>(role)];
}

const gguf::Tensor& ModelFile::tensor(Role role, int64_t layer) const {
  const gguf::Tensor* found = find(role, layer);
  TERN_CHECK(found != nullptr);
  return *found;
}

}  // namespace tern::arch
