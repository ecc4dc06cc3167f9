#include "node_values.h"

#include <ggml-backend.h>

#include <cctype>
#include <cstdint>
#include <cstring>

#include "llama_api.h"

namespace tern::adapter {
namespace {

template <class Number>
void widen_numbers(const std::byte* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) {
    Number number;
    std::memcpy(&number, from + i * sizeof(number), sizeof(number));
    to[i] = static_cast<float>(number);
  }
}

using Widen = void (*)(const std::byte* from, size_t n, float* to);

// Null where ggml's own decoder of the type is needed, if it has one.
Widen number_widener(ggml_type type) {
  switch (type) {
    case GGML_TYPE_F32:
      return widen_numbers<float>;
    case GGML_TYPE_F64:
      return widen_numbers<double>;
    case GGML_TYPE_I8:
      return widen_numbers<int8_t>;
    case GGML_TYPE_I16:
      return widen_numbers<int16_t>;
    case GGML_TYPE_I32:
      return widen_numbers<int32_t>;
    case GGML_TYPE_I64:
      return widen_numbers<int64_t>;
    default:
      return nullptr;
  }
}

// `n` neighbouring values of `type` at `from`, widened to float32.
void widen(ggml_type type, const std::byte* from, size_t n, float* to) {
  if (const Widen numbers = number_widener(type)) {
    numbers(from, n, to);
  } else {
    api::decoder_of(type)(from, to, static_cast<int64_t>(n));
  }
}

// Where each row of `node` begins, in bytes from the first one. Nodes may be views with any strides.
template <class Visit>
void for_each_row(const ggml_tensor& node, const Visit& visit) {
  for (int64_t i3 = 0; i3 < node.ne[3]; ++i3) {
    for (int64_t i2 = 0; i2 < node.ne[2]; ++i2) {
      for (int64_t i1 = 0; i1 < node.ne[1]; ++i1) {
        visit(static_cast<size_t>(i1) * node.nb[1] + static_cast<size_t>(i2) * node.nb[2] +
              static_cast<size_t>(i3) * node.nb[3]);
      }
    }
  }
}

}  // namespace

bool holds_new_values(const ggml_tensor& node) {
  return node.op != GGML_OP_NONE && node.op != GGML_OP_VIEW && node.op != GGML_OP_RESHAPE &&
         node.op != GGML_OP_PERMUTE && node.op != GGML_OP_TRANSPOSE && ggml_nelements(&node) > 0;
}

trace::Shape shape_of(const ggml_tensor& node) {
  trace::Shape shape;
  for (int i = GGML_MAX_DIMS - 1; i >= 0; --i) {
    if (!shape.empty() || node.ne[i] != 1 || i == 0) shape.push_back(node.ne[i]);
  }
  return shape;
}

std::string dtype_of(const ggml_tensor& node) {
  std::string name = ggml_type_name(node.type);
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

bool can_widen(ggml_type type) { return number_widener(type) != nullptr || api::decoder_of(type) != nullptr; }

void read_rows(const ggml_tensor& node, size_t width, std::vector<float>& out) {
  std::vector<std::byte> bytes(ggml_nbytes(&node));               // from the first value to the last, gaps included
  ggml_backend_tensor_get(&node, bytes.data(), 0, bytes.size());  // only the backend may be able to read its memory
  out.clear();
  out.resize(width * static_cast<size_t>(ggml_nrows(&node)));
  const bool dense_rows = node.nb[0] == ggml_type_size(node.type);
  float* to = out.data();
  for_each_row(node, [&](size_t offset) {
    const std::byte* row = bytes.data() + offset;
    if (dense_rows) {
      widen(node.type, row, width, to);
    } else {
      for (size_t i0 = 0; i0 < width; ++i0) widen(node.type, row + i0 * node.nb[0], 1, to + i0);
    }
    to += width;
  });
}

void write_rows(ggml_tensor& node, size_t width, const std::vector<float>& values) {
  const float* from = values.data();
  for_each_row(node, [&](size_t offset) {
    ggml_backend_tensor_set(&node, from, offset, width * sizeof(float));
    from += width;
  });
}

}  // namespace tern::adapter
