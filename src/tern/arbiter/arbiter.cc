#include "tern/arbiter/arbiter.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/arbiter/cause.h"
#include "tern/arbiter/first_tensor.h"
#include "tern/arbiter/oracle_runs.h"
#include "tern/trace/record.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {
namespace fs = std::filesystem;

using trace::EngineRun;

Result<peer::PeerRun> evaluate(const peer::Peer& engine, const Question& question, const std::string& name,
                               const fs::path& inputs_from) {
  peer::RunRequest request(question);
  request.token_ids = question.prompt_tokens;
  request.teacher_tokens = question.fed_tokens;
  request.max_tokens = static_cast<int>(question.fed_tokens.size()) + 1;
  request.dump_tensors = true;
  request.ubatch = question.ubatch;
  request.around = question.around;
  request.inputs_from = inputs_from.empty() ? question.inputs_from : inputs_from;
  request.inputs_before = inputs_from.empty() ? question.inputs_before : "";
  request.run_folder = question.folder / (name + "-run");
  request.output_file = question.folder / (name + "-output.txt");
  auto run = engine.run(request);
  std::error_code ignored;
  fs::remove(request.output_file, ignored);
  if (run && !run->run) {
    fs::remove_all(request.run_folder, ignored);
    return fail(ErrorCode::kEngine, "the " + name, run->failure);
  }
  return run;
}

Result<peer::PeerRun> evaluate_and_remove(const peer::Peer& engine, const Question& question, const std::string& name,
                                          const fs::path& inputs_from) {
  auto run = evaluate(engine, question, name, inputs_from);
  std::error_code ignored;
  fs::remove_all(question.folder / (name + "-run"), ignored);
  return run;
}

std::vector<int32_t> fed_tokens(const trace::RunResult& result) {
  std::vector<int32_t> fed = result.generated_tokens;
  std::copy_n(result.teacher_tokens.begin(), std::min(fed.size(), result.teacher_tokens.size()), fed.begin());
  if (!fed.empty()) {
    fed.pop_back();
  }
  return fed;
}

namespace {

// 0 where the prompt went in one piece, or nothing is recorded.
int ubatch_of(const EngineRun& run) {
  const auto n_tokens = [](const trace::TraceRecord& record) { return static_cast<int>(record.shape[0]); };
  const auto is_piece = [](const trace::TraceRecord& record, int ubatch) {
    return record.id.seq == 0 && record.id.ubatch == ubatch && record.shape.size() == 2 &&
           record.id.stage.row().place != trace::StagePlace::kBehindLayers;
  };
  const auto first = std::find_if(run.trace.begin(), run.trace.end(), [&](const auto& r) { return is_piece(r, 0); });
  const bool more = std::any_of(run.trace.begin(), run.trace.end(), [&](const auto& r) { return is_piece(r, 1); });
  return more && first != run.trace.end() ? n_tokens(*first) : 0;
}

// A measured cause of less confidence is given where no known fault explains more.
constexpr double kWeak = 0.36;

// By hash, all that both have recorded, and values of it on both sides.
bool have_equal_tensors(const EngineRun& a, const EngineRun& b) {
  return a.values && b.values && !a.trace.empty() && a.values->entries().size() == b.values->entries().size() &&
         a.trace.size() == b.trace.size() && std::all_of(a.trace.begin(), a.trace.end(), [&b](const auto& ours) {
           const trace::TraceRecord* const theirs = b.find(ours.id);
           return theirs != nullptr && theirs->blake3 == ours.blake3;
         });
}

}  // namespace

Question::Question(const peer::RunSetting& setting, fs::path folder_of_runs, const EngineRun& run)
    : RunSetting(setting),
      prompt_tokens(run.result.prompt_tokens),
      fed_tokens(arbiter::fed_tokens(run.result)),
      folder(std::move(folder_of_runs)),
      ubatch(ubatch_of(run)) {}

void Question::look_around(const trace::TensorId& id, fs::path giver) {
  around = inputs_before = id.name();
  inputs_from = std::move(giver);
}

