#include "tern/arbiter/reference_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/trace/record.h"
#include "tern/trace/run_folder.h"

namespace tern::arbiter {
namespace fs = std::filesystem;
namespace {

using outcome::ReferenceCheck;
using outcome::ReferenceCheckResult;
using trace::EngineRun;
using Status = ReferenceCheck::Status;

struct Answer {
  Status status;
  std::string evidence;
};
Answer passed(std::string evidence) { return {Status::kPassed, std::move(evidence)}; }
Answer failed(std::string evidence) { return {Status::kFailed, std::move(evidence)}; }
Answer skipped(std::string why) { return {Status::kSkipped, std::move(why)}; }

// Bits of logits and tokens alone: for runs that have no traces, or other ones.
Answer same_logits(const EngineRun& a, const EngineRun& b) {
  if (a.result.generated_tokens != b.result.generated_tokens) {
    return failed("the generated tokens differ");
  }
  const auto *x = a.logits(), *y = b.logits();
  if (x == nullptr || y == nullptr) {
    return a.result.generated_tokens.empty() ? failed("no token was generated")
                                             : passed(fmt::format("{} tokens are the same; "
                                                                  "there are no logits to hold against each other",
                                                                  a.result.generated_tokens.size()));
  }
  if (x->shape != y->shape) {
    return failed("the logits have other shapes");
  }
  const compare::Metrics metrics = compare::measure(x->values, y->values);
  return metrics.n_different == 0 ? passed(fmt::format("{} tokens and {} rows of logits are equal bit for bit",
                                                       a.result.generated_tokens.size(), x->shape[0]))
                                  : failed(fmt::format("{} of {} logits differ, the largest difference is {:.3g}",
                                                       metrics.n_different, metrics.n, metrics.max_abs));
}

Answer same_bits(const EngineRun& a, const EngineRun& b) {
  if (a.trace.empty() && b.trace.empty()) {
    return same_logits(a, b);
  }
  compare::CompareOptions options;
  options.exactness = compare::Exactness::kExact;
  const compare::RunComparison c = compare::compare_runs(a, b, options);
  // Whatever a verdict makes of zeros and NaN: here only bits count.
  const auto n_equal = static_cast<size_t>(
      std::count_if(c.tensors.begin(), c.tensors.end(), [](const auto& tensor) { return tensor.hash_equal; }));
  if (n_equal < c.tensors.size() || c.verdict.kind == compare::VerdictKind::kDiverged) {
    return failed(c.verdict.reason);
  }
  return passed(fmt::format("{} tensors, {} tokens and {} rows of logits are equal bit for bit", n_equal,
                            c.tokens.n_equal, c.coverage.positions_compared));
}

std::optional<std::string> vacuous(const EngineRun& run) {
  if (run.trace.empty() && run.logits() == nullptr) {
    return "it gives neither traces nor logits, so only its tokens can be looked at";
  }
  for (const trace::TraceRecord& record : run.trace) {
    if (!record.id.stage.is_known()) {
      continue;  // it may be a mask, or numbers of experts
    }
    if (record.is_not_finite()) {
      return record.id.name() + " holds NaN or infinity";
    }
    if (record.rms && *record.rms == 0 && !trace::follows_gate(record.id.stage.row())) {
      return record.id.name() + " is all zeros";
    }
  }
  return std::nullopt;
}

class Checker {
 public:
  Checker(const CheckPlan& plan, const std::function<void(const ReferenceCheck&)>& tell) : plan_(plan), tell_(tell) {}

  Result<ReferenceCheckResult> run() {
    TERN_ASSIGN_OR_RETURN(base_, evaluate("first", [this](peer::RunRequest& request) {
                            request.dump_tensors = plan_.reference->abilities().dump_tensors;
                          }));
    if (!base_.run) {
      return fail(ErrorCode::kEngine, "the reference", base_.failure);
    }
    const auto nothing = vacuous(*base_.run);
    note("not_vacuous", "Does it compute anything?",
         nothing ? failed(*nothing)
                 : passed(fmt::format("{} traced tensors, all finite, none zero that should not be",
                                      base_.run->trace.size())));
    if (!plan_.reference->abilities().runs) {
      for (const auto& [id, question] :
           {std::pair{"repeatable", kTwice}, {"threads", kThreads}, {"unobserved", kObserver}, {"batch", kBatch}}) {
        note(id, question, skipped("a recording cannot be run again"));
      }
    } else {
      TERN_RETURN_IF_ERROR(repeat());
      TERN_RETURN_IF_ERROR(token_by_token());
    }
    TERN_RETURN_IF_ERROR(ask_oracle());
    if (result_.first_failed() == nullptr) {
      TERN_RETURN_IF_ERROR(find_arithmetic());
    }
    return std::move(result_);
  }

