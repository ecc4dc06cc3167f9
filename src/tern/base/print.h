// Text to the standard streams. Neither throws where a stream is full or closed (fmt::print() does): main() checks
// standard output once at the end, and nothing depends on standard error.
#pragma once

#include <cstdio>
#include <string_view>

namespace tern {

inline void print_out(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }
inline void print_err(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace tern
