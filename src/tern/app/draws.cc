#include "tern/app/draws.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <random>

#include "tern/app/drawn_model.h"
#include "tern/app/draws_report.h"
#include "tern/base/file.h"
#include "tern/base/stopwatch.h"
#include "tern/base/thread_pool.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

using compare::Side;
using oracle::Dice;

constexpr std::string_view kPromptKind = "prompt";
constexpr int kMaxTries = 50;

using Models = std::vector<std::unique_ptr<DrawnModel>>;

uint64_t seed_of(uint64_t seed, uint64_t what, uint64_t number) {
  std::seed_seq mixed{seed, seed >> 32, what, number};
  uint32_t words[2];
  mixed.generate(std::begin(words), std::end(words));
  return uint64_t{words[0]} << 32 | words[1];
}
enum : uint64_t { kPrompts, kOrder, kFaults, kCleans, kVariants };

// What one draw is about, before anything runs.
struct Task {
  size_t number = 0;
  std::string kind;  // empty: two engines that are right
  size_t turn = 0;   // of its kind
  bool with_values = true;
};

// Every round has each kind once, in an order of its own. Half of the draws of a kind are with values.
std::vector<Task> tasks_of(const DrawsPlan& plan) {
  std::vector<std::string> kinds = draw_kinds();
  const std::vector<std::string> names = kinds;
  std::vector<Task> tasks;
  for (size_t round = 0; tasks.size() < plan.n_draws; ++round) {
    Dice dice(seed_of(plan.seed, kOrder, round));
    for (size_t left = kinds.size(); left > 1; --left) {
      std::swap(kinds[left - 1], kinds[dice.below(left)]);
    }
    for (size_t i = 0; i < kinds.size() && tasks.size() < plan.n_draws; ++i) {
      const auto index = static_cast<size_t>(std::find(names.begin(), names.end(), kinds[i]) - names.begin());
      tasks.push_back({tasks.size(), kinds[i], round, (round + index) % 2 == 0});
    }
  }
  for (size_t i = 0; i < (plan.n_draws + 9) / 10; ++i) {
    tasks.push_back({i, "", 0, i % 2 == 0});
  }
  return tasks;
}

struct Judged {
  std::optional<DrawnRow> fault;
  std::optional<CleanRow> clean;
};

// A wrong run, and the right one of the same arithmetic that it was compared with.
struct FaultyRun {
  DrawnRow row;
  const DrawnModel* model = nullptr;
  trace::EngineRun run;
};

std::optional<double> rms_change(const trace::TraceRecord& faulty, const trace::TraceRecord& right) {
  const auto is = faulty.finite_rms(), should = right.finite_rms();
  return is && should && *should > 0 ? std::optional(std::abs(*is / *should - 1)) : std::nullopt;
}

class Drawing {
 public:
  Drawing(const DrawsPlan& plan, const Models& models) : plan_(plan), models_(models) {}

  // `folder`: exists, and is this draw's own.
  Result<Judged> work(const Task& task, const fs::path& folder) const {
    if (task.kind.empty()) {
      TERN_ASSIGN_OR_RETURN(CleanRow row, clean(task, folder));
      return Judged{std::nullopt, std::move(row)};
    }
    Dice dice(seed_of(plan_.seed, kFaults, task.number));
    TERN_ASSIGN_OR_RETURN(FaultyRun faulty,
                          task.kind == kPromptKind ? draw_prompt(dice, folder) : draw_fault(dice, task, folder));
    faulty.row.number = task.number;
    faulty.row.kind = task.kind;
    faulty.row.with_values = task.with_values;
    TERN_RETURN_IF_ERROR(judge(dice, faulty, folder));
    return Judged{std::move(faulty.row), std::nullopt};
  }

 private:
  const DrawnModel& any_model(Dice& dice) const { return *dice.pick(models_); }

