#include "tern/app/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>

#include "tern/app/file_faults.h"
#include "tern/app/own_engine.h"
#include "tern/app/third_opinion.h"
#include "tern/arbiter/arbiter.h"
#include "tern/base/file.h"
#include "tern/base/thread_pool.h"
#include "tern/compare/compare_runs.h"
#include "tern/oracle/faults.h"
#include "tern/synth/synthetic_model.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

using RowResult = SelftestRow::Result;

constexpr int kMaxTokens = 4;

// The work of one row, in a folder of its own.
using Job = std::function<Result<SelftestRow>(const fs::path& folder)>;

void fill(SelftestRow& row, const arbiter::Opinion& opinion) {
  row.found = opinion.cause ? opinion.cause->id : "nothing";
  row.found_at = opinion.cause ? opinion.cause->name : "";
  row.evidence = opinion.cause ? opinion.cause->evidence : opinion.arbitration.reason;
}

RowResult result_of(const SelftestRow& row, const compare::Arbitration& arbitration,
                    const std::optional<trace::TensorId>& injected) {
  if (!injected) {
    return RowResult::kNotOnThisModel;
  }
  const compare::StageArbitration* place = arbitration.find(*injected);
  const bool within_rounding = place != nullptr && place->sides.subject.error && !place->sides.subject.wrong;
  if (arbitration.wrong() == compare::Wrong::kNeither && within_rounding && row.found == "nothing") {
    return RowResult::kHidden;
  }
  if (arbitration.wrong() != compare::Wrong::kSubject || row.found != row.expected) {
    return RowResult::kWrong;
  }
  return row.found_at == row.injected ? RowResult::kRight : within_rounding ? RowResult::kLate : RowResult::kWrong;
}

// One model: our engine's run of it, an arbiter about that run, and the rows that are judged by it.
class JudgedModel {
 public:
  JudgedModel(const SelftestPlan& plan, fs::path model) : plan_(plan), setting_(plan) {
    setting_.model = std::move(model);
  }

  // `folder`: does not exist.
  Status open(const fs::path& folder) {
    TERN_RETURN_IF_ERROR(create_folder(folder));
    TERN_ASSIGN_OR_RETURN(engines_, oracle_engines());
    TERN_ASSIGN_OR_RETURN(ours_, make_tern_peer({}));
    TERN_ASSIGN_OR_RETURN(reference_, run_engine(*ours_, setting_.model, {}, folder));
    TERN_ASSIGN_OR_RETURN(arbiter::Arbiter arbiter,
                          arbiter::Arbiter::ask(engines_, arbiter::Question(setting_, folder, *reference_.run)));
    arbiter_.emplace(std::move(arbiter));
    return {};
  }
  // For models whose tokenizer is another file.
  void set_tokenizer(fs::path tokenizer) { setting_.tokenizer = std::move(tokenizer); }

  // The oracle with each fault, held against our fast engine; a wrong constant as the fault chooses it, and
  // another one.
  std::vector<Job> faults(bool (*is_wanted)(const oracle::Fault&)) const {
    std::vector<Job> jobs;
    for (const oracle::Fault& fault : oracle::known_faults()) {
      if (fault.cause.empty() || !is_wanted(fault)) {
        continue;
      }
      jobs.push_back(
          [this, &fault](const fs::path& folder) { return fault_row(fault, std::string(fault.name), folder); });
      if (!fault.values.empty()) {
        const std::string name = fmt::format("{}={}", fault.name, fault.values.back());
        jobs.push_back([this, &fault, name](const fs::path& folder) { return fault_row(fault, name, folder); });
      }
    }
    return jobs;
  }

  // Our fast engine on changed files, held against itself on the right one.
  std::vector<Job> changed_files() const {
    std::vector<Job> jobs;
    for (const FileFault& fault : file_faults()) {
      jobs.push_back([this, &fault](const fs::path& folder) { return file_row(fault, folder); });
    }
    return jobs;
  }

