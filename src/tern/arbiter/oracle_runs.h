// The oracle's runs about one question. Private to arbiter/.
#pragma once

#include <filesystem>
#include <string>

#include "tern/arbiter/arbiter.h"

namespace tern::arbiter {

// Runs an oracle below question.folder: stage by stage on the values of the run folder `inputs_from`, or where that is
// empty, as the question says. Its traces are in its run folder only. Errors: kEngine with the sentence of a run that
// failed; kIo.
Result<peer::PeerRun> evaluate(const peer::Peer& engine, const Question& question, const std::string& name,
                               const std::filesystem::path& inputs_from = {});

// The same, and its folder goes at once: values are mapped, so that the run can still be read.
Result<peer::PeerRun> evaluate_and_remove(const peer::Peer& engine, const Question& question, const std::string& name,
                                          const std::filesystem::path& inputs_from = {});

}  // namespace tern::arbiter