  // The variants of a kind take turns, each time in another order.
  const oracle::FaultVariant& variant_of(const Task& task) const {
    std::vector<const oracle::FaultVariant*> variants;
    for (const oracle::FaultVariant* variant : oracle::fault_variants()) {
      const auto fits = [&](const auto& model) { return variant->fits(model->to_draw_from()); };
      if (variant->kind == task.kind && std::any_of(models_.begin(), models_.end(), fits)) {
        variants.push_back(variant);
      }
    }
    const auto sum_of_letters = std::accumulate(task.kind.begin(), task.kind.end(), uint64_t{0});  // kinds differ in it
    Dice dice(seed_of(plan_.seed, kVariants + sum_of_letters, task.turn / variants.size()));
    for (size_t left = variants.size(); left > 1; --left) {
      std::swap(variants[left - 1], variants[dice.below(left)]);
    }
    return *variants[task.turn % variants.size()];
  }

  // The first tensor in which a faulty run differs by a bit from a right one of the same arithmetic.
  static std::optional<trace::TensorId> first_change(const trace::EngineRun& run, const trace::EngineRun& right) {
    return compare::compare_runs(run, right).first_hash_difference;
  }

  // Whether each fault of several shows in some bit.
  Result<bool> all_change(const DrawnModel& model, const oracle::DrawnFault& fault, const oracle::Float32Rules& rules,
                          const trace::EngineRun& run, const fs::path& folder) const {
    if (fault.besides.empty()) {
      return true;
    }
    oracle::DrawnFault alone = fault;
    alone.besides.clear();
    TERN_ASSIGN_OR_RETURN(const trace::EngineRun run_alone, model.run_faulty(alone, rules, folder));
    return first_change(run, run_alone).has_value();
  }

  // Draws that change no bit of what is computed are drawn again.
  Result<FaultyRun> draw_fault(Dice& dice, const Task& task, const fs::path& folder) const {
    const oracle::FaultVariant& variant = variant_of(task);
    for (int tries = 0; tries < kMaxTries; ++tries) {
      const DrawnModel* model = &any_model(dice);
      while (!variant.fits(model->to_draw_from())) {
        model = &any_model(dice);
      }
      const oracle::Float32Rules& rules = dice.pick(oracle::kFloat32Evaluations);
      oracle::DrawnFault fault = variant.draw(dice, model->to_draw_from());
      const fs::path run_folder = folder / fmt::format("faulty-{}", tries);
      TERN_ASSIGN_OR_RETURN(trace::EngineRun run, model->run_faulty(fault, rules, run_folder));
      TERN_ASSIGN_OR_RETURN(const trace::EngineRun right, model->right_run(rules.name));
      const auto difference = first_change(run, right);
      TERN_ASSIGN_OR_RETURN(const bool all_show,
                            all_change(*model, fault, rules, run, folder / fmt::format("alone-{}", tries)));
      if (!difference || !all_show) {
        continue;
      }
      DrawnRow row;
      row.variant = variant.name;
      row.does = std::move(fault.does);
      row.expected = std::move(fault.causes);
      row.has_more = !fault.besides.empty();
      row.expected_at = difference->name();
      row.rms_change = rms_change(*run.find(*difference), *right.find(*difference));
      row.faulty = rules.name;
      return FaultyRun{std::move(row), model, std::move(run)};
    }
    return fail(ErrorCode::kEngine, task.kind, fmt::format("{} draws in a row change nothing", kMaxTries));
  }

  Result<FaultyRun> draw_prompt(Dice& dice, const fs::path& folder) const {
    const DrawnModel& model = any_model(dice);
    const oracle::Float32Rules& rules = dice.pick(oracle::kFloat32Evaluations);
    std::vector<int32_t> ids = model.prompt();
    DrawnRow row;
    row.expected_at = "tokens";
    row.faulty = rules.name;
    switch (dice.below(4)) {
      case 0:
        row.variant = "BOS twice";
        row.expected = {{"doubled_bos", {{"bos", model.bos()}, {"n_bos", 2}}}};
        ids.insert(ids.begin(), model.bos());
        break;
      case 1:
        row.variant = "no BOS";
        row.expected = {{"missing_bos", {{"bos", model.bos()}, {"n_bos", 0}}}};
        ids.erase(ids.begin());
        break;
      case 2:
        row.variant = "EOS behind it";
        row.expected = {{"tokenizer", {{"eos", model.eos()}}}};
        ids.push_back(model.eos());
        break;
      default:
        row.variant = "other ids";
        for (size_t n = 1 + dice.below(3); n > 0; --n) {  // of other pieces of the text
          int32_t& id = ids[1 + dice.below(ids.size() - 1)];
          id = id > 0 ? id - 1 : 1;
        }
        row.expected = {{"tokenizer", {{"position", first_other(ids, model.prompt())}}}};
    }
    row.does = "prompt: " + row.variant;
    TERN_ASSIGN_OR_RETURN(trace::EngineRun run, model.run_prompt(ids, rules, folder / "faulty"));
    return FaultyRun{std::move(row), &model, std::move(run)};
  }

