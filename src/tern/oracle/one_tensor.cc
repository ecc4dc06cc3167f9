#include "tern/oracle/one_tensor.h"

#include <algorithm>
#include <mutex>

#include "tern/base/thread_pool.h"
#include "tern/oracle/faults.h"

namespace tern::oracle {
namespace {

// Keeps the one tensor.
class OneRecorder final : public trace::Recorder {
 public:
  explicit OneRecorder(const trace::TensorId& id) : id_(id) {}

  Status record(const trace::TensorId& id, const trace::Shape& shape, std::span<const float> values,
                std::string_view) override {
    if (id == id_) {
      shape_ = shape;
      values_.assign(values.begin(), values.end());
    }
    return {};
  }

  const trace::Shape& shape() const { return shape_; }  // {0} where there was no such tensor
  std::span<const float> values() const { return values_; }

 private:
  trace::TensorId id_;
  trace::Shape shape_ = {0};
  std::vector<float> values_;
};

// All passes up to the one that the tensor is of.
Status evaluate_up_to(Oracle& oracle, const OneTensor& tensor, trace::Recorder& recorder) {
  for (size_t begin = 0; begin < tensor.prompt.size(); begin += tensor.ubatch) {
    const auto piece = static_cast<int>(begin / tensor.ubatch);
    const auto tokens = tensor.prompt.subspan(begin, std::min(tensor.ubatch, tensor.prompt.size() - begin));
    TERN_RETURN_IF_ERROR(oracle.evaluate(tokens, 0, piece, &recorder));
    if (tensor.id.seq == 0 && tensor.id.ubatch == piece) {
      return {};
    }
  }
  for (size_t step = 0; step < tensor.fed.size() && static_cast<int>(step) < tensor.id.seq; ++step) {
    TERN_RETURN_IF_ERROR(oracle.evaluate(tensor.fed.subspan(step, 1), static_cast<int>(step) + 1, 0, &recorder));
  }
  return {};
}

// How many passes of this kind may be in memory at a time. Each holds a few matrices of doubles, the largest of which
// has the width of the head or of the scores.
int at_most(int n_threads, const Hyperparameters& hp, const OneTensor& tensor) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
  const uint64_t n_positions = tensor.prompt.size() + tensor.fed.size();
  const uint64_t n_tokens = std::min<uint64_t>(tensor.ubatch, tensor.prompt.size());
  const bool is_head = tensor.id.stage.row().place == trace::StagePlace::kBehindLayers;
  const uint64_t widest = std::max({is_head ? static_cast<uint64_t>(hp.n_vocab) : 0, static_cast<uint64_t>(hp.n_ff),
                                    static_cast<uint64_t>(hp.n_heads) * n_positions});
  const uint64_t bytes = 4 * sizeof(double) * std::max<uint64_t>(n_tokens, 1) * widest;
  return static_cast<int>(std::clamp<uint64_t>(kMaxBytes / bytes, 1, static_cast<uint64_t>(n_threads)));
}

}  // namespace

Status compute_with_faults(const gguf::View& view, const OneTensor& tensor, std::span<const std::string> faults,
                           int n_threads, const std::function<Status(const TensorWithFault&)>& take) {
  Settings settings;
  settings.inputs = tensor.inputs;
  settings.around = tensor.around;
  settings.only = tensor.id;
  TERN_ASSIGN_OR_RETURN(const Oracle plain, Oracle::load(view, settings));
  std::vector<ChosenFault> chosen;
  for (const std::string& name : faults) {
    TERN_ASSIGN_OR_RETURN(chosen.emplace_back(), parse_fault(name));
  }
  std::mutex mutex;  // of the two below
  Status status;
  std::vector<Error> errors;
  const auto compute = [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) {
      OneRecorder recorder(tensor.id);
      const auto faulty = chosen[i].fault->make(plain, {.n_threads = 1, .value = chosen[i].value});
      const Status evaluated = evaluate_up_to(*faulty, tensor, recorder);
      const std::lock_guard lock(mutex);
      if (!evaluated) {
        errors.push_back(evaluated.error());
      } else if (status) {
        status = take({faults[i], recorder.shape(), recorder.values()});
      }
    }
  };
  ThreadPool(at_most(n_threads, plain.hyperparameters(), tensor)).for_each_piece(faults.size(), 1, compute);
  return status && !errors.empty() && errors.size() == faults.size() ? tl::unexpected(errors.front()) : status;
}

}  // namespace tern::oracle
