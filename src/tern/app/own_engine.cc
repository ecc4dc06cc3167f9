#include "tern/app/own_engine.h"

#include <fmt/format.h>

#include <filesystem>

#include "tern/app/build_facts.h"
#include "tern/base/file.h"

namespace tern::app {

Result<std::filesystem::path> own_program() {
  std::error_code error;
  std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return fail(ErrorCode::kEngine, "/proc/self/exe", "cannot be read: " + error.message());
  }
  return program;
}

Result<std::unique_ptr<peer::Peer>> make_tern_peer(const std::vector<std::string>& more_words, std::string_view isa) {
  TERN_ASSIGN_OR_RETURN(const std::filesystem::path program, own_program());
  // --prompt= keeps a prompt that starts with '-' from being taken for an option.
  std::vector<std::string> words = {
      program.string(), "run",          "--model",       "{model}", "--tokenizer", "{tokenizer}", "--prompt={prompt}",
      "--max-tokens",   "{max_tokens}", "--temperature", "0.0",     "--greedy",    "--seed",      "42",
      "--threads",      "{threads}",    "--ignore-eos",  "--out",   "{out}"};
  words.insert(words.end(), more_words.begin(), more_words.end());
  if (!isa.empty()) {
    words.insert(words.begin(), {"env", fmt::format("TERN_ISA={}", isa)});
  }
  return peer::make_command_peer(peer::CommandTemplate(std::move(words)), fmt::format("tern {}", version()),
                                 peer::CommandKind::kOurs);
}

std::vector<std::string> typed_command() {
  std::vector<std::string> words;
  const auto line = read_file("/proc/self/cmdline", uint64_t{4} << 20);
  const std::string text = line ? *line : std::string();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\0', begin);
    words.push_back(text.substr(begin, end - begin));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return words;
}

std::string own_arithmetic(const gguf::View& view, kernels::ActivationRounding rounding) {
  bool has_i2s = false;
  for (const gguf::Tensor& tensor : view.tensors()) {
    const bool in_layer = tensor.name.starts_with("blk.") && tensor.dims.size() > 1;
    if (tensor.format == nullptr || (in_layer ? tensor.format != &quant::kI2sBitnetCpp : !tensor.format->is_float())) {
      return {};
    }
    has_i2s |= in_layer;
  }
  if (!has_i2s) {
    return {};
  }
  return rounding == kernels::ActivationRounding::kFused ? "bitnet.cpp-x86-64-fused" : "bitnet.cpp-x86-64";
}

}  // namespace tern::app
