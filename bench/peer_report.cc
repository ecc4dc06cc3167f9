#include "peer_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

namespace tern::bench {
namespace {

constexpr const char* kNotMeasured = "–";

// One line of text in which nothing is markup, for a table's cell.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : printable(text)) {
    if (std::string_view("\\`*<|&").find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

// Three significant digits, as far as they stand behind the point.
std::string figure(double value) {
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

std::string text_of(const std::optional<Spread>& value, const char* unit = "") {
  if (!value) return kNotMeasured;
  return fmt::format("{}{} ({}..{})", figure(value->median), unit, figure(value->low), figure(value->high));
}

std::string text_of(const Series& series) { return text_of(spread(series)); }

class MarkdownWriter {
 public:
  explicit MarkdownWriter(const Comparison& c) : c_(c) {}

  std::string write() && {
    introduction();
    goals();
    speeds();
    whole_process();
    products();
    return std::move(text_);
  }

 private:
  void line(const std::string& text) { text_ += text + "\n"; }

  void row(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& text : cells) text_ += " " + text + " |";
    text_ += "\n";
  }

  void header(const std::vector<std::string>& cells) {
    row(cells);
    row(std::vector<std::string>(cells.size(), "---"));
  }

  void introduction() {
    line("# " + cell(c_.ours.name) + " and its peers\n");
    for (const auto& [key, value] : c_.machine) line("- " + cell(key) + ": " + cell(value));
    line(fmt::format("- {} runs, all engines in turn; each figure is a median (smallest..largest)", c_.runs));
    line(fmt::format(
        "- ratios are ours to the peer's within a run; speeds in tokens/s; {} threads where none are named\n",
        c_.threads));
  }

  void goals() {
    line("## Goals\n");
    header({"goal", "wanted", "measured", "reached"});
    for (const Goal& goal : judge(c_)) {
      std::string wanted = fmt::format("{} {}", goal.at_least ? "≥" : "≤", goal.target);
      if (goal.stretch) wanted += fmt::format(" (stretch {})", *goal.stretch);
      row({cell(goal.text), wanted, text_of(goal.value), reached(goal)});
    }
    line("");
  }

  static std::string reached(const Goal& goal) {
    if (!goal.reached()) return "not measured";
    return goal.stretch_reached().value_or(false) ? "reached, stretch too"
           : *goal.reached()                      ? "reached"
                                                  : "not reached";
  }

  std::vector<const EngineFigures*> engines() const {
    std::vector<const EngineFigures*> all = {&c_.ours};
    for (const EngineFigures& peer : c_.peers) all.push_back(&peer);
    return all;
  }

  std::string ratio_to(const EngineFigures& engine, const Series& ours, const Series& theirs) const {
    return &engine == &c_.ours ? "" : text_of(ratio(ours, theirs), " x");
  }

  void speed_table(const std::string& title, std::map<int, Series> EngineFigures::*figures) {
    line("## " + title + "\n");
    header({"engine", "threads", "tokens/s", "ours to it"});
    for (const EngineFigures* engine : engines()) {
      for (const auto& [threads, series] : engine->*figures) {
        row({cell(engine->name), std::to_string(threads), text_of(series),
             ratio_to(*engine, at(c_.ours.*figures, threads), series)});
      }
    }
    line("");
  }

  void speeds() {
    speed_table(fmt::format("Prefill of {} tokens", c_.workload.n_prompt), &EngineFigures::prefill_tokens_per_s);
    speed_table(fmt::format("Decode of {} tokens, short context", c_.workload.n_decode),
                &EngineFigures::decode_tokens_per_s);
    line(fmt::format("## Decode of {} tokens after {} positions\n", c_.workload.n_decode, c_.workload.depth));
    header({"engine", "tokens/s", "ours to it", "of its own short context"});
    for (const EngineFigures* engine : engines()) {
      row({cell(engine->name), text_of(engine->deep_decode_tokens_per_s),
           ratio_to(*engine, c_.ours.deep_decode_tokens_per_s, engine->deep_decode_tokens_per_s),
           text_of(ratio(engine->deep_decode_tokens_per_s, at(engine->decode_tokens_per_s, c_.threads)))});
    }
    line("");
  }

  void whole_process() {
    line("## Start and memory\n");
    header({"engine", "load to first token, s", "ours to it", "peak memory, MiB", "of the model file"});
    for (const EngineFigures* engine : engines()) {
      Series mebibytes, of_file;
      for (const double n_bytes : engine->peak_rss_bytes) {
        mebibytes.push_back(n_bytes / (1 << 20));
        if (engine->model_bytes > 0) of_file.push_back(n_bytes / engine->model_bytes);
      }
      row({cell(engine->name), text_of(engine->first_token_s),
           ratio_to(*engine, c_.ours.first_token_s, engine->first_token_s), text_of(mebibytes), text_of(of_file)});
    }
    line("");
    if (!c_.head_copy_s.empty()) {
      line(fmt::format("{} copies its head once, between prefill and decode, in {} s: no figure above holds that.\n",
                       cell(c_.ours.name), text_of(c_.head_copy_s)));
    }
    if (!c_.traced_s.empty() || !c_.sweep_s.empty()) {
      line(fmt::format("Three scenarios, seconds: traced {}, not traced {}; sweep against a pack {}\n",
                       text_of(c_.traced_s), text_of(c_.untraced_s), text_of(c_.sweep_s)));
    }
  }

  void products() {
    if (c_.products.empty()) return;
    line("## Products of matrices, one thread, milliseconds\n");
    header({"size", "ours", c_.peers.empty() ? "peer" : cell(c_.peers.front().name), "ours to it",
            "G multiply-adds/s, ours and its", "published (EPYC 7V13)"});
    for (const ProductFigures& product : c_.products) {
      const ProductSize& size = product.size;
      const double operations = double(size.tokens) * size.cols * size.rows;
      const auto rate = [&](const Series& ms) {
        const auto middle = spread(ms);
        return middle ? figure(operations / middle->median * 1e-6) : std::string(kNotMeasured);
      };
      row({size.text(), text_of(product.ours_ms), text_of(product.peer_ms),
           text_of(ratio(product.ours_ms, product.peer_ms), " x"), rate(product.ours_ms) + ", " + rate(product.peer_ms),
           fmt::format("{}", size.published_ms)});
    }
    line("");
  }

  const Comparison& c_;
  std::string text_;
};

Json json_of(const Series& series) {
  Json result = Json::array();
  for (const double value : series) result.push_back(json_number(value));
  return result;
}

Json json_of(const std::map<int, Series>& by_threads) {
  Json result = Json::object();
  for (const auto& [threads, series] : by_threads) result[std::to_string(threads)] = json_of(series);
  return result;
}

Json json_of(const std::optional<Spread>& value) {
  if (!value) return nullptr;
  return {{"median", json_number(value->median)}, {"low", json_number(value->low)}, {"high", json_number(value->high)}};
}

Json json_of(const EngineFigures& engine) {
  return {{"name", engine.name},
          {"command", engine.command},
          {"model", engine.model},
          {"model_bytes", engine.model_bytes},
          {"prefill_tokens_per_s", json_of(engine.prefill_tokens_per_s)},
          {"decode_tokens_per_s", json_of(engine.decode_tokens_per_s)},
          {"deep_decode_tokens_per_s", json_of(engine.deep_decode_tokens_per_s)},
          {"first_token_s", json_of(engine.first_token_s)},
          {"peak_rss_bytes", json_of(engine.peak_rss_bytes)}};
}

Json json_of(const Goal& goal) {
  Json json = {
      {"id", goal.id}, {"text", goal.text}, {"bound", goal.at_least ? "at_least" : "at_most"}, {"target", goal.target}};
  json["stretch"] = goal.stretch ? Json(*goal.stretch) : Json();
  json["value"] = json_of(goal.value);
  json["reached"] = goal.reached() ? Json(*goal.reached()) : Json();
  json["stretch_reached"] = goal.stretch_reached() ? Json(*goal.stretch_reached()) : Json();
  return json;
}

}  // namespace

std::string markdown(const Comparison& comparison) { return MarkdownWriter(comparison).write(); }

Json to_json(const Comparison& c) {
  Json json;
  json["machine"] = c.machine;
  json["runs"] = c.runs;
  json["threads"] = c.threads;
  json["more_threads"] = c.more_threads;
  json["workload"] = {{"n_prompt", c.workload.n_prompt},
                      {"n_decode", c.workload.n_decode},
                      {"depth", c.workload.depth},
                      {"repetitions", c.workload.repetitions}};
  json["goals"] = Json::array();
  for (const Goal& goal : judge(c)) json["goals"].push_back(json_of(goal));
  json["ours"] = json_of(c.ours);
  json["peers"] = Json::array();
  for (const EngineFigures& peer : c.peers) json["peers"].push_back(json_of(peer));
  json["products"] = Json::array();
  for (const ProductFigures& product : c.products) {
    json["products"].push_back({{"tokens", product.size.tokens},
                                {"cols", product.size.cols},
                                {"rows", product.size.rows},
                                {"published_ms", product.size.published_ms},
                                {"ours_ms", json_of(product.ours_ms)},
                                {"peer_ms", json_of(product.peer_ms)}});
  }
  json["head_copy_s"] = json_of(c.head_copy_s);
  json["tracing"] = {{"traced_s", json_of(c.traced_s)}, {"untraced_s", json_of(c.untraced_s)}};
  json["sweep_s"] = json_of(c.sweep_s);
  return json;
}

}  // namespace tern::bench
