#include "tern/sweep/journal.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/json_format.h"

namespace tern::sweep {
namespace {

template <class Value>
Json value_or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Result<const Json*> member(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) {
    return invalid_input(where, fmt::format("has no key \"{}\"", key));
  }
  return &*it;
}

Result<std::vector<std::string>> strings_at(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json* list, member(object, key, where));
  std::vector<std::string> strings;
  for (const Json& element : *list) {
    if (!list->is_array() || !element.is_string()) {
      return invalid_input(where, fmt::format("key \"{}\" is not an array of strings", key));
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

Result<std::map<std::string, std::string>> texts_at(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json* texts, member(object, key, where));
  std::map<std::string, std::string> out;
  for (const auto& [name, text] : texts->items()) {
    if (!texts->is_object() || !text.is_string()) {
      return invalid_input(where, fmt::format("key \"{}\" is not an object of strings", key));
    }
    out[name] = text.get<std::string>();
  }
  return out;
}

Result<uint64_t> count_at(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const int64_t count, json_integer(object, key, where, 0, INT64_MAX));
  return static_cast<uint64_t>(count);
}

// Null is nullopt.
Result<std::optional<int>> number_at(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json* value, member(object, key, where));
  if (value->is_null()) {
    return std::optional<int>();
  }
  TERN_ASSIGN_OR_RETURN(const int64_t number, json_integer(object, key, where, INT32_MIN, INT32_MAX));
  return std::optional<int>(static_cast<int>(number));
}

Result<ChildResult> process_from_json(const Json& json, const std::string& where) {
  ChildResult process;
  TERN_ASSIGN_OR_RETURN(process.exit_code, number_at(json, "exit_code", where));
  TERN_ASSIGN_OR_RETURN(process.signal, number_at(json, "signal", where));
  TERN_ASSIGN_OR_RETURN(process.peak_rss_bytes, count_at(json, "peak_rss_bytes", where));
  TERN_ASSIGN_OR_RETURN(const Json* timed_out, member(json, "timed_out", where));
  TERN_ASSIGN_OR_RETURN(const Json* wall_s, member(json, "wall_s", where));
  if (!timed_out->is_boolean() || !wall_s->is_number()) {
    return invalid_input(where, timed_out->is_boolean() ? "key \"wall_s\" is not a number"
                                                        : "key \"timed_out\" is neither true nor false");
  }
  process.timed_out = timed_out->get<bool>();
  process.wall_s = wall_s->get<double>();
  return process;
}

Result<KeptRun> run_from_json(const Json& json, const std::string& where) {
  KeptRun kept;
  TERN_ASSIGN_OR_RETURN(kept.name, json_string(json, "run", where));
  TERN_ASSIGN_OR_RETURN(const Json* request, member(json, "request", where));
  kept.request = *request;
  TERN_ASSIGN_OR_RETURN(kept.folder, json_string(json, "folder", where));
  TERN_ASSIGN_OR_RETURN(kept.run.command, strings_at(json, "command", where));
  TERN_ASSIGN_OR_RETURN(kept.run.environment, texts_at(json, "environment", where));
  TERN_ASSIGN_OR_RETURN(kept.run.process, process_from_json(json, where));
  TERN_ASSIGN_OR_RETURN(kept.run.failure, json_string(json, "failure", where));
  TERN_ASSIGN_OR_RETURN(const Json* last_tensor, member(json, "last_tensor", where));
  if (!last_tensor->is_null()) {
    TERN_ASSIGN_OR_RETURN(kept.run.last_tensor, json_string(json, "last_tensor", where));
  }
  TERN_ASSIGN_OR_RETURN(kept.run.n_traces, count_at(json, "traces", where));
  TERN_ASSIGN_OR_RETURN(kept.n_bytes, count_at(json, "bytes", where));
  return kept;
}

Difference differing(const std::string& item, const Json& earlier, const Json& now) {
  constexpr size_t kMaxShown = 100;
  return {item, printable(to_json_line(earlier), kMaxShown), printable(to_json_line(now), kMaxShown)};
}

}  // namespace

std::string journal_head(const Json& sweep) {
  return to_json_line(with_format(Document::kJournal, {{"sweep", sweep}})) + "\n";
}

std::string journal_line(const KeptRun& kept) {
  const peer::PeerRun& run = kept.run;
  const ChildResult process = run.process.value_or(ChildResult());
  return to_json_line({{"run", kept.name},
                       {"request", kept.request},
                       {"folder", kept.folder},
                       {"command", run.command},
                       {"environment", run.environment},
                       {"exit_code", value_or_null(process.exit_code)},
                       {"signal", value_or_null(process.signal)},
                       {"timed_out", process.timed_out},
                       {"wall_s", process.wall_s},
                       {"peak_rss_bytes", process.peak_rss_bytes},
                       {"failure", run.failure},
                       {"last_tensor", value_or_null(run.last_tensor)},
                       {"traces", run.n_traces},
                       {"bytes", kept.n_bytes}}) +
         "\n";
}

Result<Journal> parse_journal(std::string_view text, const std::string& file_name) {
  Journal journal;
  size_t n_lines = 0;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', journal.n_bytes)) {
    const std::string where = fmt::format("{} line {}", file_name, ++n_lines);
    TERN_ASSIGN_OR_RETURN(const Json line, parse_json(text.substr(journal.n_bytes, end - journal.n_bytes), where));
    if (n_lines == 1) {
      TERN_ASSIGN_OR_RETURN(const int format, read_format(Document::kJournal, line, where));
      if (format == 1) {  // in which only this key marks a journal
        TERN_RETURN_IF_ERROR(json_integer(line, "journal", where, 1, 1));
      }
      TERN_ASSIGN_OR_RETURN(const Json* sweep, member(line, "sweep", where));
      if (!sweep->is_object()) {
        return invalid_input(where, "key \"sweep\" is not an object");
      }
      journal.sweep = *sweep;
    } else {
      TERN_ASSIGN_OR_RETURN(KeptRun kept, run_from_json(line, where));
      journal.runs.push_back(std::move(kept));
    }
    journal.n_bytes = end + 1;
  }
  return journal;
}

std::optional<Difference> find_difference(const Json& earlier, const Json& now, const std::string& item) {
  const auto below = [&item](const std::string& key) { return item.empty() ? key : item + ": " + key; };
  if (earlier.is_object() && now.is_object()) {
    for (const auto& [key, value] : now.items()) {
      const auto it = earlier.find(key);
      if (auto difference = find_difference(it == earlier.end() ? Json() : *it, value, below(key))) {
        return difference;
      }
    }
    for (const auto& [key, value] : earlier.items()) {
      if (!now.contains(key)) {
        return differing(below(key), value, Json());
      }
    }
    return std::nullopt;
  }
  if (earlier.is_array() && now.is_array() && earlier.size() == now.size()) {
    for (size_t i = 0; i < now.size(); ++i) {
      if (auto difference = find_difference(earlier[i], now[i], below(std::to_string(i + 1)))) {
        return difference;
      }
    }
    return std::nullopt;
  }
  return earlier == now ? std::nullopt : std::optional(differing(item, earlier, now));
}

}  // namespace tern::sweep
