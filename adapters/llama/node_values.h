// The values of a compute graph's node, of any type, shape and strides, as dense float32.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <string>
#include <vector>

#include "tern/trace/record.h"

namespace tern::adapter {

// False for views, reshapes, permutations and transpositions, whose values are those of another node, and for a node
// without any values.
bool holds_new_values(const ggml_tensor& node);

// ggml's shape the other way round: the slowest dimension first, leading ones dropped.
trace::Shape shape_of(const ggml_tensor& node);

// "F32", "I32", "Q8_0": what the node holds.
std::string dtype_of(const ggml_tensor& node);

// Whether read_rows() can read the type: floating point, integers, and encodings that ggml decodes.
bool can_widen(ggml_type type);

// All rows of `node`, each cut to its first `width` values (all of them, where the type is an encoding of blocks), into
// `out`, row by row in the order of shape_of(). Integers beyond 2^24 lose their last bits.
void read_rows(const ggml_tensor& node, size_t width, std::vector<float>& out);

// The other way round, for float32 nodes whose rows are dense: `values` into the first `width` values of each row.
void write_rows(ggml_tensor& node, size_t width, const std::vector<float>& values);

}  // namespace tern::adapter
