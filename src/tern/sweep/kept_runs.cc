#include "tern/sweep/kept_runs.h"

#include <fmt/format.h>
#include <signal.h>

#include <utility>

#include "tern/base/check.h"
#include "tern/base/file.h"
#include "tern/sweep/output_folder.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFolder = ".tern-journal";
constexpr const char* kJournal = "journal.jsonl";
constexpr uint64_t kMaxJournalBytes = uint64_t{256} << 20;
constexpr const char* kResumeHint = "leave out --resume to start anew";

// Files of runs are never changed once they are there, so two names of one file are as good as two files.
void link_or_copy(const fs::path& from, const fs::path& to, std::error_code& error) {
  const fs::file_type type = fs::symlink_status(from, error).type();
  if (type == fs::file_type::symlink) {
    fs::copy_symlink(from, to, error);
  } else if (type == fs::file_type::regular) {
    fs::create_hard_link(from, to, error);
    if (error) {
      fs::copy_file(from, to, error);
    }
  } else if (type == fs::file_type::directory) {
    fs::create_directories(to, error);
  }
}

// A file, or a folder with everything in it, if there is one; `to` must not exist yet. Links are not followed.
Status link_tree(const fs::path& from, const fs::path& to) {
  std::error_code error;
  const fs::file_type type = fs::symlink_status(from, error).type();
  if (type == fs::file_type::not_found) {
    return {};
  }
  link_or_copy(from, to, error);
  if (type == fs::file_type::directory && !error) {
    for (fs::recursive_directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
      link_or_copy(it->path(), to / it->path().lexically_relative(from), error);
      if (error) {
        break;
      }
    }
  }
  return error ? io_error(from, "cannot be kept as " + to.string(), error) : Status();
}

uint64_t bytes_in(const fs::path& folder) {
  std::error_code error;
  uint64_t n_bytes = 0;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code no_size;
    const uint64_t size = it->is_regular_file(no_size) ? it->file_size(no_size) : 0;
    n_bytes += no_size ? 0 : size;
  }
  return n_bytes;
}

// One rename removes all of it. A kill leaves no journal of runs that are gone.
Status remove_kept(const fs::path& folder) {
  const fs::path removed = folder.string() + ".removed";
  std::error_code error;
  fs::remove_all(removed, error);  // by a sweep that was killed here
  const fs::file_type type = fs::symlink_status(folder, error).type();
  if (type == fs::file_type::not_found) {
    return {};
  }
  if (type != fs::file_type::directory || (!fs::exists(folder / kJournal, error) && !fs::is_empty(folder, error))) {
    return fail(ErrorCode::kIo, folder.string(), fmt::format("is in the way and holds no {}", kJournal),
                "choose another output directory or move it away");
  }
  fs::rename(folder, removed, error);
  if (!error) {
    fs::remove_all(removed, error);
  }
  return error ? io_error(folder, "cannot be removed", error) : Status();
}

// What the engine was asked for.
Json to_json(const peer::RunRequest& request, const peer::Peer& engine, const std::string& variant) {
  Json json = {{"prompt", request.prompt},
               {"token_ids", request.token_ids},
               {"max_tokens", request.max_tokens},
               {"teacher_tokens", request.teacher_tokens},
               {"observe", request.observe},
               {"token_by_token", request.token_by_token},
               {"dump_tensors", request.dump_tensors},
               {"around", request.around},
               {"ubatch", request.ubatch},
               {"threads", request.other_threads > 0 ? request.other_threads : engine.usual_threads(request)},
               {"timeout_s", request.timeout_s},
               {"variant", variant}};
  if (request.all_stages) {  // which journals of earlier releases do not have
    json["all_stages"] = true;
  }
  return json;
}

// As it comes out of a journal.
Json read_back(const Json& json) { return Json::parse(to_json_line(json)); }

// A failure of the engine itself is kept. An end caused from outside (interrupt, first difference, SIGKILL) is not.
bool is_its_own_doing(const peer::PeerRun& run, const peer::RunRequest& request) {
  if (run.run) {
    return true;
  }
  const bool interrupted = request.interrupt != nullptr && request.interrupt->signal() != 0;
  return run.process && !interrupted && !run.process->did_enough &&
         (run.process->timed_out || run.process->signal != SIGKILL);
}

