// How tern reports that something outside of it is wrong: a file, a flag, another engine.
//
// Anything that depends on input returns Result<T>; nothing in the libraries throws, prints or exits. A bug of our own
// is not an Error: it is a TERN_CHECK (check.h). A numeric difference between engines is not an Error either: it is
// data (compare/verdict.h).
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace tern {

enum class ErrorCode {
  kUsage,         // the command line itself is wrong
  kInvalidInput,  // a file was read but is not what it has to be
  kIo,            // a file could not be opened, read, written or renamed
  kEngine,        // an engine crashed, timed out or could not be started
  kNoVerdict,     // nothing could be compared, or the reference failed its check
};

// One problem, in the parts that a user needs: `where` names the file and the place in it
// ("model.gguf @ 0x1a40: tensor blk.3.ffn_down.weight"), `what` the cause, `hint` (may be empty) the way out.
struct Error {
  ErrorCode code = ErrorCode::kInvalidInput;
  std::string where;
  std::string what;
  std::string hint;

  // "where: what (hint)", always a single line: control characters from the outside are escaped.
  std::string line() const;
};

// The process exit code (docs/cross-validation.md): 2 usage, 3 input or I/O, 4 engine, 5 no verdict.
int exit_code(ErrorCode code);

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(ErrorCode code, std::string where, std::string what, std::string hint = {}) {
  return tl::unexpected<Error>(Error{code, std::move(where), std::move(what), std::move(hint)});
}
inline tl::unexpected<Error> invalid_input(std::string where, std::string what, std::string hint = {}) {
  return fail(ErrorCode::kInvalidInput, std::move(where), std::move(what), std::move(hint));
}

// `text` with control characters (and the escape character itself) written as \xNN, cut to `max_bytes`: for showing
// untrusted names in one-line messages and on terminals.
std::string printable(std::string_view text, size_t max_bytes = 200);

}  // namespace tern

#define TERN_CONCAT_INNER(a, b) a##b
#define TERN_CONCAT(a, b) TERN_CONCAT_INNER(a, b)

// Returns the error of a Status- or Result-valued expression from the enclosing function, if there is one.
#define TERN_RETURN_IF_ERROR(expression)                      \
  do {                                                        \
    if (auto tern_status_ = (expression); !tern_status_) {    \
      return tl::unexpected(std::move(tern_status_).error()); \
    }                                                         \
  } while (false)

// `TERN_ASSIGN_OR_RETURN(auto view, gguf::View::open(path));`
#define TERN_ASSIGN_OR_RETURN(declaration, expression) \
  TERN_ASSIGN_OR_RETURN_INNER(TERN_CONCAT(tern_result_, __LINE__), declaration, expression)
#define TERN_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                        \
  if (!result) {                                                     \
    return tl::unexpected(std::move(result).error());                \
  }                                                                  \
  declaration = std::move(*result)
