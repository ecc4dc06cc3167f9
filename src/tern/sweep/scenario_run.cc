#include "tern/sweep/scenario_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "tern/arbiter/judgement.h"
#include "tern/base/file.h"
#include "tern/sweep/scenario_verdict.h"
#include "tern/sweep/watch.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

using compare::Side;
using outcome::Execution;
using outcome::ParityStatus;
using outcome::Scenario;
using outcome::ScenarioOutcome;

Execution execution_of(const peer::PeerRun& run, const SweepPlan& plan, const fs::path& partial,
                       const fs::path& final_path) {
  Execution execution;
  for (const std::string& word : run.command) {
    execution.command.push_back(with_other_folder(word, partial, final_path));
  }
  for (const auto& [name, value] : run.environment) {
    execution.environment[name] = with_other_folder(value, partial, final_path);
  }
  execution.timeout_s = plan.timeout_s;
  if (run.process) {
    execution.exit_code = run.process->exit_code;
    execution.signal = run.process->signal;
    execution.timed_out = run.process->timed_out;
    execution.ended_at_difference = run.process->did_enough;
    execution.wall_s = run.process->wall_s;
    execution.peak_rss_bytes = run.process->peak_rss_bytes;
  }
  execution.failure = execution.ended_at_difference ? "" : with_other_folder(run.failure, partial, final_path);
  execution.last_tensor = run.last_tensor;
  return execution;
}

// "rs-near"
std::string file_of_subject(std::string_view what) {
  return fmt::format("{}-{}", compare::file_prefix(Side::kSubject), what);
}

// A run of which no more than `records` is left, the last of them `first`.
trace::EngineRun up_to(const trace::TensorId& first, trace::Records records, const fs::path& folder,
                       trace::RunResult result) {
  trace::EngineRun run;
  run.folder = folder;
  run.result = std::move(result);
  run.result.generated_tokens.resize(
      std::min(run.result.generated_tokens.size(), static_cast<size_t>(std::max(first.seq, 0))));
  run.result.text.clear();
  run.trace = std::move(records);
  return run;
}

class ScenarioRun {
 public:
  ScenarioRun(const SweepPlan& plan, size_t index, const fs::path& partial, const fs::path& final_path,
              Progress& progress)
      : plan_(plan), index_(index), partial_(partial), final_path_(final_path), progress_(progress) {}

  // nullopt: interrupted.
  Result<std::optional<ScenarioOutcome>> run() {
    outcome_.scenario = plan_.scenarios[index_];
    outcome_.folder = final_path_;
    // Of a recording all is known at once, so that the subject can be watched; otherwise it is the reference.
    const bool reference_first = plan_.reference != nullptr && !plan_.reference->abilities().runs;
    const auto run_all = [&]() -> Status {
      if (reference_first) {
        TERN_RETURN_IF_ERROR(run_reference());
      }
      if (!is_interrupted(plan_)) {
        TERN_RETURN_IF_ERROR(run_subject());
      }
      if (plan_.reference != nullptr && !reference_first && !is_interrupted(plan_)) {
        TERN_RETURN_IF_ERROR(run_reference());
      }
      if (subject_.run && reference_ && reference_->run && !cut_short_ && !is_interrupted(plan_)) {
        TERN_RETURN_IF_ERROR(teach_subject());
      }
      return is_interrupted(plan_) ? Status() : conclude();
    };
    const Status status = run_all();
    if (is_interrupted(plan_)) {  // whatever failed then did so because of it
      return std::optional<ScenarioOutcome>();
    }
    if (!status && status.error().code == ErrorCode::kIo) {
      outcome_.status = ParityStatus::kMachineFailed;
      outcome_.reason = with_other_folder(status.error().line(), partial_, final_path_);
    } else {
      TERN_RETURN_IF_ERROR(status);
    }
    return std::optional<ScenarioOutcome>(std::move(outcome_));
  }

 private:
  Status run_subject() {
    const trace::EngineRun* known = reference_ && reference_->run ? &*reference_->run : nullptr;
    TERN_ASSIGN_OR_RETURN(subject_, run_watched(Side::kSubject, known));
    outcome_.sides.subject.execution = execution_of(subject_, plan_, partial_, final_path_);
    outcome_.sides.subject.n_traces = subject_.n_traces;
    if (subject_.run && !outcome_.sides.subject.execution.ended_at_difference) {
      outcome_.sides.subject.result = subject_.run->result;
      if (const auto* logits = subject_.run->logits()) {
        outcome_.logits_dim = static_cast<size_t>(logits->shape[1]);
      }
    }
    return {};
  }

