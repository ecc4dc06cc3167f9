// Small valid GGUF files for the fuzzer to start from: every value type, every format.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "tern/base/file.h"
#include "tern/gguf/writer.h"

namespace {

using namespace tern;

gguf::Header all_types() {
  gguf::Header header;
  header.add("general.architecture", std::string("llama"));
  header.add("general.alignment", uint32_t{32});
  header.add("u8", uint8_t{1});
  header.add("i8", int8_t{-1});
  header.add("u16", uint16_t{1});
  header.add("i16", int16_t{-1});
  header.add("i32", int32_t{-1});
  header.add("f32", 0.5F);
  header.add("bool", true);
  header.add("u64", uint64_t{1});
  header.add("i64", int64_t{-1});
  header.add("f64", 0.5);
  header.add("ints", std::vector<int32_t>{1, 2, 3});
  header.add("bools", std::vector<bool>{true, false});
  header.add("strings", std::vector<std::string>{"a", "bc"});
  header.add_tensor("output_norm.weight", {8}, quant::kF32);
  header.add_tensor("token_embd.weight", {4, 2, 2}, quant::kF16);
  header.tensors.push_back({"blk.0.ffn_up.weight", {32}, 2, 18});  // Q4_0: listed, not read
  return header;
}

gguf::Header one_layer(const quant::Format& format) {
  gguf::Header header;
  header.add("general.architecture", std::string("bitnet-b1.58"));
  header.add_tensor("blk.0.attn_norm.weight", {4}, quant::kF32);
  header.add_tensor("blk.0.attn_q.weight", {256, 4}, format);
  header.add_tensor("blk.0.attn_k.weight", {256, 2}, format);
  return header;
}

Status write_seed(const std::filesystem::path& path, const gguf::Header& header) {
  TERN_ASSIGN_OR_RETURN(gguf::Writer writer, gguf::Writer::create(path, header));
  for (const gguf::TensorPlan& tensor : header.tensors) {
    TERN_RETURN_IF_ERROR(writer.append(std::vector<std::byte>(tensor.n_bytes, std::byte{0x26})));
  }
  return writer.commit();
}

Status write_seeds(const std::filesystem::path& folder) {
  gguf::Header empty_version_2;
  empty_version_2.version = 2;
  TERN_RETURN_IF_ERROR(write_seed(folder / "empty_version_2.gguf", empty_version_2));
  for (const quant::Format* format : quant::formats()) {
    const std::string name = fmt::format("{}{}.gguf", format->name, format->layout);
    TERN_RETURN_IF_ERROR(write_seed(folder / name, one_layer(*format)));
  }
  return write_seed(folder / "all_types.gguf", all_types());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_gguf_seeds FOLDER\n");
    return 2;
  }
  const Status status = write_seeds(argv[1]);
  if (!status) {
    std::fprintf(stderr, "%s\n", status.error().line().c_str());
    return 3;
  }
  return 0;
}
