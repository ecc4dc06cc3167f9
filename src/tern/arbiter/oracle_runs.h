// The oracle's runs about one question. Private to arbiter/.
#pragma once

#include <filesystem>
#include <string>

#include "tern/arbiter/arbiter.h"

namespace tern::arbiter {

// Runs an oracle below question.folder, where `inputs_from` is not empty on the values of that run folder. Its traces
// are in its run folder only. Errors: kEngine with the sentence of a run that failed; kIo.
Result<peer::PeerRun> evaluate(const peer::Peer& engine, const Question& question, const std::string& name,
                               const std::filesystem::path& inputs_from = {});

// Removes what evaluate() has left under this name. Values are mapped, so that a run in hand can still be read.
void remove_run(const Question& question, const std::string& name);

}  // namespace tern::arbiter