  Status run_reference() {
    TERN_ASSIGN_OR_RETURN(reference_, run_watched(Side::kReference, subject_.run ? &*subject_.run : nullptr));
    outcome_.sides.reference.execution = execution_of(*reference_, plan_, partial_, final_path_);
    outcome_.sides.reference.n_traces = reference_->n_traces;
    if (reference_->run && !outcome_.sides.reference.execution.ended_at_difference) {
      outcome_.sides.reference.result = reference_->run->result;
    }
    return {};
  }

  // Once the two have chosen different tokens, whatever follows has other inputs. So the subject runs again, fed
  // the reference's tokens; where they had chosen the same, its first run is that run.
  Status teach_subject() {
    const auto& own = subject_.run->result;
    const auto& theirs = reference_->run->result;
    const int last = compare::last_pass_with_equal_inputs(own, theirs);
    const auto fed = arbiter::fed_tokens(theirs);
    if (last < 0 || static_cast<size_t>(last) >= fed.size() || !plan_.subject->abilities().teacher_tokens) {
      return {};
    }
    TERN_ASSIGN_OR_RETURN(
        taught_, run_side(*plan_.subject, "subject, fed the reference's tokens", file_of_subject("forced"), fed));
    return {};
  }

  // Each tensor is compared, as it comes, with that of the run that is `known`.
  Result<peer::PeerRun> run_watched(Side side, const trace::EngineRun* known) {
    const peer::Peer& peer = side == Side::kSubject ? *plan_.subject : *plan_.reference;
    const std::string prefix(compare::file_prefix(side));
    if (known == nullptr || known->trace.empty()) {
      return run_side(peer, compare::side_name(side), prefix);
    }
    const fs::path trace_folder = partial_ / (prefix + "-traces");
    Watch watch(known->trace, trace_folder,
                [&](const auto& theirs, const auto& seen) { return differs(theirs, seen); });
    TERN_ASSIGN_OR_RETURN(peer::PeerRun run,
                          run_side(peer, compare::side_name(side), prefix, {}, [&](peer::RunRequest& request) {
                            request.on_tick = [&, show = request.on_tick](double elapsed_s) {
                              note_difference(watch, side, elapsed_s);
                              show(elapsed_s);
                            };
                            request.enough = [&] { return is_enough(watch); };
                          }));
    if (run.process && run.process->did_enough) {
      std::error_code ignored;
      fs::remove(partial_ / (prefix + "-run"), ignored);  // if it is empty: it has no result
      TERN_RETURN_IF_ERROR(keep_what_was_seen(watch, trace_folder, *known, run));
    }
    return run;
  }

  bool differs(const trace::TraceRecord& known, const trace::TraceRecord& seen) const {
    if (plan_.equal_bits) {
      return known.blake3 != seen.blake3 && !known.blake3.empty() && !seen.blake3.empty();
    }
    const auto a = known.finite_rms(), b = seen.finite_rms();
    if (seen.id.seq > 0 || !a || !b || *a == 0) {  // which tokens later passes were fed is not known yet
      return false;
    }
    return std::abs(*b / *a - 1) > plan_.compare.tolerances.rms_ratio_deviation(seen.id);
  }

  void note_difference(Watch& watch, Side side, double elapsed_s) {
    if (outcome_.seen_while_running) {
      return;
    }
    watch.look();
    if (const auto& first = watch.first_difference()) {
      outcome_.seen_while_running = {*first, side, elapsed_s};
      progress_.differs(*first, elapsed_s);
    }
  }

  // Where the embeddings differ, only the whole result can say whether the token ids do.
  bool is_enough(const Watch& watch) const {
    const auto& first = watch.first_difference();
    return plan_.stop_at_divergence && first && first->stage != trace::Stage::kEmbeddings;
  }

