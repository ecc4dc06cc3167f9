#include "tern/arbiter/judgement.h"

#include <fmt/format.h>

#include "tern/trace/record.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {
namespace {

using compare::VerdictKind;

std::string match_sentence(const compare::RunComparison& comparison) {
  if (comparison.coverage.tensors_compared == 0) {
    return fmt::format("{} of {} generated tokens are equal", comparison.tokens.n_equal, comparison.tokens.n_compared);
  }
  return fmt::format("{} of {} tensors are equal bit for bit, and so are {} of {} generated tokens",
                     comparison.n_hash_equal, comparison.coverage.tensors_compared, comparison.tokens.n_equal,
                     comparison.tokens.n_compared);
}

// The first tensor that holds NaN or infinity; empty where none does. Without a reference nothing else shows it.
std::string not_finite(const trace::EngineRun& run) {
  size_t n = 0;
  const trace::TraceRecord* first = nullptr;
  for (const trace::TraceRecord& record : run.trace) {
    if (record.is_not_finite()) {
      first = first == nullptr ? &record : first;
      ++n;
    }
  }
  return first == nullptr ? std::string()
                          : fmt::format("{} is the first of {} tensors of the subject that hold NaN or infinity",
                                        first->id.name(), n);
}

// An error beyond what rounding explains is a proven difference, whichever side has it, and both where both have it.
std::optional<VerdictKind> verdict_with_oracle(std::optional<VerdictKind> of_sides, compare::Wrong wrong) {
  return wrong == compare::Wrong::kNeither ? of_sides : VerdictKind::kDiverged;
}

// Whether the first tensor that differs beyond its tolerance is known to be wrong although the oracle has not said so:
// a side that it could not judge there by the stage's own inputs differs from the other one.
bool is_wrong_unjudged(const compare::Arbitration& arbitration, const trace::TensorId& id) {
  const compare::StageArbitration* const stage = arbitration.find(id);
  return stage == nullptr || !stage->sides.subject.local || !stage->sides.reference.local;
}

// The first tensor that is wrong. `of_sides`: the first that differs beyond its tolerance, if any does; `exact`: by
// a bit; `executed`: the subject's records.
std::optional<trace::TensorId> first_divergence_with_oracle(const std::optional<trace::TensorId>& of_sides, bool exact,
                                                            const compare::Arbitration& arbitration,
                                                            const trace::Records& executed) {
  const auto wrong = arbitration.first_wrong_tensor();
  if (!wrong || !of_sides || trace::executed_before(executed, *wrong, *of_sides)) {
    return wrong ? wrong : of_sides;
  }
  const compare::StageArbitration& stage = *arbitration.find(*wrong);
  const auto is_by_inputs = [](const compare::AgainstOracle& held) { return held.wrong && held.local; };
  const bool by_inputs = is_by_inputs(stage.sides.subject) || is_by_inputs(stage.sides.reference);
  // By inherited errors alone the oracle finds an error late: the difference came before.
  const bool of_sides_counts = !by_inputs || (!exact && is_wrong_unjudged(arbitration, *of_sides));
  return of_sides_counts ? of_sides : wrong;
}

std::string reason_with_oracle(const std::string& of_sides, std::optional<VerdictKind> verdict,
                               const compare::Arbitration& arbitration, const std::optional<outcome::Cause>& cause) {
  if (arbitration.someone_is_wrong()) {
    const std::string named = cause && cause->id != "unknown" ? fmt::format(" (cause: {})", cause->id) : "";
    return arbitration.reason + named + "; held against each other: " + of_sides;
  }
  return verdict == VerdictKind::kDiverged && arbitration.n_held.subject > 0 ? of_sides + "; " + arbitration.reason
                                                                             : of_sides;
}

bool has_values(const trace::EngineRun& run) { return run.values && !run.values->entries().empty(); }

// What a side without values computed is known as long as its hashes are those of a side that has them: there the
// oracle goes on from what that side recorded, and what is behind has inherited less rounding.
void go_on_where_they_part(const RunsToJudge& runs, compare::Exactness exactness, Question& question) {
  const trace::EngineRun& subject = *runs.subject;
  std::string ignored;
  question.equal_hashes =
      runs.reference != nullptr && compare::demand_equal_hashes(subject, *runs.reference, exactness, ignored);
  question.by_rms = !has_values(subject) || (runs.reference != nullptr && !has_values(*runs.reference));
  if (runs.reference == nullptr || has_values(subject) == has_values(*runs.reference) ||
      !question.inputs_from.empty()) {
    return;
  }
  if (const auto parted = compare::where_they_part(subject, *runs.reference)) {
    question.inputs_from = (has_values(subject) ? subject : *runs.reference).folder;
    question.inputs_before = parted->name();
  }
}

}  // namespace

Question question_about(const peer::RunSetting& setting, const std::filesystem::path& folder, const RunsToJudge& runs) {
  Question question(setting, folder, runs.reference != nullptr ? *runs.reference : *runs.subject);
  if (question.prompt_tokens.empty()) {
    question.prompt_tokens = runs.subject->result.prompt_tokens;
  }
  return question;
}