  // Other ids of the same prompt. Errors: kUsage.
  Result<std::vector<Job>> prompts() const {
    const std::vector<int32_t>& ids = reference_.run->result.prompt_tokens;
    if (ids.size() < 2) {
      return fail(ErrorCode::kUsage, "--prompt", "must become at least two token ids, so that one can be missing");
    }
    std::vector<int32_t> without_first(ids.begin() + 1, ids.end());
    std::vector<int32_t> another = ids;
    int32_t& changed = another[another.size() / 2];
    changed = changed == 0 ? 1 : 0;
    return std::vector<Job>{
        [this, without_first](const fs::path& folder) {
          return prompt_row("no BOS", "missing_bos", without_first, folder);
        },
        [this, another](const fs::path& folder) { return prompt_row("other ids", "tokenizer", another, folder); }};
  }

  // Engines that are right must not be blamed.
  std::vector<Job> right_engines() const {
    struct Engine {
      const char* name;
      const char* does;
      std::vector<std::string> words;
    };
    std::vector<Job> jobs;
    for (const Engine& engine :
         {Engine{"none, our engine", "our engine once more", {}},
          Engine{"none, token by token", "our engine, the prompt token by token", {"--token-by-token"}},
          Engine{"none, other rounding",
                 "our engine with activations rounded in one step",
                 {"--activation-rounding", "fused"}},
          Engine{"none, the oracle", "the oracle without a fault", oracle_engine_words()}}) {
      jobs.push_back([this, engine](const fs::path& folder) {
        return right_row({.fault = engine.name, .does = engine.does, .expected = "nothing"}, engine.words, folder);
      });
    }
    return jobs;
  }

  // Two runs that agree and prove nothing.
  std::vector<Job> vacuous_runs() const {
    std::vector<Job> jobs;
    for (const char* name : {"all_zero", "nan"}) {
      jobs.push_back([this, name](const fs::path& folder) { return vacuous_row(name, folder); });
    }
    return jobs;
  }

 private:
  // Fed the reference's tokens, so that every pass can be compared. `token_ids`: instead of the prompt.
  Result<peer::PeerRun> run_engine(const peer::Peer& engine, const fs::path& model,
                                   const std::vector<int32_t>& token_ids, const fs::path& folder) const {
    peer::RunRequest request(setting_);
    request.model = model;
    request.prompt = plan_.prompt;
    request.token_ids = token_ids;
    request.max_tokens = kMaxTokens;
    if (reference_.run) {
      request.teacher_tokens = reference_.run->result.generated_tokens;
      request.teacher_tokens.pop_back();
    }
    request.dump_tensors = true;
    request.run_folder = folder / "run";
    request.output_file = folder / "output.txt";
    TERN_ASSIGN_OR_RETURN(peer::PeerRun run, engine.run(request));
    if (!run.run) {
      return fail(ErrorCode::kEngine, folder.filename().string(), run.failure);
    }
    return run;
  }

  Result<peer::PeerRun> run_tern(const std::vector<std::string>& words, const fs::path& folder) const {
    TERN_ASSIGN_OR_RETURN(const auto engine, make_tern_peer(words));
    return run_engine(*engine, setting_.model, {}, folder);
  }

