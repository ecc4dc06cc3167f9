#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "tern/base/file.h"
#include "tern/peer/peer.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxOutputBytes = uint64_t{64} << 20;

std::string last_line(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find_last_not_of(" \t\r\n");
    if (end == std::string_view::npos) {
      return {};
    }
    text = text.substr(0, end + 1);
    const size_t newline = text.rfind('\n');
    return printable(text.substr(newline == std::string_view::npos ? 0 : newline + 1), 300);
  }
  return {};
}

// One sentence without a subject ("timed out after 180 s"); empty when it ended well.
std::string failure_of(const ChildResult& process, double timeout_s) {
  if (process.interrupted) {
    return "was interrupted";
  }
  if (process.did_enough) {
    return "was ended before its time";
  }
  if (process.timed_out) {
    return fmt::format("timed out after {} s", timeout_s);
  }
  if (process.signal) {
    return fmt::format("was killed by {} (signal {})", signal_name(*process.signal), *process.signal);
  }
  if (process.exit_code != 0) {
    const std::string line = last_line(process.output_tail);
    return fmt::format("ended with exit code {}{}{}", process.exit_code.value_or(-1), line.empty() ? "" : ": ", line);
  }
  return {};
}

size_t count_traces(const fs::path& folder) {
  std::error_code error;
  size_t n = 0;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    n += it->path().extension() == ".trace" ? size_t{1} : size_t{0};
  }
  return n;
}

std::optional<std::string> last_tensor_in(const fs::path& folder) {
  const auto traces = trace::read_trace_folder(folder);
  return traces && !traces->empty() ? std::optional(traces->back().id.name()) : std::nullopt;
}

const fs::path& trace_folder_of(const RunRequest& request) {
  return request.trace_folder.empty() ? request.run_folder : request.trace_folder;
}

// What an engine that was killed has left unfinished (base/file.h writes "name.tmp-pid-n" and renames).
void remove_unfinished_files(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> unfinished;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().find(".tmp-") != std::string::npos) {
      unfinished.push_back(it->path());
    }
  }
  for (const fs::path& path : unfinished) {
    fs::remove(path, error);
  }
}

Status remove_trace_files(const fs::path& folder) {
  std::vector<fs::path> traces;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".trace") {
      traces.push_back(it->path());
    }
  }
  for (const fs::path& path : traces) {
    if (!fs::remove(path, error)) {
      return io_error(path, "cannot be removed", error);
    }
  }
  return {};
}

// Whether files of traces as an engine wrote them are those of these records, with nothing left out and nothing odd.
bool are_whole(const trace::Records& written, const trace::Records& whole) {
  return written.size() == whole.size() && std::all_of(written.begin(), written.end(), [](const auto& record) {
           return !record.blake3.empty() && record.rms && record.note.empty() && !record.is_not_finite();
         });
}

// Brings both places into the one form: run_folder with a trace.jsonl and, where there is one, trace_folder with a file
// per tensor.
Status unify_traces(const RunRequest& request) {
  const bool wants_files = !request.trace_folder.empty();
  const fs::path list = trace_folder_of(request) / "trace.jsonl";
  const bool in_files = wants_files && count_traces(request.trace_folder) > 0;
  std::error_code error;
  const bool in_trace_folder = wants_files && (in_files || fs::exists(list, error));
  const fs::path& folder = in_trace_folder ? request.trace_folder : request.run_folder;
  TERN_ASSIGN_OR_RETURN(const trace::Records traces, trace::read_whole_records(folder, request.run_folder));
  bool writes_files = wants_files && !in_files;
  if (in_files) {
    TERN_ASSIGN_OR_RETURN(const trace::Records written, trace::read_trace_folder(folder));
    writes_files = !are_whole(written, traces);
  }
  std::string lines;
  for (const trace::TraceRecord& record : traces) {
    const std::string line = to_json_line(trace::to_json(record)) + "\n";
    lines += line;
    if (writes_files) {
      TERN_RETURN_IF_ERROR(write_file(request.trace_folder / trace::trace_file_name(record.id), line));
    }
  }
  if (fs::remove(list, error); error) {
    return io_error(list, "cannot be removed", error);
  }
  TERN_RETURN_IF_ERROR(remove_trace_files(request.run_folder));
  if (!lines.empty()) {
    TERN_RETURN_IF_ERROR(write_file(request.run_folder / "trace.jsonl", lines));
  }
  return {};
}

std::string ids_text(const std::vector<int32_t>& ids) { return fmt::format("{}", fmt::join(ids, ",")); }