void remove_files(const peer::RunRequest& request) {
  std::error_code ignored;
  for (const fs::path& path : {request.run_folder, request.trace_folder, request.output_file}) {
    fs::remove_all(path, ignored);
  }
}

}  // namespace

class KeptRuns::KeepingPeer final : public peer::Peer {
 public:
  KeepingPeer(KeptRuns& kept, std::unique_ptr<peer::Peer> engine, std::string variant)
      : kept_(kept), engine_(std::move(engine)), variant_(std::move(variant)) {}

  peer::Abilities abilities() const override { return engine_->abilities(); }
  int usual_threads(const peer::RunSetting& setting) const override { return engine_->usual_threads(setting); }
  Result<peer::PeerRun> run(const peer::RunRequest& request) const override {
    return kept_.run(*engine_, variant_, request);
  }

 private:
  KeptRuns& kept_;
  std::unique_ptr<peer::Peer> engine_;
  std::string variant_;
};

Result<std::unique_ptr<KeptRuns>> KeptRuns::open(const fs::path& output_dir, const Json& asked, bool resume) {
  std::unique_ptr<KeptRuns> kept(new KeptRuns(output_dir / kFolder, read_back(asked)));
  if (resume) {
    TERN_RETURN_IF_ERROR(kept->read_earlier());
  }
  if (!kept->has_head_) {
    TERN_RETURN_IF_ERROR(remove_kept(kept->folder_));
  }
  return kept;
}

Status KeptRuns::read_earlier() {
  const fs::path path = folder_ / kJournal;
  std::error_code error;
  if (!fs::exists(path, error)) {
    return {};
  }
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxJournalBytes));
  auto journal = parse_journal(text, path.string());
  if (!journal) {
    journal.error().hint = kResumeHint;
    return tl::unexpected(journal.error());
  }
  if (journal->sweep.is_null()) {
    return {};
  }
  // Runs of one tern prove nothing about another.
  const auto tern_of = [](const Json& sweep) { return sweep.value("tern", Json()); };
  if (const auto difference = find_difference(tern_of(journal->sweep), tern_of(asked_), "tern")) {
    why_anew_ = fmt::format("the earlier sweep was run by another tern: {} was {}, now it is {}", difference->item,
                            difference->earlier, difference->now);
    return {};
  }
  if (const auto difference = find_difference(journal->sweep, asked_)) {
    return fail(ErrorCode::kUsage, "--resume",
                fmt::format("the earlier sweep in {} is another one: {} was {}, now it is {}",
                            folder_.parent_path().string(), difference->item, difference->earlier, difference->now),
                kResumeHint);
  }
  fs::resize_file(path, journal->n_bytes, error);  // without a line that was being written
  if (error) {
    return io_error(path, "cannot be written", error);
  }
  has_head_ = true;
  for (KeptRun& run : journal->runs) {
    earlier_.insert_or_assign(run.name, std::move(run));  // one that was run again has a second line, which counts
  }
  n_kept_ = earlier_.size();
  return {};
}

std::vector<std::string> KeptRuns::earlier() const {
  std::vector<std::string> names;
  for (const auto& [name, run] : earlier_) {
    names.push_back(name);
  }
  return names;
}

void KeptRuns::enter(const std::string& section) {
  section_ = section;
  resumption_.sections.push_back({.name = section, .taken_over = {}, .n_run = 0});
}

std::unique_ptr<peer::Peer> KeptRuns::keep(std::unique_ptr<peer::Peer> engine, std::string variant) {
  if (engine == nullptr || !engine->abilities().runs) {
    return engine;
  }
  return std::make_unique<KeepingPeer>(*this, std::move(engine), std::move(variant));
}

void KeptRuns::keep(arbiter::OracleEngines& oracles) {
  oracles.plain = keep(std::move(oracles.plain));
  oracles.rounded = keep(std::move(oracles.rounded));
  for (auto& engine : oracles.also_rounded) {
    engine = keep(std::move(engine));
  }
  for (arbiter::OracleEngines::Fault& fault : oracles.faults) {
    fault.engine = keep(std::move(fault.engine));
  }
}

fs::path KeptRuns::place_of(const peer::RunRequest& request) const {
  return folder_ / section_ / request.run_folder.filename();
}

