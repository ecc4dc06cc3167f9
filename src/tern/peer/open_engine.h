// What opening an engine takes and gives; engine_registry.h opens them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/adapter/build.h"
#include "tern/peer/peer.h"

namespace tern::peer {

// What the sweep is about, for checking recordings against it.
struct Subject {
  std::filesystem::path model;
  std::string model_sha256;
  std::string tokenizer_sha256;
  bool tokenizer_is_json = true;  // a GGUF's own vocabulary has no file hash that a pack could hold
};

struct OpenOptions {
  std::string option = "--reference";  // for messages
  bool allow_model_mismatch = false;
  std::filesystem::path bitnet_cpp_dir;  // $BITNET_CPP_DIR or its default, for `auto`
  bool bitnet_cpp_dir_is_set = false;    // by the user: it then comes before a pack
  std::string arithmetic;             // the arithmetic that the user claims for an adapter's engine; empty: not claimed
  std::string meet_arithmetic;        // what the other side follows: tern's own engine then rounds as that does
  std::vector<std::string> settings;  // "KEY=VALUE" each, as after --reference-option
  const Interrupt* interrupt = nullptr;  // where set and signalled, what is compiled or asked is ended: kEngine
  AdapterRecipe recipe = AdapterRecipe::of_this_build();
  std::function<void(const std::string& tree)> on_build;  // before an adapter is compiled
};

// What is known of an engine by its scheme alone.
struct EngineTraits {
  bool runs = false;         // computes anew each time, so it can be recorded and bisected
  bool has_adapter = false;  // is run by a program of adapters/
  bool is_own = false;       // tern's own engine, which `auto` means as a subject
  bool is_command = false;   // any program: what stands behind the colon are its words, and nothing else is known of it
  bool is_choice = false;    // stands for the engine that is found
  bool argument_is_path = false;  // relative to where tern was started
};

struct OpenedEngine {
  std::unique_ptr<Peer> peer;                // null: there is none
  std::string kind;                          // its scheme: "none", "pack", "command", "llama.cpp"
  std::string spec;                          // as given or found
  std::string engine;                        // as it states itself; empty where only a run states it
  std::string id;                            // of a pack
  std::optional<trace::Level> level;         // what it can be compared on, where it states that
  std::string note;                          // why there is none, or that the model check was overridden
  Settings settings;                         // what was set; also in `details`, for the reports
  std::vector<KnownSetting> known_settings;  // what can be set
  Json details;  // "engine": facts about it, "arithmetic", "settings"; of a pack its "model", of an adapter's "adapter"
  bool has_values = false;  // a pack that holds tensors' values: a subject should keep its own, to be measured
  std::string pack_folder;  // of a pack
  EngineTraits traits;
};

// Where `auto` looks: a bitnet.cpp tree that the user has set; the pack in `reference/` beside the model, if it is of
// this model and tokenizer; the bitnet.cpp tree in the default place. This is the pack's place.
std::filesystem::path pack_beside(const std::filesystem::path& model);

// What --reference takes for a pack: "pack:DIR".
std::string pack_spec(const std::filesystem::path& folder);

}  // namespace tern::peer
