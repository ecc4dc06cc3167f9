// Engines: other programs, recordings, tern itself as a child process. Each run becomes a trace::EngineRun.
// Nothing above this folder depends on the difference.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/child_process.h"
#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/abilities.h"
#include "tern/peer/command_template.h"
#include "tern/peer/settings.h"
#include "tern/trace/pack.h"
#include "tern/trace/run_folder.h"

namespace tern::peer {

// What all runs of one sweep, check or recording have in common.
struct RunSetting {
  std::filesystem::path model, tokenizer;
  int threads = 4;
  double timeout_s = 180;  // for each run
  const Interrupt* interrupt = nullptr;
};

// One prompt for one engine. The folders and the file must not exist yet; their parent must.
struct RunRequest : RunSetting {
  RunRequest() = default;
  explicit RunRequest(const RunSetting& setting) : RunSetting(setting) {}

  std::string prompt;
  std::vector<int32_t> token_ids;  // instead of the prompt, where there are any
  int max_tokens = 1;
  // Fed instead of the engine's own choices, from the first decode step on; generated_tokens are still its choices.
  std::vector<int32_t> teacher_tokens;
  bool observe = true;          // false: without anything that watches its tensors, so without traces
  bool token_by_token = false;  // the prompt too: matrix-vector products where there would be matrix-matrix ones
  bool all_stages = false;      // record every node of its graph, and not only the known stages
  bool dump_tensors = false;    // keep the values of traced tensors, too, where it can
  int ubatch = 0;               // prompt tokens evaluated at once; 0: what the engine does unasked
  int other_threads = 0;        // instead of Peer::usual_threads(); 0: those
  std::string around;           // with dump_tensors: only those in this tensor's neighbourhood
  // A run folder with values: each stage is to be computed from those of the stages before it, and its own recorded.
  std::filesystem::path inputs_from;
  std::string inputs_before;           // where not empty, only from those of tensors before this one
  std::filesystem::path run_folder;    // gets result.json, trace.jsonl, logits.safetensors, tensors.safetensors
  std::filesystem::path trace_folder;  // gets one *.trace per tensor; empty: trace.jsonl in run_folder is enough
  std::filesystem::path output_file;   // gets what the engine printed
  std::function<void(double elapsed_s)> on_tick;
  std::function<bool()> enough;  // asked after each tick: true ends the engine, and the run has no result
};

struct PeerRun {
  std::vector<std::string> command;                // empty: nothing was run
  std::map<std::string, std::string> environment;  // what was set for it
  std::optional<ChildResult> process;              // absent if nothing was run or it could not be started
  std::string failure;                             // one sentence; empty if `run` is there
  bool no_recording = false;                       // the failure is only that a pack does not hold this prompt
  std::optional<std::string> last_tensor;          // the last one traced before a failure
  size_t n_traces = 0;                             // files in trace_folder
  std::optional<trace::EngineRun> run;
};

class Peer {
 public:
  virtual ~Peer() = default;
  // What a request may contain. run() gives a failure for a request beyond that.
  virtual Abilities abilities() const = 0;
  // The number of threads: the setting's, or N where --subject-option threads=N gives this engine one of its own.
  virtual int usual_threads(const RunSetting& setting) const { return setting.threads; }
  // The PeerRun has all that the engine does, failures included. Errors: kIo, where tern itself could not write.
  virtual Result<PeerRun> run(const RunRequest& request) const = 0;
};

// An engine started once per prompt, with BITNET_DETERMINISTIC=1, BITNET_SEED=42, RAYON_NUM_THREADS and
// BITNET_TRACE_DIR set. With {out} in its command it writes the engine contract; without, its token ids are taken from
// the line "Generated tokens: [1, 2, 3]" of its output (and "Prompt tokens: [...]", where it prints that too).
// A run whose result.json does not confirm what was asked for (max_tokens, token ids, teacher tokens) is a failure.
// `by_option`: what it takes as options behind its command, besides what the command has places for. `settings`:
// "threads" and "ubatch" replace the run's, others fill the command's places of their names. `level`: what it states
// that its runs can be compared on, where a run does not state that itself.
std::unique_ptr<Peer> make_command_peer(CommandTemplate command, std::string engine_name,
                                        const Abilities& by_option = {.runs = true}, Settings settings = {},
                                        std::optional<trace::Level> level = std::nullopt);

// A recording, found by its prompt or by the prompt's token ids. Nothing is run: its records are written out as if it
// had been.
std::unique_ptr<Peer> make_pack_peer(trace::Pack pack, std::string spec);

// "Generated tokens: [1, 2]" anywhere at the start of a line, the last such line; nullopt where there is none or it is
// not a list of ids.
std::optional<std::vector<int32_t>> token_ids_in_output(std::string_view output, std::string_view label);

}  // namespace tern::peer