  // One engine that has a fault; `right`: an engine that differs from it by the fault alone.
  Result<SelftestRow> judge(SelftestRow row, const trace::EngineRun& subject, const trace::EngineRun& right,
                            const fs::path& folder) const {
    const compare::RunComparison difference = compare::compare_runs(subject, right);
    row.injected = difference.first_hash_difference ? difference.first_hash_difference->name() : "";
    TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion, arbiter_->judge(subject, nullptr, "subject", folder));
    fill(row, opinion);
    row.result = result_of(row, opinion.arbitration, difference.first_hash_difference);
    return row;
  }

  Result<SelftestRow> fault_row(const oracle::Fault& fault, const std::string& name, const fs::path& folder) const {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_tern(oracle_engine_words({"--fault", name}), folder));
    return judge({.fault = name, .does = std::string(fault.does), .expected = std::string(fault.cause)}, *run.run,
                 arbiter_->oracle(), folder);
  }

  Result<SelftestRow> file_row(const FileFault& fault, const fs::path& folder) const {
    SelftestRow row{.fault = fault.name, .does = fault.does, .expected = fault.cause};
    TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(setting_.model));
    std::string bytes(reinterpret_cast<const char*>(view.bytes().data()), view.bytes().size());
    if (view.format_of_type(quant::kI2sBitnetCpp.type_id) != &quant::kI2sBitnetCpp || !fault.apply(view, bytes)) {
      row.result = RowResult::kNotOnThisModel;
      return row;
    }
    const fs::path model = folder / "changed.gguf";
    TERN_RETURN_IF_ERROR(write_file(model, bytes));
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*ours_, model, {}, folder));
    return judge(std::move(row), *run.run, *reference_.run, folder);
  }

  Result<SelftestRow> prompt_row(const char* name, const char* cause, const std::vector<int32_t>& token_ids,
                                 const fs::path& folder) const {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*ours_, setting_.model, token_ids, folder));
    TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion,
                          arbiter_->judge(*run.run, &*reference_.run, "subject", folder));
    SelftestRow row{
        .fault = name, .does = "our engine on other token ids of the prompt", .injected = "tokens", .expected = cause};
    fill(row, opinion);
    row.result = row.found == row.expected && row.found_at == row.injected ? RowResult::kRight : RowResult::kWrong;
    return row;
  }

  Result<SelftestRow> right_row(SelftestRow row, const std::vector<std::string>& words, const fs::path& folder) const {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_tern(words, folder));
    TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion, arbiter_->judge(*run.run, nullptr, "subject", folder));
    fill(row, opinion);
    row.result = !opinion.cause && opinion.arbitration.wrong() == compare::Wrong::kNeither ? RowResult::kRight
                                                                                           : RowResult::kWrong;
    return row;
  }

  Result<SelftestRow> vacuous_row(const std::string& name, const fs::path& folder) const {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_tern(oracle_engine_words({"--fault", name}), folder));
    const auto comparison = compare::compare_runs(*run.run, *run.run);
    SelftestRow row{.fault = name + " on both sides",
                    .does = std::string(oracle::find_fault(name)->does),
                    .expected = "mistrusted"};
    row.found = compare::verdict_name(comparison.verdict.kind);
    row.evidence = comparison.verdict.reason;
    row.result = row.found == row.expected ? RowResult::kRight : RowResult::kWrong;
    return row;
  }

  const SelftestPlan& plan_;
  peer::RunSetting setting_;
  arbiter::OracleEngines engines_;
  std::unique_ptr<peer::Peer> ours_;
  peer::PeerRun reference_;
  std::optional<arbiter::Arbiter> arbiter_;
};

// Each job in a folder of its own below `folder`, which goes when the job is done. The first error by the jobs' order.
Result<std::vector<SelftestRow>> run_jobs(const std::vector<Job>& jobs, const SelftestPlan& plan,
                                          const fs::path& folder, const std::function<void(const SelftestRow&)>& tell) {
  std::vector<Result<SelftestRow>> results(jobs.size());
  std::mutex telling;
  const auto work = [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) {
      const fs::path own = folder / std::to_string(i);
      const Status created = create_folder(own);
      results[i] = created ? jobs[i](own) : tl::unexpected(created.error());
      std::error_code ignored;
      fs::remove_all(own, ignored);
      if (results[i]) {
        const std::lock_guard lock(telling);
        tell(*results[i]);
      }
    }
  };
  ThreadPool(plan.n_at_a_time).for_each_piece(jobs.size(), 1, work);
  std::vector<SelftestRow> rows;
  for (auto& result : results) {
    TERN_ASSIGN_OR_RETURN(rows.emplace_back(), std::move(result));
  }
  return rows;
}

