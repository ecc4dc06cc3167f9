// From what the user asked for to an engine that can run: finds recordings, checks that they belong to the model, and
// says plainly what cannot be done.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/engine_spec.h"
#include "tern/peer/peer.h"

namespace tern::peer {

// What the sweep is about, for checking recordings against it.
struct Subject {
  std::filesystem::path model;
  std::string model_sha256;
  std::string tokenizer_sha256;
  bool tokenizer_is_json = true;  // a GGUF's own vocabulary has no file hash that a pack could know
};

struct OpenOptions {
  std::string option = "--reference";  // for messages
  bool allow_model_mismatch = false;
  std::filesystem::path bitnet_cpp_dir;  // $BITNET_CPP_DIR or its default: only to tell the user what `auto` saw there
};

struct OpenedEngine {
  std::unique_ptr<Peer> peer;  // null: there is none
  std::string kind;            // "none", "pack", "command"
  std::string spec;            // as given or found
  std::string engine;          // what it says of itself; empty where only a run will tell
  std::string id;              // of a pack
  std::string note;            // why there is none, or that the model check was overridden
  Json details;                // of a pack: the facts about its engine, and its model
};

// Errors: kUsage for a command that cannot be parsed; kIo, kInvalidInput for a pack that is damaged, or that belongs to
// another model or tokenizer (unless allowed); kEngine for live references, which this version cannot run.
Result<OpenedEngine> open_engine(const EngineSpec& spec, const Subject& subject, const OpenOptions& options);

// "auto": the pack in `reference/` beside the model, if there is one and it is of this model and tokenizer.
std::filesystem::path pack_beside(const std::filesystem::path& model);

}  // namespace tern::peer
