// Counts of the model, which the file gives as int64_t, as sizes and offsets of arrays. Inside model/ only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tern::model {

// n >= 0: what arch/ has checked, and what follows from it.
constexpr size_t size(int64_t n) { return static_cast<size_t>(n); }

}  // namespace tern::model