  static int64_t first_other(const std::vector<int32_t>& ids, const std::vector<int32_t>& right) {
    return std::mismatch(ids.begin(), ids.end(), right.begin(), right.end()).first - ids.begin();
  }

  Status judge(Dice& dice, FaultyRun& faulty, const fs::path& folder) const {
    const DrawnModel& model = *faulty.model;
    DrawnRow& row = faulty.row;
    row.model = model.name();
    const std::string_view others[] = {"tern", "oracle", row.faulty};
    row.right = dice.pick(others);
    row.wrong = dice.one_in(2) ? Side::kSubject : Side::kReference;
    TERN_ASSIGN_OR_RETURN(trace::EngineRun right, model.right_run(row.right));
    const bool wrong_subject = row.wrong == Side::kSubject;
    const fs::path faulty_folder = faulty.run.folder;
    trace::EngineRun& subject = wrong_subject ? faulty.run : right;
    trace::EngineRun& reference = wrong_subject ? right : faulty.run;
    if (!row.with_values) {
      subject.values.reset();
    }
    TERN_ASSIGN_OR_RETURN(const Comparison said, model.judge(std::move(subject), std::move(reference), folder));
    if (!said.judgement.arbitration) {
      return fail(ErrorCode::kEngine, row.does, "the oracle did not arbitrate: " + said.judgement.no_arbitration);
    }
    take(row, said);
    const bool nothing_found =
        row.expected_at != "tokens" && said.judgement.arbitration->wrong() == compare::Wrong::kNeither && !row.named;
    if (nothing_found) {
      TERN_ASSIGN_OR_RETURN(const trace::EngineRun with_values, trace::read_run_folder(faulty_folder));
      TERN_ASSIGN_OR_RETURN(const bool is_wrong, model.is_wrong(with_values, folder));
      row.hidden = !is_wrong;
    }
    return {};
  }

  static bool blames(const Comparison& said, Side side) {
    const compare::Wrong wrong = said.judgement.arbitration->wrong();
    return wrong == compare::Wrong::kBoth ||
           wrong == (side == Side::kSubject ? compare::Wrong::kSubject : compare::Wrong::kReference);
  }

  static void take(DrawnRow& row, const Comparison& said) {
    const Json json = to_json(said);
    const Json& place = json["first_divergence"];
    row.found_at = place.is_string()   ? place.get<std::string>()
                   : place.is_object() ? place["name"].get<std::string>()
                                       : std::string();
    row.cause = json["cause"];
    row.blames_right_side = blames(said, compare::other(row.wrong));
    row.placed = row.found_at == row.expected_at && !row.blames_right_side;
    row.named = is_named(row);
    if (const auto id = trace::TensorId::parse(row.expected_at)) {
      const compare::StageArbitration* stage = said.judgement.arbitration->find(*id);
      if (stage != nullptr && stage->sides.at(row.wrong).local) {
        row.times_floor = stage->sides.at(row.wrong).local->multiple();
      }
    }
  }

  static bool is_named(const DrawnRow& row) {
    return std::any_of(row.expected.begin(), row.expected.end(),
                       [&](const oracle::ExpectedCause& cause) { return cause.is_named_by(row.cause); }) &&
           (!row.has_more || !row.cause["unexplained"].empty());
  }

