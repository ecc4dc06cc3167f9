// `tern bisect models`: which tensors and metadata of a bad model make it bad, by putting them into the good one.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>

#include "tern/app/bisect_trial.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/bisect/hybrid_model.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

using bisect::ModelChange;

struct ModelsOptions {
  app::TrialOptions trial;  // its model is the good one
  std::string bad;
  bool json = false;
};

std::string kind_name(const ModelChange& change) {
  return change.kind == ModelChange::Kind::kTensor ? "tensor" : "metadata";
}

std::vector<ModelChange> chosen(const std::vector<ModelChange>& changes, const std::vector<size_t>& indices) {
  std::vector<ModelChange> out;
  for (const size_t i : indices) {
    out.push_back(changes[i]);
  }
  return out;
}

void print(const std::vector<ModelChange>& changes, const app::Found& found, bool as_json) {
  const std::vector<ModelChange> needed = chosen(changes, found.changes);
  if (as_json) {
    Json json = to_json(found);
    json["differing"] = changes.size();
    json["changes"] = Json::array();
    for (const ModelChange& change : needed) {
      json["changes"].push_back({{"kind", kind_name(change)}, {"name", change.name}, {"what", change.what}});
    }
    fmt::print("{}", to_json_text(with_format(Document::kCommand, json)));
    return;
  }
  fmt::print("{} of the {} tensors and keys that differ {} enough to make the good model bad:\n", needed.size(),
             changes.size(), needed.size() == 1 ? "is" : "are together");
  for (const ModelChange& change : needed) {
    fmt::print("  {} {} ({})\n", kind_name(change), printable(change.name), change.what);
  }
  fmt::print("{}", app::found_text(found));
}

Result<int> search(const ModelsOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const gguf::View good, gguf::View::open(options.trial.model));
  TERN_ASSIGN_OR_RETURN(const gguf::View bad, gguf::View::open(options.bad));
  TERN_ASSIGN_OR_RETURN(const std::vector<ModelChange> changes, bisect::model_changes(good, bad));
  if (changes.empty()) {
    return fail(ErrorCode::kNoVerdict, options.bad, "holds the same metadata and tensors as " + options.trial.model);
  }
  spdlog::info("{} tensors and metadata keys differ", changes.size());
  std::vector<std::string> names;
  for (const ModelChange& change : changes) {
    names.push_back(change.name);
  }
  TERN_ASSIGN_OR_RETURN(app::Trials trials, app::Trials::open(options.trial, interrupt));
  if (!trials.has_reference()) {
    TERN_RETURN_IF_ERROR(trials.record_reference());
  }
  trials.setting().model = trials.scratch() / "hybrid.gguf";
  TERN_ASSIGN_OR_RETURN(
      const app::Found found,
      app::find_changes(names, [&](const std::vector<size_t>& indices) -> Result<app::TrialResult> {
        TERN_RETURN_IF_ERROR(bisect::write_hybrid(trials.setting().model, good, bad, chosen(changes, indices)));
        return trials.run();
      }));
  print(changes, found, options.json);
  return 0;
}

}  // namespace

void add_bisect_models(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("models", "Find the tensors or metadata keys that make one GGUF compute other than another");
  auto options = std::make_shared<ModelsOptions>();
  command->add_option("good", options->trial.model, "The GGUF that computes what it should")->required();
  command->add_option("bad", options->bad, "The one that does not")->required();
  command->add_option("--subject", options->trial.subject, "The engine that runs them, in the forms of tern sweep")
      ->capture_default_str();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Models between the two, the good one with parts of the bad one, are written to TMPDIR, one at a time.\n"
      "Where all tensors differ a little (another quantization), --tolerant finds a set that is enough to leave the\n"
      "tolerances; without it, one that changes a bit.\n"
      "Exit codes: 0 found, 3 unreadable, 5 the good model is not good or the bad one not bad.\n"
      "Example: tern bisect models good.gguf bad.gguf --prompt 'Once upon a time' --max-tokens 8");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