Result<Arbiter> Arbiter::ask(const OracleEngines& engines, Question question) {
  TERN_ASSIGN_OR_RETURN(peer::PeerRun oracle, evaluate(*engines.plain, question, "oracle"));
  const bool is_close_look = !question.around.empty();  // what goes in is exact, and little is inherited
  std::vector<const peer::Peer*> rounding = {engines.rounded.get()};
  if (is_close_look) {
    rounding.clear();
    for (const auto& engine : engines.float32) {
      rounding.push_back(engine.get());
    }
  }
  const bool by_rms = question.by_rms && !is_close_look;
  const auto known_before = trace::TensorId::parse(question.inputs_before);
  std::optional<compare::RoundingNoise> noise;
  for (const peer::Peer* engine : rounding) {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun rounded, evaluate_and_remove(*engine, question, "rounded-oracle"));
    if (noise) {
      noise->include(*oracle.run, *rounded.run);
    } else {
      noise.emplace(*oracle.run, *rounded.run);
    }
    if (by_rms) {
      noise->include_rms(*oracle.run, *rounded.run, known_before);
    }
  }
  for (size_t i = 0; by_rms && i < engines.also_rounded.size(); ++i) {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun rounded,
                          evaluate_and_remove(*engines.also_rounded[i], question, fmt::format("rounded-oracle-{}", i)));
    noise->include_rms(*oracle.run, *rounded.run, known_before);
  }
  return Arbiter(engines, std::move(question), std::move(oracle), std::move(*noise));
}

Result<Arbiter::Examined> Arbiter::examine(const EngineRun& run, const std::string& name,
                                           const fs::path& folder) const {
  Examined examined{&run, question_, std::nullopt, std::nullopt};
  examined.question.ubatch = ubatch_of(run);
  if (!folder.empty()) {
    examined.question.folder = folder;
  }
  if (!run.values || run.values->entries().empty()) {
    return examined;
  }
  TERN_ASSIGN_OR_RETURN(examined.exact, evaluate_and_remove(*engines_->plain, examined.question,
                                                            "oracle-on-inputs-of-" + name, run.folder));
  std::vector<peer::PeerRun> rounded;
  for (const auto& engine : engines_->float32) {
    TERN_ASSIGN_OR_RETURN(
        peer::PeerRun float32,
        evaluate_and_remove(*engine, examined.question, fmt::format("float32-{}-on-inputs-of-{}", rounded.size(), name),
                            run.folder));
    rounded.push_back(std::move(float32));
  }
  std::vector<const EngineRun*> runs;
  for (const peer::PeerRun& float32 : rounded) {
    runs.push_back(&*float32.run);
  }
  examined.isolation.emplace(run, *examined.exact->run, runs);
  return examined;
}

Result<std::optional<compare::Isolation>> Arbiter::isolate(const EngineRun& run, const std::string& name) const {
  TERN_ASSIGN_OR_RETURN(Examined examined, examine(run, name));
  return std::move(examined.isolation);
}

Result<Opinion> Arbiter::judge(const EngineRun& subject, const EngineRun* reference, std::string_view subject_name,
                               const fs::path& folder) const {
  TERN_ASSIGN_OR_RETURN(const Examined ours, examine(subject, "subject", folder));
  std::optional<Examined> theirs;
  if (reference != nullptr && have_equal_tensors(subject, *reference)) {
    theirs =
        Examined{reference, ours.question, std::nullopt, ours.isolation};  // what is wrong with it is the subject's
  } else if (reference != nullptr) {
    TERN_ASSIGN_OR_RETURN(theirs, examine(*reference, "reference", folder));
  }
  const auto reference_side = theirs ? theirs->to_arbitrate() : compare::RunToArbitrate();
  Opinion opinion{
      compare::arbitrate({ours.to_arbitrate(), reference_side}, oracle(), noise_, subject_name, question_.equal_hashes),
      std::nullopt,
      {ours.isolation, theirs ? theirs->isolation : std::nullopt}};
  const compare::Arbitration& arbitration = opinion.arbitration;
  if (!arbitration.someone_is_wrong()) {
    if (reference != nullptr && engines_->estimate_prompts) {
      opinion.cause = engines_->estimate_prompts(question_.model, subject.result, reference->result);
    }
    if (reference != nullptr && !opinion.cause) {
      opinion.cause = arbitration.side_is_unknown ? cause_of_parting(arbitration)
                                                  : cause_of_rounding(subject, *reference, arbitration);
    }
    return opinion;
  }
  const auto of_subject = arbitration.first_wrong.subject.first();
  const auto of_reference = arbitration.first_wrong.reference.first();
  const bool is_of_subject =
      of_subject && !(of_reference && trace::executed_before(subject.trace, *of_reference, *of_subject));
  const compare::Side side = is_of_subject ? compare::Side::kSubject : compare::Side::kReference;
  if (is_of_subject) {
    TERN_ASSIGN_OR_RETURN(opinion.cause, explain(ours, arbitration));
  } else {
    TERN_ASSIGN_OR_RETURN(opinion.cause,
                          explain(*theirs, compare::arbitrate({reference_side, ours.to_arbitrate()}, oracle(), noise_,
                                                              "reference", question_.equal_hashes)));
  }
  opinion.cause->side = side;
  const compare::FirstWrong& first_wrong = arbitration.first_wrong.at(side);
  const auto place = trace::TensorId::parse(opinion.cause->name);
  const bool is_before =
      place && trace::executed_before((is_of_subject ? subject : *reference).trace, *place, *first_wrong.first());
  if (is_before && opinion.cause->confidence > kWeak && !first_wrong.has_equal_inputs) {
    opinion.arbitration.move_forward(side, *place, fmt::format("{} is the cause, and its place", opinion.cause->id));
    opinion.arbitration.write_reason(reference != nullptr, subject_name);
  }
  return opinion;
}

