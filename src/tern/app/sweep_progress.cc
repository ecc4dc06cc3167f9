#include "tern/app/sweep_progress.h"

#include <fmt/format.h>

#include "tern/base/print.h"
#include "tern/report/view/comparison_view.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

// What is seen first need not be the first divergence, which finished() names.
std::string difference(const trace::TensorId& seen, double elapsed_s) {
  return fmt::format("{} differs ({}), seen after {:.1f} s", seen.name(), compare::place_of(seen), elapsed_s);
}

// "diverged at blk2/o_proj (1.2 s)"
std::string ending(const outcome::ScenarioOutcome& outcome) {
  const auto divergence = outcome.comparison ? report::divergence_of(*outcome.comparison) : std::nullopt;
  return fmt::format("{}{} ({:.1f} s)\n", outcome::parity_status_name(outcome.status),
                     divergence ? fmt::format(" at {}", printable(divergence->name)) : "",
                     outcome.sides.subject.execution.wall_s + outcome.sides.reference.execution.wall_s);
}

class LineProgress : public sweep::Progress {
 public:
  explicit LineProgress(size_t n_scenarios) : n_scenarios_(n_scenarios) {}

  void started(size_t index, const outcome::Scenario& scenario, std::string_view side) override {
    if (side == compare::side_name(compare::Side::kSubject)) {
      print_err(fmt::format("[{}/{}] {} ... ", index + 1, n_scenarios_, scenario.name));
    }
  }
  void differs(const trace::TensorId& first, double elapsed_s) override {
    print_err(fmt::format("{} ... ", difference(first, elapsed_s)));
  }
  void running(double, const fs::path&) override {}
  void finished(size_t, const outcome::ScenarioOutcome& outcome) override { print_err(ending(outcome)); }

 private:
  size_t n_scenarios_;
};

class LiveProgress final : public sweep::Progress {
 public:
  explicit LiveProgress(size_t n_scenarios) : n_scenarios_(n_scenarios) {}
  LiveProgress(const LiveProgress&) = delete;
  LiveProgress& operator=(const LiveProgress&) = delete;
  ~LiveProgress() override { print_err(kClearLine); }

  void started(size_t index, const outcome::Scenario& scenario, std::string_view side) override {
    label_ = fmt::format("[{}/{}] {}: {}", index + 1, n_scenarios_, scenario.name, side);
    show(label_);
  }
  void differs(const trace::TensorId& first, double elapsed_s) override {
    label_ += ", " + difference(first, elapsed_s) + ";";
    show(label_);
  }
  void running(double elapsed_s, const fs::path& trace_folder) override {
    std::error_code error;
    size_t n_traces = 0;
    for (fs::directory_iterator it(trace_folder, error), end; !error && it != end; it.increment(error)) {
      n_traces += it->path().extension() == ".trace" ? size_t{1} : size_t{0};
    }
    show(fmt::format("{} {:.1f} s, {} traces", label_, elapsed_s, n_traces));
  }
  void finished(size_t index, const outcome::ScenarioOutcome& outcome) override {
    print_err(fmt::format("{}[{}/{}] {} ... {}", kClearLine, index + 1, n_scenarios_, outcome.scenario.name,
                          ending(outcome)));
  }

 private:
  static constexpr const char* kClearLine = "\r\x1b[K";

  static void show(const std::string& text) { print_err(kClearLine + text); }

  size_t n_scenarios_;
  std::string label_;
};

}  // namespace

std::unique_ptr<sweep::Progress> make_sweep_progress(size_t n_scenarios, bool on_terminal) {
  if (on_terminal) {
    return std::make_unique<LiveProgress>(n_scenarios);
  }
  return std::make_unique<LineProgress>(n_scenarios);
}

}  // namespace tern::app