Result<peer::PeerRun> KeptRuns::run(const peer::Peer& engine, const std::string& variant,
                                    const peer::RunRequest& request) {
  TERN_CHECK(!section_.empty());
  if (!request.inputs_from.empty()) {
    return engine.run(request);  // short, and it would have to be bound to those values
  }
  const std::string run_name = request.run_folder.filename();
  const Json asked = read_back(to_json(request, engine, variant));
  if (auto kept = earlier_.extract(section_ + "/" + run_name)) {
    auto taken = take_over(std::move(kept.mapped()), asked, request);
    if (taken) {
      resumption_.sections.back().taken_over.push_back(run_name);
      return taken;
    }
    resumption_.run_again.push_back(fmt::format("{}/{}: {}", section_, run_name, taken.error().line()));
    remove_files(request);
  }
  ++resumption_.sections.back().n_run;
  TERN_ASSIGN_OR_RETURN(peer::PeerRun run, engine.run(request));
  if (is_its_own_doing(run, request)) {
    TERN_RETURN_IF_ERROR(record(run, asked, request));
  }
  return run;
}

// Errors: why it has to be run again.
Result<peer::PeerRun> KeptRuns::take_over(KeptRun kept, const Json& asked, const peer::RunRequest& request) const {
  const fs::path place = place_of(request);
  if (const auto difference = find_difference(kept.request, asked)) {
    return invalid_input(
        place.string(), fmt::format("{} was {}, now it is {}", difference->item, difference->earlier, difference->now));
  }
  if (const uint64_t n_bytes = bytes_in(place); n_bytes != kept.n_bytes) {
    return invalid_input(place.string(), fmt::format("holds {} bytes, where {} were kept", n_bytes, kept.n_bytes));
  }
  TERN_RETURN_IF_ERROR(link_tree(place / "run", request.run_folder));
  if (!request.trace_folder.empty()) {
    TERN_RETURN_IF_ERROR(link_tree(place / "traces", request.trace_folder));
  }
  TERN_RETURN_IF_ERROR(link_tree(place / "output.txt", request.output_file));
  peer::PeerRun run = std::move(kept.run);
  const fs::path folder = request.run_folder.parent_path();
  for (std::string& word : run.command) {
    word = with_other_folder(std::move(word), kept.folder, folder);
  }
  for (auto& [name, value] : run.environment) {
    value = with_other_folder(std::move(value), kept.folder, folder);
  }
  run.failure = with_other_folder(std::move(run.failure), kept.folder, folder);
  if (run.failure.empty()) {
    TERN_ASSIGN_OR_RETURN(
        run.run,
        trace::read_run_folder(request.run_folder,
                               request.trace_folder.empty() ? std::nullopt : std::optional(request.trace_folder)));
  }
  return run;
}

Status KeptRuns::record(const peer::PeerRun& run, Json asked, const peer::RunRequest& request) {
  const fs::path place = place_of(request);
  std::error_code ignored;
  fs::remove_all(place, ignored);
  TERN_RETURN_IF_ERROR(create_folder(folder_));
  if (!std::exchange(has_head_, true)) {
    TERN_RETURN_IF_ERROR(append_to_file(folder_ / kJournal, journal_head(asked_)));
  }
  TERN_RETURN_IF_ERROR(create_folder(place));
  TERN_RETURN_IF_ERROR(link_tree(request.run_folder, place / "run"));
  if (!request.trace_folder.empty()) {
    TERN_RETURN_IF_ERROR(link_tree(request.trace_folder, place / "traces"));
  }
  TERN_RETURN_IF_ERROR(link_tree(request.output_file, place / "output.txt"));
  KeptRun kept;
  kept.name = section_ + "/" + request.run_folder.filename().string();
  kept.request = std::move(asked);
  kept.folder = fs::absolute(request.run_folder.parent_path()).string();
  kept.run.command = run.command;
  kept.run.environment = run.environment;
  kept.run.process = run.process;
  kept.run.failure = run.failure;
  kept.run.last_tensor = run.last_tensor;
  kept.run.n_traces = run.n_traces;
  kept.n_bytes = bytes_in(place);
  TERN_RETURN_IF_ERROR(append_to_file(folder_ / kJournal, journal_line(kept)));
  ++n_kept_;
  return {};
}

Status KeptRuns::remove() {
  n_kept_ = 0;
  return remove_kept(folder_);
}

}  // namespace tern::sweep
