// From what the user asked for to an engine that can run: finds recordings and checks that they belong to the model,
// finds libllama in source trees and builds the adapter to it, and says plainly what cannot be done.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/engine_spec.h"
#include "tern/peer/llama_adapter.h"
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
  std::filesystem::path bitnet_cpp_dir;  // $BITNET_CPP_DIR or its default, for `auto`
  bool bitnet_cpp_dir_is_set = false;    // by the user, who then means it: it comes before a pack
  std::string arithmetic;                // what the user knows a live engine to follow; empty: not claimed
  AdapterRecipe recipe = AdapterRecipe::of_this_build();
  std::function<void(const std::string& tree)> on_build;  // before an adapter is compiled
};

struct OpenedEngine {
  std::unique_ptr<Peer> peer;  // null: there is none
  std::string kind;            // "none", "pack", "command", "bitnet.cpp", "llama.cpp"
  std::string spec;            // as given or found
  std::string engine;          // what it says of itself; empty where only a run will tell
  std::string id;              // of a pack
  std::string note;            // why there is none, or that the model check was overridden
  Json details;                // "engine": facts about it, "arithmetic"; of a pack its "model", of a live one "adapter"
  bool has_values = false;     // a pack that holds tensors' values: a subject should keep its own, to be measured
  bool is_live() const { return kind == "bitnet.cpp" || kind == "llama.cpp"; }
};

// Errors: kUsage for a command that cannot be parsed; kIo, kInvalidInput for a pack that is damaged, or that belongs to
// another model or tokenizer (unless allowed); for live engines those of llama_library.h and llama_adapter.h.
// `auto` takes none of those for an error but a damaged pack: what it passed by is in the note.
Result<OpenedEngine> open_engine(const EngineSpec& spec, const Subject& subject, const OpenOptions& options);

// Where `auto` looks: a bitnet.cpp tree that the user has set; the pack in `reference/` beside the model, if it is of
// this model and tokenizer; the bitnet.cpp tree in the default place. This is the pack's place.
std::filesystem::path pack_beside(const std::filesystem::path& model);

}  // namespace tern::peer