// What the result states that was not asked for, or not what was; empty if nothing. Comparisons look no further than
// both sides were asked for, so an engine could shrink its own test.
std::string disobedience(const RunRequest& request, const trace::RunResult& result) {
  if (result.max_tokens != request.max_tokens) {
    return fmt::format("states max_tokens {}, where {} were asked for", result.max_tokens, request.max_tokens);
  }
  if (result.teacher_tokens != request.teacher_tokens) {
    return request.teacher_tokens.empty() ? "states teacher_tokens, where none were given"
           : result.teacher_tokens.empty()
               ? "states no teacher_tokens: it went on with its own tokens, where it was given the ones to go on with"
               : fmt::format("states teacher_tokens [{}], where it was given [{}]", ids_text(result.teacher_tokens),
                             ids_text(request.teacher_tokens));
  }
  const bool by_ids = !request.token_ids.empty() && !result.prompt_tokens.empty();
  return by_ids && result.prompt_tokens != request.token_ids
             ? fmt::format("states prompt_tokens [{}], where [{}] were given", ids_text(result.prompt_tokens),
                           ids_text(request.token_ids))
             : std::string();
}

class CommandPeer final : public Peer {
 public:
  CommandPeer(CommandTemplate command, std::string engine_name, const Abilities& by_option, Settings settings,
              std::optional<trace::Level> level)
      : command_(std::move(command)),
        engine_name_(std::move(engine_name)),
        by_option_(by_option),
        settings_(std::move(settings)),
        level_(level) {}

  Abilities abilities() const override {
    Abilities all = by_option_;
    all.token_ids = all.token_ids || command_.speaks_engine_contract();
    for (const Ability& ability : known_abilities()) {
      all.*ability.flag = all.*ability.flag || (ability.has_value && command_.uses(ability.key));
    }
    return all;
  }

  int usual_threads(const RunSetting& setting) const override { return number("threads", setting.threads); }

  Result<PeerRun> run(const RunRequest& asked) const override {
    const RunRequest request = with_settings(asked);
    TERN_RETURN_IF_ERROR(create_folder(request.run_folder));
    TERN_RETURN_IF_ERROR(create_folder(trace_folder_of(request)));
    TERN_RETURN_IF_ERROR(write_file(request.output_file, ""));  // an I/O error of ours must not look like the engine's
    PeerRun outcome;
    outcome.failure = problem_with(request);
    if (outcome.failure.empty()) {
      start(request, outcome);
    }
    if (outcome.failure.empty()) {
      take_result(request, outcome);
    }
    if (!outcome.failure.empty()) {
      remove_unfinished_files(request.run_folder);
      remove_unfinished_files(trace_folder_of(request));
      if (!outcome.last_tensor) {
        outcome.last_tensor = last_tensor_in(trace_folder_of(request));
      }
    }
    outcome.n_traces = request.trace_folder.empty() ? 0 : count_traces(request.trace_folder);
    return outcome;
  }

 private:
  std::string problem_with(const RunRequest& request) const {
    const bool by_text = request.token_ids.empty();
    if (by_text && command_.uses("token_ids") && !command_.uses("prompt")) {
      return "cannot be given a text: its command has {token_ids} and no {prompt}";
    }
    return beyond(abilities(), request);
  }

  // Words for this run, with their places still in them.
  CommandTemplate command_for(const RunRequest& request) const {
    const bool has_place = command_.uses("token_ids");
    const CommandTemplate command = request.token_ids.empty() || has_place ? command_ : command_.by_token_ids();
    std::vector<std::string> words = command.words();
    for (const Ability& ability : known_abilities()) {
      const bool as_option = by_option_.*ability.flag && ability.asked(request) && !command.uses(ability.key);
      if (as_option && std::find(words.begin(), words.end(), ability.option()) == words.end()) {
        words.push_back(ability.option());
        if (ability.has_value) words.push_back(fmt::format("{{{}}}", ability.key));
      }
    }
    return CommandTemplate(std::move(words));
  }

  Placeholders places_of(const RunRequest& request) const {
    Placeholders places = {{"model", request.model.string()},
                           {"tokenizer", request.tokenizer.string()},
                           {"prompt", request.prompt},
                           {"max_tokens", std::to_string(request.max_tokens)},
                           {"threads", std::to_string(request.threads)},
                           {"ubatch", "0"},
                           {"seed", "42"},
                           {"stages", "known"},
                           {"out", fs::absolute(request.run_folder).string()},
                           {"trace_dir", fs::absolute(trace_folder_of(request)).string()}};
    for (const Ability& ability : known_abilities()) {
      if (const auto value = ability.asked(request); value && ability.has_value)
        places[std::string(ability.key)] = *value;
    }
    for (const auto& [key, value] : settings_) {
      places.emplace(key, value);
    }
    return places;
  }

  // The setting of this key, or what there is without it.
  int number(const char* key, int otherwise) const {
    const auto setting = settings_.find(key);
    return setting == settings_.end() ? otherwise : std::atoi(setting->second.c_str());  // checked when it was set
  }

  // With the numbers of threads and of prompt tokens at once that this engine is to use.
  RunRequest with_settings(RunRequest request) const {
    request.threads = request.other_threads > 0 ? request.other_threads : usual_threads(request);
    request.ubatch = request.ubatch > 0 ? request.ubatch : number("ubatch", 0);
    return request;
  }

