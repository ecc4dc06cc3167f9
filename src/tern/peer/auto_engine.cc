// auto and none: the reference that is there, or that there is none.
#include <fmt/format.h>

#include "tern/peer/engine_schemes.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

OpenedEngine none(std::string note) {
  OpenedEngine opened;
  opened.kind = "none";
  opened.spec = "none";
  opened.note = std::move(note);
  return opened;
}

Result<OpenedEngine> open_auto(const EngineRegistry& registry, const EngineSpec&, const Subject& subject,
                               const OpenOptions& options) {
  const fs::path folder = pack_beside(subject.model);
  std::error_code error;
  std::string note;
  const EngineSpec tree = tree_of_auto(options);
  if (options.bitnet_cpp_dir_is_set) {
    auto opened = registry.open(tree, subject, options);
    if (opened) {
      return opened;
    }
    note = fmt::format("BITNET_CPP_DIR cannot be used: {}; ", opened.error().line());
  }
  if (fs::exists(folder / "pack.json", error)) {
    // A damaged pack is an error even here: quietly going on without a reference would look like a pass.
    TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::open(folder));
    const std::string mismatch = pack_mismatch(pack, subject);
    if (mismatch.empty() || options.allow_model_mismatch) {
      OpenedEngine opened = opened_pack(std::move(pack), folder.string(), mismatch);
      if (options.bitnet_cpp_dir_is_set && mismatch.empty()) {
        opened.note = "the pack beside the model is used";
      }
      opened.note = note + opened.note;
      return opened;
    }
    note += fmt::format("the pack {} {}", folder.string(), mismatch);
  } else {
    note += fmt::format("no pack beside the model ({})", folder.string());
  }
  if (!options.bitnet_cpp_dir_is_set && fs::is_directory(options.bitnet_cpp_dir, error)) {
    auto opened = registry.open(tree, subject, options);
    if (opened) {
      return opened;
    }
    note += fmt::format("; {}", opened.error().line());
  }
  return none(std::move(note));
}

}  // namespace

EngineSpec tree_of_auto(const OpenOptions& options) { return {"bitnet.cpp", options.bitnet_cpp_dir.string()}; }

fs::path pack_beside(const fs::path& model) { return model.parent_path() / "reference"; }

EngineScheme auto_scheme() {
  return {.name = "auto",
          .argument = "",
          .about =
              "bitnet.cpp in BITNET_CPP_DIR if that is set, else the pack in reference/ beside the model, "
              "else bitnet.cpp in ~/.cache/bitnet_cpp; as the subject, tern's own engine",
          .traits = {.is_choice = true},
          .open = open_auto};
}

EngineScheme none_scheme() {
  return {.name = "none",
          .argument = "",
          .about = "no reference",
          .open = [](const EngineRegistry&, const EngineSpec&, const Subject&, const OpenOptions&) {
            return Result<OpenedEngine>(none("none was asked for"));
          }};
}

}  // namespace tern::peer
