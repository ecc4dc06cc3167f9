// The JSON header of a safetensors file, read as a stream: time and memory are linear in its size.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"

namespace tern::trace {

// A number format of the format's list. Floats have a sign, `exponent_bits` and the rest for the mantissa.
struct SafetensorsDType {
  std::string_view name;
  uint64_t bits;
  int exponent_bits = 0;     // 0: no float that is read
  bool has_infinity = true;  // otherwise all bits set is NaN, and the largest exponent holds numbers
};

struct SafetensorsHeader {
  struct Tensor {
    std::string name;
    const SafetensorsDType* dtype = nullptr;
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes of the data area
    uint64_t n_elements = 0;
  };
  std::vector<Tensor> tensors;                               // sorted by name
  std::map<std::string, std::string, std::less<>> metadata;  // "__metadata__"
};

// `text`: the header alone. `data_size`: bytes of the data area. `file` names it in errors. Errors: kInvalidInput for
// what is not such a header, a dtype that the format does not have, a name that stands twice, a size that differs from
// shape and dtype, a hole, an overlap, or bytes behind the last tensor.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, uint64_t data_size, const std::string& file);

}  // namespace tern::trace
