// What a wrong tensor looks like beside the right one: a hint to people where no cause explains it. Pure functions.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tern/trace/record.h"

namespace tern::compare {

// `is` and `should`: [tokens, features] or [heads, tokens, keys] as in `shape`, of equal length. `noise`: the largest
// difference that is rounding, in the tensor's unit. `n_heads`: into how many heads features can be cut; 1: none.
// `n_untold`: so many of the first tokens are right whatever is wrong, as the first of a sequence is behind RoPE.
// One clause per pattern that is seen, the most telling first; empty where there is none, or values are not finite.
std::vector<std::string> patterns(const trace::Shape& shape, std::span<const float> is, std::span<const float> should,
                                  double noise, size_t n_heads, size_t n_untold = 0);

}  // namespace tern::compare
