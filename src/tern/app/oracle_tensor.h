// One tensor of a run, as the oracle computes it with each of some faults: `tern oracle-tensor`, which arbiter/ starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/stage.h"

namespace tern::app {

struct OracleTensorOptions {
  std::string model;
  std::string tensor;               // "blk3/q_proj"
  std::string around;               // oracle::OneTensor::around; may be empty
  std::string inputs_from;          // a run folder; may be empty
  std::string inputs_before;        // trace::Inputs::open(); may be empty
  std::string out;                  // a safetensors file: a tensor for each fault
  std::vector<int32_t> prompt;      // token ids
  std::vector<int32_t> fed;         // token ids of the decode steps
  std::vector<std::string> faults;  // as oracle::parse_fault() takes them
  int64_t ubatch = 512;
  int threads = 1;
};

// Errors: kUsage for a tensor that the oracle does not compute and for an unknown fault; those of the model and of the
// inputs; kIo.
Status oracle_tensor(const OracleTensorOptions& options);

// A tensor that tern's own engines compute: blk3/q_proj, t1/blk0/out, logits. Errors: kUsage, naming `option`.
Result<trace::TensorId> parse_tensor(const std::string& option, const std::string& text);

}  // namespace tern::app
