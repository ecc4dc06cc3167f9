#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tern/base/file.h"
#include "tern/peer/peer.h"

namespace tern::peer {
namespace {

class PackPeer final : public Peer {
 public:
  PackPeer(trace::Pack pack, std::string spec) : pack_(std::move(pack)), spec_(std::move(spec)) {}

  // It was recorded once, in one way. Its tensors' values come along anyway where it has them.
  Abilities abilities() const override { return {.token_ids = true, .dump_tensors = pack_.has_values()}; }

  Result<PeerRun> run(const RunRequest& request) const override {
    PeerRun outcome;
    if (const std::string problem = beyond(abilities(), request); !problem.empty()) {
      outcome.failure = "is a recording and " + problem;
      TERN_RETURN_IF_ERROR(write_file(request.output_file, outcome.failure + "\n"));
      return outcome;
    }
    auto found = request.token_ids.empty() ? pack_.find(request.prompt, request.max_tokens)
                                           : pack_.find(request.token_ids, request.max_tokens);
    if (!found) {
      outcome.no_recording = !holds(request);
      outcome.failure = found.error().line();
      TERN_RETURN_IF_ERROR(write_file(request.output_file, outcome.failure + "\n"));
      return outcome;
    }
    const trace::RunResult& result = found->result;
    TERN_RETURN_IF_ERROR(write_file(
        request.output_file,
        fmt::format("Recording of {} (nothing was run): {}, id {}\nPrompt tokens: [{}]\nGenerated tokens: [{}]\n{}{}",
                    pack_.engine_name(), spec_, pack_.id(), fmt::join(result.prompt_tokens, ", "),
                    fmt::join(result.generated_tokens, ", "), result.text, result.text.empty() ? "" : "\n")));
    if (!request.trace_folder.empty()) {
      TERN_RETURN_IF_ERROR(create_folder(request.trace_folder));
      for (const trace::TraceRecord& record : found->trace) {
        TERN_RETURN_IF_ERROR(write_file(request.trace_folder / trace::trace_file_name(record.id),
                                        to_json_line(trace::to_json(record)) + "\n"));
      }
      outcome.n_traces = found->trace.size();
    }
    outcome.run = std::move(*found);
    return outcome;
  }

 private:
  bool holds(const RunRequest& request) const {
    const auto& scenarios = pack_.scenarios();
    return std::any_of(scenarios.begin(), scenarios.end(), [&](const trace::PackScenario& scenario) {
      const bool same_prompt =
          request.token_ids.empty() ? scenario.prompt == request.prompt : scenario.prompt_tokens == request.token_ids;
      return same_prompt && scenario.max_tokens == request.max_tokens;
    });
  }

  trace::Pack pack_;
  std::string spec_;
};

}  // namespace

std::unique_ptr<Peer> make_pack_peer(trace::Pack pack, std::string spec) {
  return std::make_unique<PackPeer>(std::move(pack), std::move(spec));
}

}  // namespace tern::peer
