#include "tern/report/writers/writers.h"

#include "tern/base/file.h"

namespace tern::report {
namespace {

constexpr Writer kWriters[] = {
    {"logits-comparison.json", receipt_json},  //
    {"report.txt", report_text},               //
    {"sweep.json", sweep_json},                //
    {"junit.xml", junit_xml},                  //
    {"summary.md", summary_md},
};

template <class View>
Status write_all(const View& view, const std::filesystem::path& folder) {
  for (const Writer& writer : kWriters) {
    if (const auto* write = std::get_if<std::string (*)(const View&)>(&writer.write)) {
      TERN_RETURN_IF_ERROR(write_file(folder / writer.file, (*write)(view)));
    }
  }
  return {};
}

}  // namespace

std::span<const Writer> writers() { return kWriters; }

Status write_reports(const ScenarioView& view, const std::filesystem::path& folder) { return write_all(view, folder); }

Status write_reports(const SweepView& view, const std::filesystem::path& folder) { return write_all(view, folder); }

}  // namespace tern::report