 private:
  static constexpr const char* kTwice = "Does it give the same result twice?";
  static constexpr const char* kThreads = "Does it give the same result with another number of threads?";
  static constexpr const char* kObserver = "Does it give the same result when its tensors are not recorded?";
  static constexpr const char* kBatch = "Does a batch give what one token after the other gives?";
  static constexpr const char* kOracle = "Is it within rounding of the oracle?";
  static constexpr const char* kArithmetic = "Which arithmetic does it follow?";

  void note(std::string id, std::string question, Answer answer) {
    result_.checks.push_back({std::move(id), std::move(question), answer.status, std::move(answer.evidence)});
    tell_(result_.checks.back());
  }

  Result<peer::PeerRun> evaluate_with(const peer::Peer& engine, const std::string& name,
                                      const std::function<void(peer::RunRequest&)>& change) const {
    peer::RunRequest request(plan_);
    request.prompt = plan_.prompt;
    request.token_ids = plan_.token_ids;
    request.max_tokens = plan_.max_tokens;
    request.run_folder = plan_.folder / (name + "-run");
    request.output_file = plan_.folder / (name + "-output.txt");
    change(request);
    TERN_ASSIGN_OR_RETURN(peer::PeerRun run, engine.run(request));
    if (plan_.interrupt != nullptr && plan_.interrupt->signal() != 0) {
      return fail(ErrorCode::kEngine, "the check of the reference", "interrupted");
    }
    return run;
  }
  Result<peer::PeerRun> evaluate(const std::string& name, const std::function<void(peer::RunRequest&)>& change) const {
    return evaluate_with(*plan_.reference, name, change);
  }

