#include "tern/app/checked_reference.h"

#include <fmt/format.h>

#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/app/reference_check.h"
#include "tern/report/writers/comparison.h"

namespace tern::app {
namespace {

std::string_view symbol(outcome::ReferenceCheck::Status status) {
  return status == outcome::ReferenceCheck::Status::kPassed   ? "ok"
         : status == outcome::ReferenceCheck::Status::kFailed ? "FAILED"
                                                              : "skipped";
}

}  // namespace

Result<std::optional<CheckedReference>> check_reference(const CheckReferenceOptions& options,
                                                        const ReferenceCheckProgress& progress,
                                                        const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(peer::RunSetting setting, run_setting(options.setting));
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, registry.parse(options.reference, "--reference"));
  setting.model = options.model;
  setting.tokenizer = tokenizer_for(options.model, options.tokenizer);
  setting.interrupt = &interrupt;
  TERN_ASSIGN_OR_RETURN(const OpenedModel model, open_model_and_tokenizer(setting.model, setting.tokenizer));
  auto opened = registry.open(spec, subject_of(options.model, model),
                              reference_options("--reference", options.settings, &interrupt));
  if (interrupt.signal() != 0) {
    return std::optional<CheckedReference>();
  }
  if (!opened) {
    return tl::unexpected(opened.error());
  }
  if (!opened->peer) {
    return fail(ErrorCode::kNoVerdict, "--reference " + printable(options.reference), "there is none: " + opened->note,
                "name one: " + registry.forms());
  }
  progress.on_opened(*opened);
  arbiter::CheckPlan plan(setting);
  plan.reference = opened->peer.get();
  plan.prompt = options.prompt;
  plan.token_ids = options.token_ids;
  plan.max_tokens = options.max_tokens;
  auto result = check_reference(plan, options.ask, model, progress.on_check);
  if (!result && interrupt.signal() != 0) {
    return std::optional<CheckedReference>();
  }
  TERN_RETURN_IF_ERROR(result);
  return CheckedReference{std::move(*opened), options.model, model.model_facts.sha256, std::move(*result)};
}

std::string opened_reference_text(const peer::OpenedEngine& opened) {
  std::string text = fmt::format("{:<12}{}{}\n", "reference", printable(opened.spec, 1000),
                                 opened.engine.empty() ? "" : " (" + printable(opened.engine) + ")");
  const auto add = [&](std::string_view label, const Json& value) {
    if (value.is_string()) {
      text += fmt::format("{:<12}{}\n", label, printable(value.get<std::string>(), 1000));
    }
  };
  if (!opened.settings.empty()) {
    add("settings", peer::settings_text(opened.settings));
  }
  const Json engine = opened.details.is_object() ? opened.details.value("engine", Json::object()) : Json();
  if (!engine.is_object()) {
    return text;
  }
  for (const Json& library : engine.value("libraries", Json::array())) {
    add("library", library["path"]);
    add("  sha256", library["sha256"]);
  }
  for (const char* key : {"version", "commit", "system_info", "cpu"}) {
    add(key, engine.value(key, Json()));
  }
  return text;
}

std::string reference_check_text(const outcome::ReferenceCheck& check) {
  return fmt::format("{:<8} {}\n         {}\n", symbol(check.status), check.question, printable(check.evidence, 2000));
}

std::string conclusion_text(const outcome::ReferenceCheckResult& result) {
  const std::string cause =
      result.cause ? fmt::format("cause: {} at {} (confidence {:.2f}): {}\n", result.cause->id, result.cause->name,
                                 result.cause->confidence, printable(result.cause->evidence, 2000))
                   : "";
  return cause + (cause.empty() ? "" : "\n") +
         (result.trusted() ? "trusted on this model, by these checks\n"
                           : "mistrusted: it fails the check '" + result.first_failed()->id + "'\n");
}

Json to_json(const CheckedReference& checked) {
  const peer::OpenedEngine& opened = checked.opened;
  Json json = report::reference_check_json(checked.result);
  json["reference"] = {
      {"kind", opened.kind}, {"spec", opened.spec}, {"engine", opened.engine}, {"details", opened.details}};
  json["model"] = {{"path", checked.model}, {"sha256", checked.model_sha256}};
  return json;
}

}  // namespace tern::app
