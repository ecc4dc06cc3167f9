#include "tern/app/kept_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tern::app {
namespace {

std::string key_of(const peer::RunRequest& request) {
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", fmt::join(request.token_ids, ","),
                     fmt::join(request.teacher_tokens, ","), request.prompt, request.max_tokens, request.observe,
                     request.token_by_token, request.dump_tensors, request.ubatch, request.around,
                     request.inputs_from.string(), request.inputs_before);
}

}  // namespace

Result<peer::PeerRun> KeptEngine::run(const peer::RunRequest& request) const {
  if (!request.inputs_from.empty() && request.inputs_from.parent_path() != folder_) {
    return engine_->run(request);
  }
  const std::string key = key_of(request);
  const std::lock_guard lock(mutex_);  // a second request waits for the first one's run
  const auto found = kept_.find(key);
  if (found == kept_.end()) {
    peer::RunRequest kept = request;
    kept.run_folder = folder_ / fmt::format("{}-{}", name_, kept_.size());
    auto run = engine_->run(kept);
    if (run && run->run) {
      kept_[key] = kept.run_folder;
    }
    return run;
  }
  peer::PeerRun run;
  TERN_ASSIGN_OR_RETURN(run.run, trace::read_run_folder(found->second));
  return run;
}

}  // namespace tern::app