void append(std::vector<Job>& jobs, std::vector<Job> more) {
  jobs.insert(jobs.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// A head of its own is what the bundled model has not. So the fault that takes the embeddings for it is put to a small
// random model of the llama architecture, which has one.
Result<SelftestRow> head_tying_on_another_model(const SelftestPlan& plan,
                                                const std::function<void(const SelftestRow&)>& tell) {
  synth::SyntheticOptions synthetic{.shape = *synth::synthetic_shape("tiny"), .architecture = "llama"};
  const fs::path path = plan.folder / "synthetic.gguf";
  TERN_RETURN_IF_ERROR(synth::write_synthetic_model(path, synthetic));
  JudgedModel model(plan, path);
  model.set_tokenizer(path);
  TERN_RETURN_IF_ERROR(model.open(plan.folder / "synthetic-model"));
  const auto is_tying = [](const oracle::Fault& fault) { return fault.cause == "head_tying"; };
  TERN_ASSIGN_OR_RETURN(std::vector<SelftestRow> rows,
                        run_jobs(model.faults(is_tying), plan, plan.folder / "synthetic-rows", tell));
  rows.front().fault += ", on a synthetic model";
  return std::move(rows.front());
}

}  // namespace

std::string_view result_name(SelftestRow::Result result) {
  switch (result) {
    case RowResult::kRight:
      return "right";
    case RowResult::kLate:
      return "named, seen late";
    case RowResult::kHidden:
      return "hidden by rounding";
    case RowResult::kWrong:
      return "WRONG";
    case RowResult::kNotOnThisModel:
      return "not on this model";
  }
  return "?";
}

Result<std::vector<SelftestRow>> selftest(const SelftestPlan& plan,
                                          const std::function<void(const SelftestRow&)>& tell) {
  JudgedModel model(plan, plan.model);
  TERN_RETURN_IF_ERROR(model.open(plan.folder / "model"));
  std::vector<Job> jobs = model.faults([](const oracle::Fault&) { return true; });
  append(jobs, model.changed_files());
  TERN_ASSIGN_OR_RETURN(std::vector<Job> prompts, model.prompts());
  append(jobs, std::move(prompts));
  append(jobs, model.right_engines());
  append(jobs, model.vacuous_runs());
  TERN_ASSIGN_OR_RETURN(std::vector<SelftestRow> rows, run_jobs(jobs, plan, plan.folder / "rows", tell));

  const auto is_tying = [](const SelftestRow& row) { return row.fault == "head_tying"; };
  const auto row = std::find_if(rows.begin(), rows.end(), is_tying);
  if (row != rows.end() && row->result == RowResult::kNotOnThisModel) {
    TERN_ASSIGN_OR_RETURN(*row, head_tying_on_another_model(plan, tell));
  }
  return rows;
}

size_t n_rows_with(const std::vector<SelftestRow>& rows, SelftestRow::Result result) {
  return static_cast<size_t>(
      std::count_if(rows.begin(), rows.end(), [&](const SelftestRow& row) { return row.result == result; }));
}

std::string selftest_text(const std::vector<SelftestRow>& rows) {
  const auto cell = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  std::string text = "| fault | first differs at | found at | named | |\n| --- | --- | --- | --- | --- |\n";
  for (const SelftestRow& row : rows) {
    text += fmt::format("| {} | {} | {} | {} | {} |\n", row.fault, cell(row.injected), cell(row.found_at), row.found,
                        result_name(row.result));
  }
  return text + fmt::format(
                    "\n{} right, {} named but seen late, {} hidden by rounding, {} wrong, "
                    "{} that this model cannot have\n",
                    n_rows_with(rows, RowResult::kRight), n_rows_with(rows, RowResult::kLate),
                    n_rows_with(rows, RowResult::kHidden), n_rows_with(rows, RowResult::kWrong),
                    n_rows_with(rows, RowResult::kNotOnThisModel));
}

Json to_json(const std::vector<SelftestRow>& rows) {
  Json list = Json::array();
  for (const SelftestRow& row : rows) {
    list.push_back({{"fault", row.fault},
                    {"does", row.does},
                    {"first_differs_at", row.injected},
                    {"expected", row.expected},
                    {"found_at", row.found_at},
                    {"found", row.found},
                    {"evidence", row.evidence},
                    {"result", result_name(row.result)}});
  }
  return {{"rows", std::move(list)}};
}

}  // namespace tern::app
