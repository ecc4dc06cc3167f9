#include "tern/base/error.h"

#include <fmt/format.h>

namespace tern {

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (const char c : text.substr(0, max_bytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > max_bytes) {
    out += fmt::format("... ({} bytes)", text.size());
  }
  return out;
}

std::string Error::line() const {
  constexpr size_t kMaxBytes = 4000;
  std::string out = where.empty() ? what : where + ": " + what;
  if (!hint.empty()) {
    out += " (" + hint + ")";
  }
  return printable(out, kMaxBytes);
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return 2;
    case ErrorCode::kInvalidInput:
    case ErrorCode::kIo:
      return 3;
    case ErrorCode::kEngine:
      return 4;
    case ErrorCode::kNoVerdict:
      return 5;
  }
  return 70;  // unreachable: every enumerator returns above
}

}  // namespace tern
