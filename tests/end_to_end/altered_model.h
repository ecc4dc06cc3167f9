// A copy of a model with mistakes in its bitnet.cpp I2_S tensors.
#pragma once

#include <cstring>
#include <string>

#include "tern/base/check.h"
#include "tern/base/file.h"
#include "tern/gguf/view.h"

namespace tern::test {

class AlteredModel {
 public:
  explicit AlteredModel(const std::string& model) : bytes_(read_file(model, uint64_t{64} << 20).value_or("")) {
    auto view = gguf::View::open(model);
    TERN_CHECK(view.has_value());
    view_.emplace(std::move(*view));
  }

  void negate(const char* name) {
    const gguf::Tensor& tensor = tensor_of(name);
    for (uint64_t i = 0; i < tensor.n_elements() / 4; ++i) {
      char& byte = bytes_[tensor.file_offset + i];
      byte = static_cast<char>(0xaa - static_cast<unsigned char>(byte));  // 2 - code in each of the four
    }
  }
  void scale(const char* name, float factor) {
    const gguf::Tensor& tensor = tensor_of(name);
    char* const place = bytes_.data() + tensor.file_offset + tensor.n_elements() / 4;
    float scale = 0;
    std::memcpy(&scale, place, sizeof(scale));
    scale *= factor;
    std::memcpy(place, &scale, sizeof(scale));
  }
  // Somewhere in the middle, by one step.
  void change_one_weight(const char* name) {
    const gguf::Tensor& tensor = tensor_of(name);
    char& byte = bytes_[tensor.file_offset + tensor.n_elements() / 8];
    byte = static_cast<char>(byte ^ ((byte & 3) == 2 ? 2 : 1));
  }
  Status write(const std::string& path) const { return write_file(path, bytes_); }

 private:
  const gguf::Tensor& tensor_of(const char* name) const {
    const gguf::Tensor* const tensor = view_->find_tensor(name);
    TERN_CHECK(tensor != nullptr);
    return *tensor;
  }

  std::string bytes_;
  std::optional<gguf::View> view_;
};

}  // namespace tern::test
