#include "tern/app/models_search.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "tern/gguf/view.h"

namespace tern::app {
namespace {

using bisect::ModelChange;

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

}  // namespace

Result<FoundModelChanges> find_model_changes(const ModelsOptions& options, const Interrupt& interrupt) {
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
  TERN_ASSIGN_OR_RETURN(Trials trials, Trials::open(options.trial, interrupt));
  if (!trials.has_reference()) {
    TERN_RETURN_IF_ERROR(trials.record_reference());
  }
  trials.setting().model = trials.scratch() / "hybrid.gguf";
  TERN_ASSIGN_OR_RETURN(
      Found found, find_changes(names, [&](const std::vector<size_t>& indices) -> Result<TrialResult> {
        TERN_RETURN_IF_ERROR(bisect::write_hybrid(trials.setting().model, good, bad, chosen(changes, indices)));
        return trials.run();
      }));
  std::vector<ModelChange> needed = chosen(changes, found.changes);
  return FoundModelChanges{changes.size(), std::move(needed), std::move(found)};
}

std::string model_changes_text(const FoundModelChanges& changes) {
  std::string text =
      fmt::format("{} of the {} tensors and keys that differ {} enough to make the good model bad:\n",
                  changes.needed.size(), changes.n_differing, changes.needed.size() == 1 ? "is" : "are together");
  for (const ModelChange& change : changes.needed) {
    text += fmt::format("  {} {} ({})\n", kind_name(change), printable(change.name), change.what);
  }
  return text + found_text(changes.found);
}

Json to_json(const FoundModelChanges& changes) {
  Json json = to_json(changes.found);
  json["differing"] = changes.n_differing;
  json["changes"] = Json::array();
  for (const ModelChange& change : changes.needed) {
    json["changes"].push_back({{"kind", kind_name(change)}, {"name", change.name}, {"what", change.what}});
  }
  return json;
}

}  // namespace tern::app
