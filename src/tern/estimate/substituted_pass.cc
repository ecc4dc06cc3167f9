#include "tern/estimate/substituted_pass.h"

#include <algorithm>
#include <utility>

#include "tern/estimate/numerics.h"
#include "tern/trace/neighbourhood.h"

namespace tern::estimate {
namespace {

using trace::Stage;
using trace::TensorId;

constexpr double kChange = 1e-7;  // relative: what float32 shows

class SubstitutedPass final : public oracle::Oracle {
 public:
  SubstitutedPass(Oracle&& plain, const Proposal* proposal, const std::vector<trace::StageKind>& kinds,
                  const PassPlan& plan, const oracle::Steps& steps)
      : Oracle(std::move(plain)), proposal_(proposal), kinds_(kinds), plan_(plan), steps_(steps) {}

  // One piece after the other, or one decode step.
  Status go(std::span<const int32_t> tokens, int seq, int ubatch) {
    pieces_.emplace_back(TensorId{seq, ubatch, -1, Stage::kEmbeddings}, tokens.size());
    tokens_.assign(tokens.begin(), tokens.end());
    const auto logits = evaluate(tokens, seq, ubatch, nullptr);
    return logits ? Status() : Status(tl::unexpected(logits.error()));
  }

  SubstitutedRms result() const { return {rms_, first_changed_}; }

 protected:
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    const TensorId id{pass.seq, pass.ubatch, layer, stage};
    if (proposal_ != nullptr && std::find(kinds_.begin(), kinds_.end(), stage.kind()) != kinds_.end()) {
      const StageFacts facts({pieces_, tokens_, [this](const TensorId& wanted) { return computed(wanted); }}, steps_,
                             id, matrix);
      if (auto y = proposal_->recompute(facts); y && y->values.size() == matrix.values.size()) {
        const bool is_changed = !first_changed_ && relative_error(*y, matrix) > kChange;
        first_changed_ = is_changed ? std::optional(id) : first_changed_;
        matrix.values = std::move(y->values);
      }
    }
    TERN_RETURN_IF_ERROR(Oracle::finish_stage(pass, stage, layer, matrix));
    rms_[id] = rms_of(matrix);
    if (proposal_ != nullptr) {
      computed_[id] = matrix;
    }
    return {};
  }

  bool take_over(const TensorId& id, Matrix& matrix) const override {
    const bool goes_in = settings_.around && id.stage == Stage::kOut &&
                         !trace::Neighbourhood(*settings_.around, hp_.n_layers).has_layer(id.layer);
    const bool is_given = goes_in || (plan_.known_before && id < *plan_.known_before);
    auto given = is_given && plan_.given ? plan_.given(id) : std::nullopt;
    if (!given || given->values.size() != matrix.values.size()) {
      return false;
    }
    matrix.values = std::move(given->values);
    computed_[id] = matrix;
    return true;
  }

 private:
  std::optional<Matrix> computed(const TensorId& id) const {
    const auto found = computed_.find(id);
    return found == computed_.end() ? std::nullopt : std::optional(found->second);
  }

  const Proposal* proposal_;
  const std::vector<trace::StageKind>& kinds_;
  const PassPlan& plan_;
  const oracle::Steps& steps_;
  std::vector<std::pair<TensorId, size_t>> pieces_;
  std::vector<int32_t> tokens_;
  mutable std::map<TensorId, Matrix> computed_;
  mutable RmsOf rms_;
  mutable std::optional<TensorId> first_changed_;
};

}  // namespace

Result<SubstitutedRms> rms_with(const Proposal* proposal, const std::vector<trace::StageKind>& kinds,
                                const PassPlan& plan, const oracle::Steps& steps) {
  oracle::Settings settings;
  settings.around = plan.around;
  TERN_ASSIGN_OR_RETURN(oracle::Oracle plain, oracle::Oracle::load(steps.view(), settings));
  SubstitutedPass pass(std::move(plain), proposal, kinds, plan, steps);
  const std::span<const int32_t> prompt(plan.prompt);
  for (size_t begin = 0; begin < prompt.size(); begin += plan.ubatch) {
    const auto piece = prompt.subspan(begin, std::min(plan.ubatch, prompt.size() - begin));
    TERN_RETURN_IF_ERROR(pass.go(piece, 0, static_cast<int>(begin / plan.ubatch)));
  }
  for (size_t step = 0; step < plan.fed.size(); ++step) {
    TERN_RETURN_IF_ERROR(pass.go(std::span(plan.fed).subspan(step, 1), static_cast<int>(step) + 1, 0));
  }
  return pass.result();
}

}  // namespace tern::estimate