  // The engine was ended by a signal, and may have removed its files.
  Status keep_what_was_seen(const Watch& watch, const fs::path& trace_folder, const trace::EngineRun& known,
                            peer::PeerRun& run) {
    cut_short_ = watch.first_difference();
    up_to_cut_ = known.trace.up_to(*cut_short_);
    TERN_RETURN_IF_ERROR(create_folder(trace_folder));
    for (const trace::TraceRecord& record : watch.seen()) {
      TERN_RETURN_IF_ERROR(
          write_file(trace_folder / trace::trace_file_name(record.id), to_json_line(trace::to_json(record)) + "\n"));
    }
    run.n_traces = std::max(run.n_traces, watch.seen().size());
    trace::RunResult result = known.result;  // fed the same until there
    result.arithmetic = plan_.equal_bits ? result.arithmetic : "";
    TERN_ASSIGN_OR_RETURN(trace::Records seen,
                          trace::Records::create(watch.seen(), trace::Records::Given::kInOrder, trace_folder.string()));
    run.run = up_to(*cut_short_, std::move(seen), trace_folder, std::move(result));
    return {};
  }

  Status conclude() {
    if (cut_short_) {
      return conclude_cut_short();
    }
    if (auto failure = without_judgement(subject_, reference_, outcome_)) {
      outcome_.reference_has_no_answer = subject_.run && reference_ && reference_->no_recording;
      std::tie(outcome_.status, outcome_.reason) = std::move(*failure);
      return {};
    }
    arbiter::RunsToJudge runs{.subject = &*subject_.run};
    if (reference_) {
      runs.reference = &*reference_->run;
    }
    if (taught_ && taught_->run) {
      runs.free_running = std::exchange(runs.subject, &*taught_->run);
    }
    for (const std::string& note : runs.reference == nullptr ? runs.subject->notes : std::vector<std::string>()) {
      outcome_.notes.push_back(fmt::format("the {}: {}", compare::side_name(Side::kSubject), note));
    }
    TERN_RETURN_IF_ERROR(judge(runs, plan_.compare, plan_.oracle));
    if (judgement_.verdict() == compare::VerdictKind::kDiverged && reference_) {
      TERN_RETURN_IF_ERROR(look_closely());
    }
    if (judgement_.arbitration && reference_) {
      TERN_RETURN_IF_ERROR(exchange_inputs(*runs.subject));
    }
    take_judgement();
    if (taught_ && !taught_->run) {
      outcome_.reason +=
          fmt::format("; nothing was compared beyond that, since the subject, fed the reference's tokens, {}",
                      with_other_folder(taught_->failure, partial_, final_path_));
    }
    return {};
  }

  Status conclude_cut_short() {
    const auto shortened = [&](const trace::EngineRun& run) {
      return up_to(*cut_short_, run.trace.also_in(up_to_cut_), run.folder, run.result);
    };
    const trace::EngineRun subject = shortened(*subject_.run), reference = shortened(*reference_->run);
    compare::CompareOptions options = plan_.compare;
    options.cut_short = true;
    TERN_RETURN_IF_ERROR(judge({.subject = &subject, .reference = &reference}, options, nullptr));
    TERN_RETURN_IF_ERROR(look_closely());
    take_judgement();
    outcome_.reason +=
        fmt::format("; the {} was ended there, after {:.2f} s", compare::side_name(outcome_.seen_while_running->side),
                    outcome_.seen_while_running->after_s);
    return {};
  }

  Status judge(const arbiter::RunsToJudge& runs, const compare::CompareOptions& options,
               const arbiter::OracleEngines* oracle) {
    const arbiter::JudgeOptions judge_options{
        .compare = options,
        .oracle = oracle,
        .why_no_oracle = plan_.why_no_oracle,
        .distrust = plan_.reference_distrust,
        .on_oracle = [this] { progress_.started(index_, plan_.scenarios[index_], "oracle"); }};
    TERN_ASSIGN_OR_RETURN(judgement_,
                          arbiter::judge(runs, arbiter::question_about(plan_, partial_, runs), judge_options));
    return {};
  }