  void start(const RunRequest& request, PeerRun& outcome) const {
    const Placeholders places = places_of(request);
    outcome.environment = {{"BITNET_DETERMINISTIC", "1"},
                           {"BITNET_SEED", "42"},
                           {"RAYON_NUM_THREADS", std::to_string(request.threads)},
                           {"BITNET_TRACE_DIR", places.at("trace_dir")}};
    outcome.command = command_for(request).fill(places);
    ChildCommand child;
    child.argv = outcome.command;
    child.environment = outcome.environment;
    child.output_path = request.output_file;
    child.max_output_bytes = kMaxOutputBytes;
    child.timeout_s = request.timeout_s;
    child.interrupt = request.interrupt;
    child.on_tick = request.on_tick;
    child.enough = request.enough;
    // An engine that is asked to end may tidy up after itself (ours does): look before.
    child.before_ending = [&] { outcome.last_tensor = last_tensor_in(trace_folder_of(request)); };
    auto process = run_child(child);
    if (!process) {
      outcome.failure = process.error().what;
      return;
    }
    outcome.failure = failure_of(*process, request.timeout_s);
    outcome.process = std::move(*process);
  }

  // Reads what the engine has written; anything wrong with it is the engine's failure.
  void take_result(const RunRequest& request, PeerRun& outcome) const {
    auto loaded = [&]() -> Result<trace::EngineRun> {
      if (!command_.uses("out")) {
        TERN_RETURN_IF_ERROR(write_result_from_output(request));
      }
      TERN_RETURN_IF_ERROR(unify_traces(request));
      return trace::read_run_folder(request.run_folder, trace_folder_of(request));
    }();
    if (const std::string problem = loaded ? disobedience(request, loaded->result) : ""; !problem.empty()) {
      outcome.failure = "ended well, but its result.json " + problem;
    } else if (loaded) {
      outcome.run = std::move(*loaded);
      outcome.run->result.level = outcome.run->result.level ? outcome.run->result.level : level_;
    } else {
      outcome.failure = "ended well, but its result cannot be read: " + loaded.error().line();
    }
  }

  Status write_result_from_output(const RunRequest& request) const {
    TERN_ASSIGN_OR_RETURN(const std::string output, read_file(request.output_file, 2 * kMaxOutputBytes));
    const auto generated = token_ids_in_output(output, "Generated tokens:");
    if (!generated) {
      return invalid_input(request.output_file.filename().string(), "has no line \"Generated tokens: [...]\"");
    }
    trace::RunResult result;
    result.engine = engine_name_;
    result.prompt = request.prompt;
    result.teacher_tokens = request.teacher_tokens;
    result.max_tokens = request.max_tokens;
    // Empty where it does not print them: not known.
    result.prompt_tokens = token_ids_in_output(output, "Prompt tokens:").value_or(std::vector<int32_t>());
    result.generated_tokens = *generated;
    return write_file(request.run_folder / "result.json", to_json_text(trace::to_json(result)));
  }

  CommandTemplate command_;
  std::string engine_name_;
  Abilities by_option_;
  Settings settings_;
  std::optional<trace::Level> level_;
};

// Ids from `list`, which starts behind the '['.
std::optional<std::vector<int32_t>> parse_ids(std::string_view list) {
  std::vector<int32_t> ids;
  const char* at = list.data();
  const char* const end = list.data() + list.size();
  const auto skip_blanks = [&] { at = std::find_if(at, end, [](char c) { return c != ' '; }); };
  skip_blanks();
  if (at != end && *at == ']') {
    return ids;
  }
  while (at != end) {
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0) {
      return std::nullopt;
    }
    ids.push_back(id);
    at = next;
    skip_blanks();
    if (at != end && *at == ']') {
      return ids;
    }
    if (at == end || *at != ',') {
      return std::nullopt;
    }
    ++at;
    skip_blanks();
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<int32_t>> token_ids_in_output(std::string_view output, std::string_view label) {
  for (size_t end = output.size(); end != std::string_view::npos;) {
    const size_t newline = end == 0 ? std::string_view::npos : output.rfind('\n', end - 1);
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    std::string_view line = output.substr(begin, end - begin);
    if (line.starts_with(label)) {
      line.remove_prefix(label.size());
      const size_t bracket = line.find_first_not_of(' ');
      if (bracket != std::string_view::npos && line[bracket] == '[') {
        return parse_ids(line.substr(bracket + 1));
      }
    }
    end = newline;
  }
  return std::nullopt;
}

std::unique_ptr<Peer> make_command_peer(CommandTemplate command, std::string engine_name, const Abilities& by_option,
                                        Settings settings, std::optional<trace::Level> level) {
  return std::make_unique<CommandPeer>(std::move(command), std::move(engine_name), by_option, std::move(settings),
                                       level);
}

}  // namespace tern::peer
