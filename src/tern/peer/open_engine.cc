#include "tern/peer/open_engine.h"

#include <fmt/format.h>

#include "tern/peer/command_template.h"
#include "tern/peer/llama_library.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

// Empty if the pack was recorded from this model and tokenizer; otherwise one clause that says what differs.
std::string mismatch(const trace::Pack& pack, const Subject& subject) {
  if (pack.model().sha256 != subject.model_sha256) {
    return fmt::format("belongs to another model: it was recorded from {} (sha256 {}), this is {} (sha256 {})",
                       pack.model().file_name, pack.model().sha256, subject.model.filename().string(),
                       subject.model_sha256);
  }
  const std::string& recorded = pack.model().tokenizer_sha256;
  if (subject.tokenizer_is_json && !recorded.empty() && recorded != subject.tokenizer_sha256) {
    return fmt::format("belongs to another tokenizer: it was recorded with one of sha256 {}, this one has {}", recorded,
                       subject.tokenizer_sha256);
  }
  return {};
}

OpenedEngine opened_pack(trace::Pack pack, const std::string& spec, std::string note) {
  OpenedEngine opened;
  opened.kind = "pack";
  opened.spec = spec;
  opened.engine = pack.engine_name();
  opened.id = pack.id();
  opened.note = std::move(note);
  opened.has_values = pack.has_values();
  opened.details = {{"engine", pack.engine()},
                    {"arithmetic", pack.arithmetic()},
                    {"model", {{"file_name", pack.model().file_name}, {"sha256", pack.model().sha256}}}};
  opened.peer = make_pack_peer(std::move(pack), spec);
  return opened;
}

std::string overridden_note(const std::string& difference) {
  return fmt::format("the check of the pack's model was overridden (--allow-model-mismatch); the pack {}", difference);
}

Result<OpenedEngine> open_pack(const fs::path& folder, const Subject& subject, const OpenOptions& options) {
  TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::open(folder));
  const std::string difference = mismatch(pack, subject);
  if (!difference.empty() && !options.allow_model_mismatch) {
    return invalid_input(folder.string(), "the pack " + difference, "--allow-model-mismatch compares nevertheless");
  }
  return opened_pack(std::move(pack), "pack:" + folder.string(),
                     difference.empty() ? std::string() : overridden_note(difference));
}

OpenedEngine none(std::string note) {
  OpenedEngine opened;
  opened.kind = "none";
  opened.spec = "none";
  opened.note = std::move(note);
  return opened;
}

// "bitnet.cpp-x86-64" and its variants sum as AVX2 does.
std::string arithmetic_note(const std::string& claimed, const Json& facts) {
  const Json& system = facts["system_info"];
  const bool avx512 = system.is_string() && system.get<std::string>().find("AVX512 = 1") != std::string::npos;
  return avx512 && claimed.starts_with("bitnet.cpp-x86-64")
             ? fmt::format(
                   "the arithmetic '{}' was claimed, but this library was compiled for AVX-512, which is another",
                   claimed)
             : std::string();
}

Result<OpenedEngine> open_live(const EngineSpec& spec, const OpenOptions& options) {
  const std::string where = fmt::format("{} {}", options.option, printable(spec.text(), 1000));
  const std::string name(engine_kind_name(spec.kind));
  TERN_ASSIGN_OR_RETURN(const LlamaLibrary library,
                        find_llama_library(spec.kind, spec.argument, options.recipe.cache, where));
  TERN_ASSIGN_OR_RETURN(const fs::path program, build_llama_adapter(library, options.recipe, [&] {
                          if (options.on_build) {
                            options.on_build(spec.text());
                          }
                        }));
  TERN_ASSIGN_OR_RETURN(Json facts, llama_adapter_facts(program, name));
  std::vector<std::string> words = {program.string(), "--model",      "{model}",   "--prompt",  "{prompt}",
                                    "--max-tokens",   "{max_tokens}", "--threads", "{threads}", "--out",
                                    "{out}",          "--engine",     name};
  if (!options.arithmetic.empty()) {
    words.insert(words.end(), {"--arithmetic", options.arithmetic});
  }
  OpenedEngine opened;
  opened.kind = name;
  opened.spec = spec.text();
  TERN_ASSIGN_OR_RETURN(opened.engine, json_string(facts, "engine", program.string()));
  opened.note = arithmetic_note(options.arithmetic, facts["engine_facts"]);
  opened.details = {{"engine", std::move(facts["engine_facts"])},
                    {"arithmetic", options.arithmetic.empty() ? Json() : Json(options.arithmetic)},
                    {"layout", library.layout},
                    {"adapter", program.string()}};
  opened.peer = make_command_peer(CommandTemplate(std::move(words)), opened.engine, CommandKind::kOurs);
  return opened;
}

Result<OpenedEngine> open_auto(const Subject& subject, const OpenOptions& options) {
  const fs::path folder = pack_beside(subject.model);
  std::error_code error;
  std::string note;
  const EngineSpec tree{EngineKind::kBitnetCpp, options.bitnet_cpp_dir.string()};
  if (options.bitnet_cpp_dir_is_set) {
    auto opened = open_live(tree, options);
    if (opened) {
      return opened;
    }
    note = fmt::format("BITNET_CPP_DIR cannot be used: {}; ", opened.error().line());
  }
  if (fs::exists(folder / "pack.json", error)) {
    // A damaged pack is an error even here: quietly going on without a reference would look like a pass.
    TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::open(folder));
    const std::string difference = mismatch(pack, subject);
    if (difference.empty() || options.allow_model_mismatch) {
      note += difference.empty() ? "the pack beside the model is used" : overridden_note(difference);
      return opened_pack(std::move(pack), "pack:" + folder.string(),
                         options.bitnet_cpp_dir_is_set || !difference.empty() ? note : std::string());
    }
    note += fmt::format("the pack {} {}", folder.string(), difference);
  } else {
    note += fmt::format("no pack beside the model ({})", folder.string());
  }
  if (!options.bitnet_cpp_dir_is_set && fs::is_directory(options.bitnet_cpp_dir, error)) {
    auto opened = open_live(tree, options);
    if (opened) {
      return opened;
    }
    note += fmt::format("; {}", opened.error().line());
  }
  return none(std::move(note));
}

}  // namespace

fs::path pack_beside(const fs::path& model) { return model.parent_path() / "reference"; }

Result<OpenedEngine> open_engine(const EngineSpec& spec, const Subject& subject, const OpenOptions& options) {
  switch (spec.kind) {
    case EngineKind::kAuto:
      return open_auto(subject, options);
    case EngineKind::kNone:
      return none("none was asked for");
    case EngineKind::kPack:
      return open_pack(spec.argument, subject, options);
    case EngineKind::kCommand: {
      TERN_ASSIGN_OR_RETURN(CommandTemplate command, CommandTemplate::parse(spec.argument, options.option));
      OpenedEngine opened;
      opened.kind = "command";
      opened.spec = spec.text();
      opened.peer = make_command_peer(std::move(command), opened.spec);
      return opened;
    }
    case EngineKind::kBitnetCpp:
    case EngineKind::kLlamaCpp:
      return open_live(spec, options);
  }
  return none("");
}

}  // namespace tern::peer
