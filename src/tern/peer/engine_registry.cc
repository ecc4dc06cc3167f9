#include "tern/peer/engine_registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "tern/base/nearest_word.h"
#include "tern/peer/adapter/manifest.h"
#include "tern/peer/engine_schemes.h"

namespace tern::peer {
namespace {

std::vector<EngineScheme> own_schemes() { return {auto_scheme(), none_scheme(), pack_scheme(), command_scheme()}; }

}  // namespace

std::string EngineSpec::text() const { return argument.empty() ? scheme : fmt::format("{}:{}", scheme, argument); }

std::string EngineScheme::form() const { return argument.empty() ? name : fmt::format("{}:{}", name, argument); }

EngineRegistry EngineRegistry::load(const AdapterRecipe& recipe, std::vector<EngineScheme> more) {
  EngineRegistry registry;
  registry.schemes_ = own_schemes();
  std::move(more.begin(), more.end(), std::back_inserter(registry.schemes_));
  for (const std::filesystem::path& folder : recipe.folders) {
    AdapterManifests found = read_adapter_manifests(folder);
    std::move(found.problems.begin(), found.problems.end(), std::back_inserter(registry.problems_));
    for (const AdapterManifest& manifest : found.manifests) {
      for (EngineScheme& scheme : adapter_schemes(manifest)) {
        if (registry.find(scheme.name) != nullptr) {
          registry.problems_.push_back({ErrorCode::kInvalidInput, manifest.file().string(),
                                        fmt::format("the scheme '{}' is taken already", scheme.name), ""});
          continue;
        }
        registry.schemes_.push_back(std::move(scheme));
      }
    }
  }
  return registry;
}

const EngineScheme* EngineRegistry::find(std::string_view scheme) const {
  const auto found = std::find_if(schemes_.begin(), schemes_.end(),
                                  [scheme](const EngineScheme& candidate) { return candidate.name == scheme; });
  return found == schemes_.end() ? nullptr : &*found;
}

EngineSpec EngineRegistry::as_subject(const EngineSpec& spec) const {
  const EngineScheme* const scheme = find(spec.scheme);
  const auto own = std::find_if(schemes_.begin(), schemes_.end(),
                                [](const EngineScheme& candidate) { return candidate.traits.is_own; });
  return scheme != nullptr && scheme->traits.is_choice && own != schemes_.end() ? EngineSpec{own->name, ""} : spec;
}

std::string EngineRegistry::forms(const std::function<bool(const EngineScheme&)>& wanted) const {
  std::vector<std::string> forms;
  for (const EngineScheme& scheme : schemes_) {
    if (!wanted || wanted(scheme)) {
      forms.push_back(scheme.form());
    }
  }
  return fmt::format("{}", fmt::join(forms, ", "));
}

Result<EngineSpec> EngineRegistry::parse(std::string_view text, const std::string& option) const {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const EngineScheme* const scheme = find(name);
  if (scheme == nullptr) {
    std::vector<std::string> names;
    for (const EngineScheme& known : schemes_) {
      names.push_back(known.name);
    }
    const auto near = nearest_word(name, names);
    std::string hint =
        fmt::format("{}one of: {}", near ? fmt::format("did you mean {}? ", find(*near)->form()) : "", forms());
    for (const Error& problem : problems_) {
      hint += "; an adapter that cannot be used: " + problem.line();
    }
    return fail(ErrorCode::kUsage, option, fmt::format("'{}' is no engine that is known", printable(text)), hint);
  }
  EngineSpec spec{scheme->name, colon == std::string_view::npos ? "" : std::string(text.substr(colon + 1))};
  if (scheme->argument.empty() && colon != std::string_view::npos) {
    return fail(ErrorCode::kUsage, option, fmt::format("'{}': {} takes nothing behind a colon", printable(text), name));
  }
  if (!scheme->argument.empty() && spec.argument.find_first_not_of(" \t\n") == std::string::npos) {
    return fail(ErrorCode::kUsage, option, fmt::format("'{}' has nothing behind the colon", printable(text)),
                "the form is " + scheme->form());
  }
  return spec;
}

Result<OpenedEngine> EngineRegistry::open(const EngineSpec& spec, const Subject& subject,
                                          const OpenOptions& options) const {
  const EngineScheme* const scheme = find(spec.scheme);
  if (scheme == nullptr) {
    return fail(ErrorCode::kUsage, options.option,
                fmt::format("'{}' is no engine that is known", printable(spec.text())), "one of: " + forms());
  }
  TERN_ASSIGN_OR_RETURN(OpenedEngine opened, scheme->open(*this, spec, subject, options));
  if (!options.settings.empty() && opened.settings.empty()) {
    return fail(ErrorCode::kUsage, fmt::format("{}-option {}", options.option, printable(options.settings.front())),
                fmt::format("{} takes no settings", printable(opened.spec)));
  }
  if (const EngineScheme* const found = find(opened.kind); found != nullptr) {
    opened.traits = found->traits;
  }
  return opened;
}

}  // namespace tern::peer
