// A GGUF file between two others: which parts of a bad model make it bad is found by putting some of them into the
// good one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::bisect {

// A metadata key or a tensor that the two files do not have alike: one of them lacks it, or its type, shape or
// content differs.
struct ModelChange {
  enum class Kind { kMetadata, kTensor };
  Kind kind = Kind::kTensor;
  std::string name;
  std::string what;  // "F16 -> I2_S", "values", "only in the bad model"
};

// The differences, in the order of the good file, then what only the bad one has. The alignment does not count. Errors:
// kInvalidInput for a tensor whose type has no known size, and for files whose I2_S tensors have different layouts: no
// file can hold both.
Result<std::vector<ModelChange>> model_changes(const gguf::View& good, const gguf::View& bad);

// Writes the good model with the parts that `changes` names as they are in the bad one. Errors: kIo.
Status write_hybrid(const std::filesystem::path& path, const gguf::View& good, const gguf::View& bad,
                    const std::vector<ModelChange>& changes);

}  // namespace tern::bisect
