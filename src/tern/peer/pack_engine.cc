// pack:DIR, a recording.
#include <fmt/format.h>

#include "tern/peer/engine_schemes.h"

namespace tern::peer {
namespace {

Result<OpenedEngine> open_pack(const EngineRegistry&, const EngineSpec& spec, const Subject& subject,
                               const OpenOptions& options) {
  TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::open(spec.argument));
  const std::string mismatch = pack_mismatch(pack, subject);
  if (!mismatch.empty() && !options.allow_model_mismatch) {
    return invalid_input(spec.argument, "the pack " + mismatch, "--allow-model-mismatch compares nevertheless");
  }
  return opened_pack(std::move(pack), spec.argument, mismatch);
}

}  // namespace

EngineScheme pack_scheme() {
  return {.name = "pack",
          .argument = "DIR",
          .about = "a recording that `tern pack record` made",
          .traits = {.argument_is_path = true},
          .open = open_pack};
}

std::string pack_spec(const std::filesystem::path& folder) {
  return EngineSpec{pack_scheme().name, folder.string()}.text();
}

std::string pack_mismatch(const trace::Pack& pack, const Subject& subject) {
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

OpenedEngine opened_pack(trace::Pack pack, const std::string& folder, const std::string& mismatch) {
  OpenedEngine opened;
  opened.kind = "pack";
  opened.spec = pack_spec(folder);
  opened.pack_folder = folder;
  opened.engine = pack.engine_name();
  opened.id = pack.id();
  if (!mismatch.empty()) {
    opened.note =
        fmt::format("the check of the pack's model was overridden (--allow-model-mismatch); the pack {}", mismatch);
  }
  opened.has_values = pack.has_values();
  opened.details = {{"engine", pack.engine()},
                    {"arithmetic", pack.arithmetic()},
                    {"model", {{"file_name", pack.model().file_name}, {"sha256", pack.model().sha256}}}};
  opened.peer = make_pack_peer(std::move(pack), opened.spec);
  return opened;
}

}  // namespace tern::peer