  tern::Status repeat() {
    const int other_threads = plan_.reference->usual_threads(plan_) == 1 ? 2 : 1;
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun again, evaluate("second", [](auto&) {}));
    note("repeatable", kTwice,
         again.run ? same_bits(*base_.run, *again.run) : failed("the second run " + again.failure));
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun threads,
                          evaluate("threads", [&](auto& request) { request.other_threads = other_threads; }));
    note("threads", kThreads,
         threads.run ? same_bits(*base_.run, *threads.run)
                     : failed(fmt::format("with {} threads it {}", other_threads, threads.failure)));
    if (!plan_.reference->abilities().unobserved) {
      note("unobserved", kObserver, skipped("this engine cannot be told not to trace"));
      return {};
    }
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun alone,
                          evaluate("unobserved", [](auto& request) { request.observe = false; }));
    note("unobserved", kObserver,
         alone.run ? same_logits(*base_.run, *alone.run) : failed("unobserved it " + alone.failure));
    return {};
  }

  // Rows of logits of a batch against those of single tokens; the other order of sums is rounding, no fault.
  Answer compare_rows(const EngineRun& batch, const EngineRun& single, size_t first_row) const {
    const auto *x = batch.logits(), *y = single.logits();
    if (x == nullptr || y == nullptr) {
      return skipped("there are no logits");
    }
    const auto vocab = static_cast<size_t>(y->shape[1]);
    const auto n_rows = static_cast<size_t>(std::min(x->shape[0], y->shape[0]));
    if (x->shape[1] != y->shape[1] || n_rows <= first_row) {
      return failed("the logits have other shapes");
    }
    double worst = 1;
    for (size_t row = first_row; row < n_rows; ++row) {
      const auto metrics =
          compare::measure(x->values.subspan(row * vocab, vocab), y->values.subspan(row * vocab, vocab));
      const double cosine = metrics.n_non_finite > 0 ? -1 : metrics.cosine.value_or(-1);
      if (cosine < compare::Tolerances().logits_cosine.green) {
        return failed(fmt::format("the logits of row {} have a cosine of {:.6f}", row, cosine));
      }
      worst = std::min(worst, cosine);
    }
    return passed(fmt::format("{} rows of logits, smallest cosine {:.9f}", n_rows - first_row, worst));
  }

  tern::Status token_by_token() {
    const auto& own = base_.run->result;
    const peer::Abilities abilities = plan_.reference->abilities();
    if (abilities.token_by_token && abilities.teacher_tokens) {
      TERN_ASSIGN_OR_RETURN(single_, evaluate("single", [&](auto& request) {
                              request.token_by_token = true;
                              request.teacher_tokens = fed_tokens(own);
                            }));
      note("batch", kBatch,
           single_.run ? compare_rows(*base_.run, *single_.run, 0) : failed("token by token it " + single_.failure));
      return {};
    }
    if (!abilities.token_ids || own.prompt_tokens.empty() || own.generated_tokens.size() < 2) {
      note("batch", kBatch, skipped("this engine cannot be given its prompt token by token, nor as token ids"));
      return {};
    }
    // What it decoded token by token, again as one batch.
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun whole, evaluate("batch", [&](auto& request) {
                            const auto fed = fed_tokens(own);
                            request.token_ids = own.prompt_tokens;
                            request.token_ids.insert(request.token_ids.end(), fed.begin(), fed.end());
                            request.max_tokens = 1;
                          }));
    note("batch", kBatch,
         whole.run ? compare_rows(*whole.run, *base_.run, own.prompt_tokens.size())
                   : failed("with its decoded tokens as part of the prompt it " + whole.failure));
    return {};
  }

  tern::Status ask_oracle() {
    if (plan_.oracle == nullptr) {
      note("oracle", kOracle, skipped(plan_.why_no_oracle));
      return {};
    }
    Question question(plan_, plan_.folder, *base_.run);
    if (question.prompt_tokens.empty()) {
      note("oracle", kOracle, skipped("it does not state its prompt's token ids"));
      return {};
    }
    TERN_ASSIGN_OR_RETURN(const Arbiter arbiter, Arbiter::ask(*plan_.oracle, std::move(question)));
    TERN_ASSIGN_OR_RETURN(Opinion opinion, arbiter.judge(*base_.run, nullptr, "reference"));
    const compare::Arbitration& batch = opinion.arbitration;
    if (batch.n_held.subject == 0) {
      note("oracle", kOracle, skipped(batch.reason));
      return {};
    }
    if (!batch.first_wrong.subject.first()) {
      note("oracle", kOracle, passed(batch.reason));
      return {};
    }
    note("oracle", kOracle, failed(batch.reason));
    result_.cause = std::move(opinion.cause);
    if (single_.run && result_.cause->id == "unknown") {
      const compare::Arbitration single =
          compare::arbitrate({{&*single_.run}, {}}, arbiter.oracle(), arbiter.noise(), "reference");
      if (single.n_held.subject > 0 && !single.first_wrong.subject.first()) {
        result_.cause = outcome::Cause{"prefill_only", batch.first_wrong.subject.first()->name(), 1,
                                       "as a batch it is wrong, token by token it is within rounding of the oracle"};
      }
    }
    result_.cause->side = compare::Side::kReference;
    return {};
  }

  // A difference between two roundings shows in about one activation in a million, so the probe is long.
  tern::Status find_arithmetic() {
    if (plan_.arithmetics == nullptr || plan_.arithmetics->empty() || plan_.arithmetic_probe.empty() ||
        !plan_.reference->abilities().token_ids || base_.run->trace.empty()) {
      return {};
    }
    const auto probe = [&](peer::RunRequest& request) {
      request.token_ids = plan_.arithmetic_probe;
      request.max_tokens = 1;
    };
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun theirs, evaluate("arithmetic", probe));
    if (!theirs.run) {
      note("arithmetic", kArithmetic, skipped("on the probe the reference " + theirs.failure));
      return {};
    }
    compare::CompareOptions exact;
    exact.exactness = compare::Exactness::kExact;
    std::vector<std::string> all_equal;
    std::string figures;
    for (const KnownArithmetic& known : *plan_.arithmetics) {
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun ours, evaluate_with(*known.engine, known.name, probe));
      if (!ours.run) {
        note("arithmetic", kArithmetic, skipped("on the probe our engine " + ours.failure));
        return {};
      }
      const compare::RunComparison c = compare::compare_runs(*ours.run, *theirs.run, exact);
      figures += fmt::format("{}{}: {} of {} tensors equal", figures.empty() ? "" : ", ", known.name, c.n_hash_equal,
                             c.coverage.tensors_expected);
      if (c.verdict.kind == compare::VerdictKind::kMatch) {
        all_equal.push_back(known.name);
      }
    }
    if (all_equal.empty()) {
      note("arithmetic", kArithmetic, skipped("none that is known to the bit (" + figures + "): held to tolerances"));
      return {};
    }
    result_.arithmetic = all_equal.front();
    note("arithmetic", kArithmetic,
         passed(fmt::format("{}{}, on a prompt of {} tokens ({})", all_equal.front(),
                            all_equal.size() > 1 ? " (or a variant: no activation was on the edge)" : "",
                            plan_.arithmetic_probe.size(), figures)));
    return {};
  }

  const CheckPlan& plan_;
  const std::function<void(const ReferenceCheck&)>& tell_;
  peer::PeerRun base_, single_;
  ReferenceCheckResult result_;
};

}  // namespace

Result<ReferenceCheckResult> check_reference(const CheckPlan& plan,
                                             const std::function<void(const ReferenceCheck&)>& tell) {
  return Checker(plan, tell).run();
}

}  // namespace tern::arbiter