  Result<CleanRow> clean(const Task& task, const fs::path& folder) const {
    Dice dice(seed_of(plan_.seed, kCleans, task.number));
    const DrawnModel& model = any_model(dice);
    const std::vector<std::string_view> engines = model.right_engines();
    CleanRow row;
    row.number = task.number;
    row.model = model.name();
    row.with_values = task.with_values;
    row.engines = {std::string(dice.pick(engines)), std::string(dice.pick(engines))};
    TERN_ASSIGN_OR_RETURN(trace::EngineRun subject, model.right_run(row.engines.subject));
    TERN_ASSIGN_OR_RETURN(trace::EngineRun reference, model.right_run(row.engines.reference));
    if (!row.with_values) {
      subject.values.reset();
    }
    TERN_ASSIGN_OR_RETURN(const Comparison said, model.judge(std::move(subject), std::move(reference), folder));
    if (!said.judgement.arbitration) {
      return fail(ErrorCode::kEngine, row.model, "the oracle did not arbitrate: " + said.judgement.no_arbitration);
    }
    const Json cause = to_json(said)["cause"];
    if (cause.is_object() && cause["id"] != "rounding") {
      row.blamed = cause["id"].get<std::string>();
    } else if (said.judgement.arbitration->wrong() != compare::Wrong::kNeither) {
      row.blamed = compare::wrong_name(said.judgement.arbitration->wrong());
    }
    return row;
  }

  const DrawsPlan& plan_;
  const Models& models_;
};

Result<Models> open_models(const DrawsPlan& plan) {
  const fs::path files = plan.folder / "models";
  TERN_RETURN_IF_ERROR(create_folder(files));
  TERN_ASSIGN_OR_RETURN(const std::vector<DrawnModelFile> synthetic, write_models_to_draw_from(files));
  std::vector<peer::RunSetting> settings = {plan};
  std::vector<std::string> names = {plan.model.filename().string()};
  for (const DrawnModelFile& file : synthetic) {
    settings.push_back(plan);
    settings.back().model = settings.back().tokenizer = file.path;
    names.push_back(file.name);
  }
  Models models;
  for (size_t i = 0; i < settings.size(); ++i) {
    TERN_ASSIGN_OR_RETURN(models.emplace_back(),
                          DrawnModel::open(names[i], settings[i], plan.folder / fmt::format("right-{}", i),
                                           seed_of(plan.seed, kPrompts, i)));
  }
  return models;
}

}  // namespace

std::vector<std::string> draw_kinds() {
  std::vector<std::string> kinds = {std::string(kPromptKind)};
  for (const oracle::FaultVariant* variant : oracle::fault_variants()) {
    if (std::find(kinds.begin(), kinds.end(), variant->kind) == kinds.end()) {
      kinds.emplace_back(variant->kind);
    }
  }
  return kinds;
}

Result<DrawsResult> draw_and_judge(const DrawsPlan& plan, const std::function<void(const std::string&)>& tell) {
  const Stopwatch stopwatch;
  TERN_ASSIGN_OR_RETURN(const Models models, open_models(plan));
  const std::vector<Task> tasks = tasks_of(plan);
  const Drawing drawing(plan, models);
  std::vector<Result<Judged>> results(tasks.size());
  std::mutex telling;
  size_t n_done = 0;
  const auto work = [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) {
      const bool interrupted = plan.interrupt != nullptr && plan.interrupt->signal() != 0;
      if (interrupted) {
        results[i] = fail(ErrorCode::kEngine, "tern selftest", "interrupted");
        continue;
      }
      const fs::path own = plan.folder / fmt::format("draw-{}", i);
      const Status created = create_folder(own);
      results[i] = created ? drawing.work(tasks[i], own) : tl::unexpected(created.error());
      std::error_code ignored;
      fs::remove_all(own, ignored);
      const std::lock_guard lock(telling);
      ++n_done;
      if (results[i]) {
        tell(fmt::format("{:>4}/{} {}", n_done, tasks.size(),
                         results[i]->fault ? line_of(*results[i]->fault) : line_of(*results[i]->clean)));
      }
    }
  };
  ThreadPool(plan.n_at_a_time).for_each_piece(tasks.size(), 1, work);
  DrawsResult result;
  for (auto& judged : results) {
    TERN_RETURN_IF_ERROR(judged);
    if (judged->fault) {
      result.rows.push_back(std::move(*judged->fault));
    } else {
      result.clean.push_back(std::move(*judged->clean));
    }
  }
  result.seconds = stopwatch.seconds();
  return result;
}

}  // namespace tern::app