Result<outcome::Cause> Arbiter::explain(const Examined& wrong, const compare::Arbitration& arbitration) const {
  const compare::RunToArbitrate side = wrong.to_arbitrate();
  const EngineRun& exact = wrong.exact ? *wrong.exact->run : oracle();
  std::optional<outcome::Cause> measured;
  Json tried, listed_tried;
  if (engines_->estimate) {
    TERN_ASSIGN_OR_RETURN(measured, engines_->estimate({wrong.question, side, exact, noise_, arbitration}, tried));
    if (measured && measured->unexplained.empty() && measured->confidence > kWeak) {
      return *measured;
    }
  }
  TERN_ASSIGN_OR_RETURN(outcome::Cause listed, explain_by_faults(wrong, arbitration, measured, listed_tried));
  for (const Json& fault : listed_tried) {
    tried.push_back(fault);
  }
  listed.tried = std::move(tried);
  return listed;
}

Result<outcome::Cause> Arbiter::explain_by_faults(const Examined& wrong, const compare::Arbitration& arbitration,
                                                  const std::optional<outcome::Cause>& measured, Json& tried) const {
  const compare::FirstWrong& first_wrong = arbitration.first_wrong.subject;
  const trace::TensorId first = *first_wrong.shown();
  const std::optional<trace::TensorId> place = arbitration.find(first)->sides.subject.local || first_wrong.is_placed()
                                                   ? first_wrong.first()
                                                   : trace::TensorId::parse(question_.around);
  Explanation explanation(wrong.to_arbitrate(), wrong.exact ? *wrong.exact->run : oracle(), noise_, arbitration, place,
                          trace::TensorId::parse(question_.inputs_before));
  const fs::path inputs_from = wrong.isolation ? wrong.run->folder : fs::path();
  std::vector<std::string> possible;
  for (const OracleEngines::Fault& fault : engines_->faults) {
    if (explanation.is_possible(fault)) {
      possible.push_back(fault.name);
    }
  }
  TERN_ASSIGN_OR_RETURN(const auto first_with,
                        first_tensor_with_faults(*engines_, wrong.question, first, possible, inputs_from));
  for (const OracleEngines::Fault& fault : engines_->faults) {
    if (explanation.is_settled() || !explanation.could_be(fault)) {
      continue;
    }
    const auto* values = first_with ? first_with->find(fault.name) : nullptr;
    if (values != nullptr && !explanation.explains_first(*values)) {
      continue;
    }
    auto run = evaluate_and_remove(*fault.engine, wrong.question, "oracle-with-" + fault.name, inputs_from);
    const bool interrupted = question_.interrupt != nullptr && question_.interrupt->signal() != 0;
    if (!run && (interrupted || run.error().code == ErrorCode::kIo)) {
      return tl::unexpected(run.error());
    }
    if (run) {  // otherwise a fault that this model cannot have
      explanation.try_fault(fault, *run->run);
    }
  }
  tried = explanation.tried();
  return measured && !explanation.mends_more_than(measured->confidence) ? *measured : explanation.conclude();
}

}  // namespace tern::arbiter