Status Judgement::arbitrate(const OracleEngines& engines, Question question, const RunsToJudge& runs,
                            compare::CompareOptions& options) {
  const Interrupt* const interrupt = question.interrupt;
  go_on_where_they_part(runs, options.exactness, question);
  const auto arbiter = Arbiter::ask(engines, std::move(question));
  if (!arbiter) {
    const bool interrupted = interrupt != nullptr && interrupt->signal() != 0;
    if (interrupted || arbiter.error().code == ErrorCode::kIo) {
      return tl::unexpected(arbiter.error());
    }
    no_arbitration = arbiter.error().line();
    return {};
  }
  compare::use_noise(arbiter->noise(), options);
  TERN_ASSIGN_OR_RETURN(Opinion opinion, arbiter->judge(*runs.subject, runs.reference));
  arbitration = std::move(opinion.arbitration);
  cause = std::move(opinion.cause);
  isolation = std::move(opinion.isolation);
  no_arbitration.clear();
  return {};
}

Status Judgement::arbitrate(const OracleEngines& engines, Question question, const RunsToJudge& runs) {
  compare::CompareOptions options;  // the two sides have been compared
  options.exactness = comparison && comparison->exact ? compare::Exactness::kExact : compare::Exactness::kTolerant;
  const std::string around = question.around;
  TERN_RETURN_IF_ERROR(arbitrate(engines, std::move(question), runs, options));
  if (comparison && arbitration && arbitration->wrong() == compare::Wrong::kNeither) {
    comparison->notes.push_back(
        fmt::format("looked at closely, {} shows neither side wrong: what differs there is inherited, rounding, "
                    "or more than an RMS shows; --oracle always judges every layer",
                    around));
  }
  conclude(runs.subject->trace);
  return {};
}

void Judgement::conclude(const trace::Records& executed) {
  const auto with_oracle = [this](std::optional<VerdictKind> verdict) {
    return arbitration ? verdict_with_oracle(verdict, arbitration->wrong()) : verdict;
  };
  const auto reason = [this](const std::string& of_sides, std::optional<VerdictKind> verdict) {
    return arbitration ? reason_with_oracle(of_sides, verdict, *arbitration, cause) : of_sides;
  };
  verdict_ = with_oracle(verdict_of_sides_);
  reason_ = reason(reason_of_sides_, verdict_);
  if (!comparison) {
    return;
  }
  comparison->verdict = {*verdict_, verdict_ == VerdictKind::kMatch ? comparison->verdict.reason : reason_};
  const bool sides_diverged = verdict_of_sides_ == VerdictKind::kDiverged;
  const auto of_sides = sides_diverged ? first_divergence_of_sides_ : std::nullopt;
  // Other ids of the prompt are where the sides part, and nothing of their tensors was compared.
  comparison->first_divergence = arbitration && comparison->tokens.prompt_equal
                                     ? first_divergence_with_oracle(of_sides, comparison->exact, *arbitration, executed)
                                     : of_sides;
  if (!distrust_.empty() && !sides_diverged) {
    verdict_ = with_oracle(VerdictKind::kMistrusted);
    reason_ = reason(distrust_ + "; held against it all the same: " + reason_of_sides_, verdict_);
  }
}

Result<Judgement> judge(const RunsToJudge& runs, Question question, const JudgeOptions& options) {
  Judgement judgement;
  compare::CompareOptions compare_options = options.compare;
  judgement.no_arbitration = options.why_no_oracle;
  if (options.oracle != nullptr && question.prompt_tokens.empty()) {
    judgement.no_arbitration = "no side states the prompt's token ids";
  } else if (options.oracle != nullptr) {
    if (options.on_oracle) {
      options.on_oracle();
    }
    TERN_RETURN_IF_ERROR(judgement.arbitrate(*options.oracle, std::move(question), runs, compare_options));
  }
  if (runs.reference != nullptr) {
    auto& comparison = judgement.comparison;
    comparison = compare::compare_runs(*runs.subject, *runs.reference, compare_options);
    if (runs.free_running != nullptr) {
      comparison->free_running = compare::compare_generation(*runs.free_running, *runs.reference, compare_options);
    }
    const compare::Verdict& verdict = comparison->verdict;
    judgement.verdict_of_sides_ = verdict.kind;
    judgement.reason_of_sides_ = verdict.reason.empty() ? match_sentence(*comparison) : verdict.reason;
    judgement.first_divergence_of_sides_ = comparison->first_divergence;
    judgement.distrust_ = options.distrust;
  } else if (std::string trouble = not_finite(*runs.subject); !trouble.empty()) {
    judgement.verdict_of_sides_ = VerdictKind::kMistrusted;
    judgement.reason_of_sides_ = std::move(trouble);
  } else {
    judgement.reason_of_sides_ = "there is no reference to hold it against";
  }
  judgement.conclude(runs.subject->trace);
  return judgement;
}

}  // namespace tern::arbiter
