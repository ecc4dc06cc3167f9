// The checks of a reference on a model, before anything is compared with it. It must give the same result twice, with
// other thread counts, with and without its tensors recorded, for a batch and token by token, and within rounding of
// the oracle. The checks also find which activation rounding it has.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tern/arbiter/arbiter.h"
#include "tern/base/error.h"
#include "tern/outcome/reference_check.h"
#include "tern/peer/peer.h"

namespace tern::arbiter {

// Our own engine, which follows one arithmetic to the bit.
struct KnownArithmetic {
  std::string name;  // "bitnet.cpp-x86-64"
  std::unique_ptr<peer::Peer> engine;
};

struct CheckPlan : peer::RunSetting {
  CheckPlan() = default;
  explicit CheckPlan(const peer::RunSetting& setting) : RunSetting(setting) {}

  const peer::Peer* reference = nullptr;  // never null
  const OracleEngines* oracle = nullptr;  // null: not asked, see why_no_oracle
  std::string why_no_oracle;
  const std::vector<KnownArithmetic>* arithmetics = nullptr;  // null: not looked for
  std::vector<int32_t> arithmetic_probe;                      // prompt for that: long, to meet activations on the edge
  std::string prompt;
  std::vector<int32_t> token_ids;  // instead of the prompt, where there are any
  int max_tokens = 4;
  std::filesystem::path folder;  // exists and is empty; the caller removes it
};

// `tell` is called after each check. Errors: kEngine where the reference cannot even run, or when interrupted; kIo.
Result<outcome::ReferenceCheckResult> check_reference(const CheckPlan& plan,
                                                      const std::function<void(const outcome::ReferenceCheck&)>& tell);

}  // namespace tern::arbiter
