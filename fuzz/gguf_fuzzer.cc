// Any bytes at all must give a View or an Error; and whatever a View hands out must be readable.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "tern/gguf/view.h"
#include "tern/weight_checks/weight_checks.h"

namespace {

volatile uint64_t sink;  // keeps the compiler from leaving the reads out

template <class T>
uint64_t touch(const T& value) {
  return static_cast<uint64_t>(value != T{});
}
uint64_t touch(std::string_view text) {
  uint64_t sum = text.size();
  for (const char c : text) {
    sum += static_cast<unsigned char>(c);
  }
  return sum;
}
template <class T>
uint64_t touch(const std::vector<T>& array) {
  uint64_t sum = array.size();
  for (const auto& element : array) {
    sum += touch(static_cast<T>(element));
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const auto view = gguf::View::parse(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!view) {
    sink = view.error().line().size();
    return 0;
  }
  uint64_t sum = 0;
  for (const gguf::Metadata& entry : view->metadata()) {
    sum += touch(entry.key) + std::visit([](const auto& value) { return touch(value); }, entry.value);
    sum += view->get_uint(entry.key, 0, 1000).has_value() ? 1u : 0u;
    sum += view->get_strings(entry.key).has_value() ? 1u : 0u;
  }
  for (const gguf::Tensor& tensor : view->tensors()) {
    sum += touch(tensor.name) + tensor.n_elements() + view->where_tensor(tensor).size();
    for (const std::byte byte : tensor.data) {
      sum += std::to_integer<uint64_t>(byte);
    }
  }
  if (const auto rules = weight_checks::rules_for(*view)) {
    sum += weight_checks::check_weights(*view, &*rules).n_failed;
  }
  sink = sum;
  return 0;
}