  void take_judgement() {
    outcome_.status =
        judgement_.verdict() ? outcome::status_of(*judgement_.verdict()) : outcome::ParityStatus::kRustOnly;
    outcome_.reason = judgement_.reason();
    outcome_.comparison = std::move(judgement_.comparison);
    if (outcome_.comparison) {
      outcome_.notes = outcome_.comparison->notes;
    }
    outcome_.arbitration = std::move(judgement_.arbitration);
    outcome_.no_arbitration = std::move(judgement_.no_arbitration);
    outcome_.cause = std::move(judgement_.cause);
    if (outcome_.cause && outcome_.comparison && !outcome_.comparison->tokens.prompt_equal) {
      for (const std::string& sentence : plan_.tokenizers_differ) {
        outcome_.cause->evidence += "; " + sentence;
      }
    }
  }

  // The first tensor that differs, looked at alone: the subject runs once more and keeps the values around it, and the
  // oracle computes only that layer of them. What is executed before the first difference was equal on both sides, so
  // the reference's values of it are known, too; unless only tolerances say what is equal. Where the subject is not
  // the one that is wrong, a reference without values runs again as well, if it can be asked for them.
  Status look_closely() {
    const compare::RunComparison& comparison = *judgement_.comparison;
    const auto first = comparison.exact ? comparison.first_hash_difference : comparison.first_divergence;
    const bool of_all = !cut_short_ && plan_.oracle != nullptr;  // the oracle has judged every layer
    const arbiter::OracleEngines* const engines = plan_.oracle != nullptr ? plan_.oracle : plan_.close_look;
    const bool reference_may_tell = can_give_values(*plan_.reference) && !reference_->run->values;
    if (engines == nullptr || !first || !plan_.subject->abilities().around ||
        (of_all && (!reference_may_tell || !is_open()))) {
      return {};
    }
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun near, run_near(*plan_.subject, Side::kSubject, *first));
    if (!near.run) {
      judgement_.no_arbitration = "the subject, asked for the values around the first difference, " + near.failure;
      return {};
    }
    const bool reference_is_known = comparison.exact || reference_->run->values;
    if (!of_all) {
      TERN_RETURN_IF_ERROR(
          judge_near(*engines, *first, *near.run, reference_is_known ? &*reference_->run : nullptr, judgement_));
    }
    if (!reference_may_tell || !is_open()) {
      return {};
    }
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun theirs, run_near(*plan_.reference, Side::kReference, *first));
    if (!theirs.run) {
      judgement_.comparison->notes.push_back("the reference, asked for the values around the first difference, " +
                                             theirs.failure);
      return {};
    }
    arbiter::Judgement closer = judgement_;
    TERN_RETURN_IF_ERROR(judge_near(*engines, *first, *near.run, &*theirs.run, closer));
    if (closer.arbitration && (!judgement_.arbitration || closer.arbitration->someone_is_wrong())) {
      judgement_ = std::move(closer);
    }
    return {};
  }

  static bool can_give_values(const peer::Peer& peer) { return peer.abilities().runs && peer.abilities().around; }
  // Whether values of the reference could change who is wrong.
  bool is_open() const {
    return !judgement_.arbitration || judgement_.arbitration->wrong() != compare::Wrong::kSubject;
  }

  // One side once more, with the values around `first`.
  Result<peer::PeerRun> run_near(const peer::Peer& peer, Side side, const trace::TensorId& first) {
    const bool reference_is_whole = !outcome_.sides.reference.execution.ended_at_difference;
    std::vector<int32_t> fed = arbiter::fed_tokens(reference_is_whole ? reference_->run->result : subject_.run->result);
    fed.resize(std::min(fed.size(), static_cast<size_t>(first.seq)));
    const bool chose_them = side == Side::kReference && reference_is_whole;
    return run_side(peer, fmt::format("{}, around the first difference", compare::side_name(side)),
                    fmt::format("{}-near", compare::file_prefix(side)), chose_them ? std::vector<int32_t>() : fed,
                    [&](peer::RunRequest& request) {
                      request.max_tokens = static_cast<int>(fed.size()) + 1;
                      request.dump_tensors = peer.abilities().dump_tensors;
                      request.around = first.name();
                      request.trace_folder.clear();
                    });
  }

  Status judge_near(const arbiter::OracleEngines& engines, const trace::TensorId& first,
                    const trace::EngineRun& subject, const trace::EngineRun* reference, arbiter::Judgement& judgement) {
    fs::path folder = partial_;
    if (fs::exists(folder / "oracle-run")) {  // of all layers, or without the reference's values
      folder /= "oracle-near";
      TERN_RETURN_IF_ERROR(create_folder(folder));
    }
    arbiter::Question question(plan_, folder, subject);
    question.look_around(first, subject.folder);
    progress_.started(index_, plan_.scenarios[index_], "oracle, around the first difference");
    return judgement.arbitrate(engines, std::move(question), {.subject = &subject, .reference = reference});
  }

  // Where the sides differ: the subject's operations on the inputs that the reference recorded, or, if only the
  // reference can be given inputs, the other way round.
  Status exchange_inputs(const trace::EngineRun& subject) {
    const compare::RunComparison& comparison = *judgement_.comparison;
    if (plan_.oracle == nullptr || !comparison.first_hash_difference || !comparison.tokens.prompt_equal) {
      return {};
    }
    const trace::EngineRun& reference = *reference_->run;
    if (judgement_.isolation.reference && reference.values && plan_.subject->abilities().inputs) {
      return compute_from(Side::kReference, reference, *plan_.subject);
    }
    if (judgement_.isolation.subject && subject.values && plan_.reference->abilities().inputs) {
      return compute_from(Side::kSubject, subject, *plan_.reference);
    }
    return {};
  }

  Status compute_from(Side inputs_of, const trace::EngineRun& giver, const peer::Peer& taker) {
    const Side of_taker = compare::other(inputs_of);
    const std::string side =
        fmt::format("{}, on the {}'s inputs", compare::side_name(of_taker), compare::side_name(inputs_of));
    const std::string prefix =
        fmt::format("{}-on-{}-inputs", compare::file_prefix(of_taker), compare::side_name(inputs_of));
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun taken, run_side(taker, side, prefix, arbiter::fed_tokens(giver.result),
                                                              [&](peer::RunRequest& request) {
                                                                request.dump_tensors = true;
                                                                request.inputs_from = giver.folder;
                                                                request.trace_folder.clear();
                                                              }));
    if (taken.run) {
      compare::hold_on_same_inputs(*taken.run, giver, *judgement_.isolation.at(inputs_of), inputs_of,
                                   *judgement_.arbitration);
    } else {
      judgement_.arbitration->no_same_inputs =
          fmt::format("the {}, {}", side, with_other_folder(taken.failure, partial_, final_path_));
    }
    return {};
  }

  Result<peer::PeerRun> run_side(const peer::Peer& peer, std::string_view side, const std::string& prefix,
                                 const std::vector<int32_t>& teacher_tokens = {},
                                 const std::function<void(peer::RunRequest&)>& change = {}) {
    const Scenario& scenario = plan_.scenarios[index_];
    progress_.started(index_, scenario, side);
    peer::RunRequest request(plan_);
    request.prompt = scenario.prompt;
    request.token_ids = scenario.token_ids;
    request.max_tokens = scenario.max_tokens;
    request.teacher_tokens = teacher_tokens;
    request.all_stages = plan_.all_stages && peer.abilities().all_stages;
    request.dump_tensors = plan_.dump_tensors && peer.abilities().dump_tensors;
    request.run_folder = partial_ / (prefix + "-run");
    request.trace_folder = partial_ / (prefix + "-traces");
    request.output_file = partial_ / (prefix + "-output.txt");
    request.on_tick = [&](double elapsed_s) { progress_.running(elapsed_s, request.trace_folder); };
    if (change) {
      change(request);
    }
    return peer.run(request);
  }

  const SweepPlan& plan_;
  size_t index_;
  const fs::path& partial_;
  const fs::path& final_path_;
  Progress& progress_;
  ScenarioOutcome outcome_;
  peer::PeerRun subject_;
  std::optional<peer::PeerRun> reference_, taught_;
  std::optional<trace::TensorId> cut_short_;  // where a side was ended; its run holds no more than that
  trace::Records up_to_cut_;                  // of the other side, in whose order the tensors were looked at
  arbiter::Judgement judgement_;
};

}  // namespace

bool is_interrupted(const SweepPlan& plan) { return plan.interrupt != nullptr && plan.interrupt->signal() != 0; }

Result<std::optional<ScenarioOutcome>> run_scenario(const SweepPlan& plan, size_t index, const fs::path& partial,
                                                    const fs::path& final_path, Progress& progress) {
  return ScenarioRun(plan, index, partial, final_path, progress).run();
}

}  // namespace tern::sweep
