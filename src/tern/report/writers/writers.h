// The writers of a sweep's reports; writers.cc lists them. A writer puts a view into its format and computes nothing.
// It escapes text from outside for that format. One more report is a file here and a row in writers.cc.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "tern/base/error.h"
#include "tern/report/view/view.h"

namespace tern::report {

std::string report_text(const ScenarioView& view);
std::string receipt_json(const ScenarioView& view);
std::string sweep_json(const SweepView& view);
std::string junit_xml(const SweepView& view);
std::string summary_md(const SweepView& view);

struct Writer {
  enum class Scope { kScenario, kSweep };
  std::string_view file;  // in the folder of a scenario, or of the sweep
  std::variant<std::string (*)(const ScenarioView&), std::string (*)(const SweepView&)> write;

  Scope scope() const { return write.index() == 0 ? Scope::kScenario : Scope::kSweep; }
};

// In the order in which they are written.
std::span<const Writer> writers();

// All reports of one scope. Errors: kIo.
Status write_reports(const ScenarioView& view, const std::filesystem::path& folder);
Status write_reports(const SweepView& view, const std::filesystem::path& folder);

}  // namespace tern::report
