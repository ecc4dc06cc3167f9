#include "tern/trace/pack.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json_format.h"
#include "tern/base/mapped_file.h"

namespace tern::trace {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFirstFormat = "tern-pack";  // what `format` was in the first packs, beside `version` 1
constexpr const char* kManifest = "pack.json";

Status check_format(const Json& manifest, const std::string& where) {
  if (manifest.is_object() && manifest.value("format", Json()) == Json(kFirstFormat)) {
    TERN_RETURN_IF_ERROR(json_integer(manifest, "version", where, 1, 1));
    return {};
  }
  TERN_RETURN_IF_ERROR(read_format(Document::kPack, manifest, where));
  return {};
}

// Scenario and file names become paths below the pack, so they may only be plain names.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 100 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.'; });
}

// The manifest without its id, in one canonical spelling (keys sorted): what the id is the hash of.
std::string manifest_id(const Json& manifest) {
  nlohmann::json sorted = nlohmann::json::parse(to_json_line(manifest));
  sorted.erase("id");
  const std::string text = sorted.dump();
  return blake3_hex(std::as_bytes(std::span(text)));
}

Status check_file(const fs::path& path, const Json& facts) {
  TERN_ASSIGN_OR_RETURN(const int64_t bytes, json_integer(facts, "bytes", path.string(), 0, INT64_MAX));
  TERN_ASSIGN_OR_RETURN(const std::string blake3, json_string(facts, "blake3", path.string()));
  TERN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() != static_cast<uint64_t>(bytes)) {
    return invalid_input(path.string(), fmt::format("has {} bytes; the pack lists {}", file.bytes().size(), bytes),
                         "the pack is damaged: copy it again");
  }
  if (blake3_hex(file.bytes()) != blake3) {
    return invalid_input(path.string(), "has another BLAKE3 than the pack lists", "the pack is damaged: copy it again");
  }
  return {};
}

// Every file listed is there and whole, and no other file is (an unlisted tensors.safetensors would be read).
Status check_scenario_files(const fs::path& folder, const Json& files) {
  if (!files.is_object()) {
    return invalid_input(folder.string(), "the pack lists no files for it");
  }
  for (const auto& [name, facts] : files.items()) {
    if (!is_plain_name(name)) {
      return invalid_input(folder.string(), "the pack lists a file of an unsafe name: " + printable(name));
    }
    TERN_RETURN_IF_ERROR(check_file(folder / name, facts));
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!files.contains(entry.path().filename().string())) {
      return invalid_input(entry.path().string(), "is not listed in the pack");
    }
  }
  if (error) {
    return io_error(folder, "cannot be listed", error);
  }
  return {};
}

Result<PackScenario> scenario_from_json(const Json& json, const std::string& where) {
  PackScenario scenario;
  TERN_ASSIGN_OR_RETURN(scenario.name, json_string(json, "name", where));
  if (!is_plain_name(scenario.name)) {
    return invalid_input(where, "has a scenario of an unsafe name: " + printable(scenario.name));
  }
  TERN_ASSIGN_OR_RETURN(scenario.prompt, json_string(json, "prompt", where));
  TERN_ASSIGN_OR_RETURN(const int64_t max_tokens, json_integer(json, "max_tokens", where, 0, INT32_MAX));
  scenario.max_tokens = static_cast<int>(max_tokens);
  TERN_ASSIGN_OR_RETURN(scenario.prompt_tokens, json_token_ids(json, "prompt_tokens", where));
  return scenario;
}

Status copy_into_pack(const fs::path& from, const fs::path& to) {
  TERN_ASSIGN_OR_RETURN(const MappedFile source, MappedFile::open(from));
  TERN_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::create(to));
  TERN_RETURN_IF_ERROR(writer.append(source.bytes()));
  return writer.commit();
}

Json facts_of(const std::span<const std::byte> bytes) {
  return {{"bytes", bytes.size()}, {"blake3", blake3_hex(bytes)}};
}

constexpr const char* kFullLogits = "logits.safetensors";
constexpr const char* kValues = "tensors.safetensors";

std::string logits_kind(const EngineRun& run) {
  return run.top_logits ? fmt::format("top-{}", run.top_logits->k()) : run.logits() != nullptr ? "full" : "none";
}

Status add_logits(const EngineRun& run, const fs::path& folder, const std::optional<size_t>& k) {
  const std::string kind = logits_kind(run);
  if (k && kind == "full") {
    return write_top_logits(folder / TopLogits::kFileName, *run.logits(), *k, (run.folder / kFullLogits).string());
  }
  if (k && kind != fmt::format("top-{}", *k)) {
    return invalid_input(run.folder.string(), fmt::format("the {} largest logits were asked for, but it has {}", *k,
                                                          kind == "none" ? "no logits" : "only the " + kind));
  }
  if (kind == "none") {
    return {};
  }
  const char* const file = run.top_logits ? TopLogits::kFileName : kFullLogits;
  return copy_into_pack(run.folder / file, folder / file);
}

Status add_traces(const EngineRun& run, const fs::path& folder) {
  std::string lines;
  for (const TraceRecord& record : run.trace) {
    lines += to_json_line(to_json(record)) + "\n";
  }
  return write_file(folder / "trace.jsonl", lines);
}

Result<Json> facts_of_files(const fs::path& folder) {
  std::set<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    paths.insert(entry.path());
  }
  Json files = Json::object();
  for (const fs::path& path : paths) {
    TERN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
    files[path.filename().string()] = facts_of(file.bytes());
  }
  return files;
}

struct AddedRun {
  Json scenario;  // its entry in the manifest
  std::string logits;
  bool has_values = false;
};

// Writes one run into the pack's folder.
Result<AddedRun> add_run(const fs::path& pack_folder, const fs::path& run_folder, const std::string& model_sha256,
                         const PackContents& contents) {
  TERN_ASSIGN_OR_RETURN(EngineRun run, read_run_folder(run_folder));
  if (!run.result.model_sha256.empty() && run.result.model_sha256 != model_sha256) {
    return invalid_input(run_folder.string(), "was recorded with another model: sha256 " + run.result.model_sha256);
  }
  if (run.trace.empty()) {
    return invalid_input(run_folder.string(), "holds no trace records",
                         "a pack without traces could not show where engines differ");
  }
  const std::string name = fs::absolute(run_folder).lexically_normal().filename().string();
  if (!is_plain_name(name)) {
    return invalid_input(run_folder.string(), "its name cannot be a scenario's name: use letters, digits, '-' and '_'");
  }
  const fs::path folder = pack_folder / name;
  std::error_code error;
  if (fs::exists(folder, error)) {
    return invalid_input(run_folder.string(), "another run folder has the same name");
  }
  run.result.load_s = run.result.prefill_s = run.result.decode_s = std::nullopt;  // timing is not part of the evidence
  TERN_RETURN_IF_ERROR(write_file(folder / "result.json", to_json_text(to_json(run.result))));
  TERN_RETURN_IF_ERROR(add_traces(run, folder));
  TERN_RETURN_IF_ERROR(add_logits(run, folder, contents.top_logits));
  AddedRun added;
  added.has_values = contents.values && run.values.has_value();
  added.logits = contents.top_logits ? fmt::format("top-{}", *contents.top_logits) : logits_kind(run);
  if (added.has_values) {
    TERN_RETURN_IF_ERROR(copy_into_pack(run_folder / kValues, folder / kValues));
  }
  TERN_ASSIGN_OR_RETURN(Json files, facts_of_files(folder));
  added.scenario = {{"name", name},
                    {"prompt", run.result.prompt},
                    {"max_tokens", run.result.max_tokens},
                    {"prompt_tokens", run.result.prompt_tokens},
                    {"files", std::move(files)}};
  return added;
}

// Everything but the renaming into place.
Status build_pack(const fs::path& partial, const PackModel& model, const std::string& arithmetic, const Json& engine,
                  const std::vector<fs::path>& run_folders, const PackContents& contents) {
  Json scenarios = Json::array();
  std::string logits;
  bool has_values = false;
  for (const fs::path& run_folder : run_folders) {
    TERN_ASSIGN_OR_RETURN(AddedRun added, add_run(partial, run_folder, model.sha256, contents));
    if (!scenarios.empty() && added.logits != logits) {
      return invalid_input(run_folder.string(),
                           fmt::format("its logits are '{}', those of the runs before it '{}'", added.logits, logits),
                           "a pack holds one kind");
    }
    logits = added.logits;
    has_values = has_values || added.has_values;
    scenarios.push_back(std::move(added.scenario));
  }
  Json manifest = with_format(
      Document::kPack,
      {
          {"id", ""},
          {"model",
           {{"file_name", model.file_name}, {"sha256", model.sha256}, {"tokenizer_sha256", model.tokenizer_sha256}}},
          {"arithmetic", arithmetic},
          {"engine", engine},
          {"logits", logits},
          {"values", has_values},
          {"scenarios", std::move(scenarios)},
      });
  manifest["id"] = manifest_id(manifest);
  return write_file(partial / kManifest, to_json_text(manifest));
}

std::string ids_text(std::span<const int32_t> ids) {
  constexpr size_t kShown = 16;
  return fmt::format("[{}{}]", fmt::join(ids.first(std::min(ids.size(), kShown)), ", "),
                     ids.size() > kShown ? fmt::format(", ... {} in all", ids.size()) : "");
}

// What the manifest says of the files' content. The first packs said neither, and hold full logits or none.
Status check_contents(const Json& manifest, const std::string& where, bool has_values, bool has_full_logits,
                      std::string& logits) {
  if (const auto values = manifest.find("values"); values != manifest.end() && *values != Json(has_values)) {
    return invalid_input(where, fmt::format("\"values\" is not {}, although {} scenario has a {}", has_values,
                                            has_values ? "a" : "no", kValues));
  }
  if (!manifest.contains("logits")) {
    logits = has_full_logits ? "full" : "none";
    return {};
  }
  TERN_ASSIGN_OR_RETURN(logits, json_string(manifest, "logits", where));
  return {};
}

}  // namespace

Result<Pack> Pack::open(const fs::path& folder) {
  constexpr uint64_t kMaxManifestBytes = uint64_t{16} << 20;
  const fs::path manifest_path = folder / kManifest;
  const std::string where = manifest_path.string();
  TERN_ASSIGN_OR_RETURN(const Json manifest, read_json_file(manifest_path, kMaxManifestBytes));
  TERN_RETURN_IF_ERROR(check_format(manifest, where));
  Pack pack;
  pack.folder_ = folder;
  TERN_ASSIGN_OR_RETURN(pack.id_, json_string(manifest, "id", where));
  if (manifest_id(manifest) != pack.id_) {
    return invalid_input(where, "does not have the content that its id stands for", "the pack was edited or damaged");
  }
  const Json model = manifest.value("model", Json());
  TERN_ASSIGN_OR_RETURN(pack.model_.file_name, json_string(model, "file_name", where + ": model"));
  TERN_ASSIGN_OR_RETURN(pack.model_.sha256, json_string(model, "sha256", where + ": model"));
  TERN_ASSIGN_OR_RETURN(pack.model_.tokenizer_sha256, json_string(model, "tokenizer_sha256", where + ": model"));
  TERN_ASSIGN_OR_RETURN(pack.arithmetic_, json_string(manifest, "arithmetic", where));
  pack.engine_ = manifest.value("engine", Json());
  const Json scenarios = manifest.value("scenarios", Json());
  if (!scenarios.is_array() || scenarios.empty()) {
    return invalid_input(where, "lists no scenarios");
  }
  bool has_full_logits = false;
  for (const Json& entry : scenarios) {
    TERN_ASSIGN_OR_RETURN(PackScenario scenario, scenario_from_json(entry, where));
    const Json files = entry.value("files", Json());
    TERN_RETURN_IF_ERROR(check_scenario_files(folder / scenario.name, files));
    pack.has_values_ = pack.has_values_ || files.contains(kValues);
    has_full_logits = has_full_logits || files.contains(kFullLogits);
    pack.scenarios_.push_back(std::move(scenario));
  }
  TERN_RETURN_IF_ERROR(check_contents(manifest, where, pack.has_values_, has_full_logits, pack.logits_));
  return pack;
}

Result<Pack> Pack::create(const fs::path& given_folder, const PackModel& model, const std::string& arithmetic,
                          const Json& engine, const std::vector<fs::path>& run_folders, const PackContents& contents) {
  const fs::path folder = given_folder.has_filename() ? given_folder : given_folder.parent_path();  // "DIR/"
  std::error_code error;
  if (fs::exists(folder, error)) {
    return fail(ErrorCode::kIo, folder.string(), "exists already", "a pack is never changed: choose a new folder");
  }
  // Built under another name, so that a pack that exists is whole.
  const fs::path partial = fmt::format("{}.partial-{}", folder.string(), ::getpid());
  fs::remove_all(partial, error);
  const auto build = [&]() -> Status {
    TERN_RETURN_IF_ERROR(build_pack(partial, model, arithmetic, engine, run_folders, contents));
    fs::rename(partial, folder, error);
    if (error) {
      return io_error(folder, "cannot be renamed into place", error);
    }
    return {};
  };
  const Status built = build();
  if (!built) {
    fs::remove_all(partial, error);
    return tl::unexpected(built.error());
  }
  return open(folder);
}

std::string Pack::engine_name() const {
  const auto name = engine_.find("name");
  return name != engine_.end() && name->is_string() ? name->get<std::string>() : "an unnamed engine";
}

Result<EngineRun> Pack::read(const PackScenario& scenario) const {
  TERN_ASSIGN_OR_RETURN(EngineRun run, read_run_folder(folder_ / scenario.name));
  if (run.result.prompt != scenario.prompt || run.result.max_tokens != scenario.max_tokens ||
      run.result.prompt_tokens != scenario.prompt_tokens) {
    return invalid_input((folder_ / scenario.name / "result.json").string(),
                         "is of another prompt or number of tokens than the pack lists");
  }
  if (const std::string kind = logits_kind(run); kind != logits_ && (run.top_logits || logits_.starts_with("top-"))) {
    return invalid_input((folder_ / scenario.name).string(),
                         fmt::format("its logits are '{}', the pack says '{}'", kind, printable(logits_, 40)));
  }
  run.result.arithmetic = arithmetic_;
  run.result.model_sha256 = model_.sha256;
  return run;
}

tl::unexpected<Error> Pack::not_found(const std::string& wanted, int max_tokens) const {
  std::string held;
  for (const PackScenario& scenario : scenarios_) {
    held +=
        fmt::format("{}\"{}\" x {}", held.empty() ? "" : ", ",
                    scenario.prompt.empty() ? ids_text(scenario.prompt_tokens) : scenario.prompt, scenario.max_tokens);
  }
  return invalid_input(folder_.string(), fmt::format("has no recording of {} with {} tokens", wanted, max_tokens),
                       "it holds " + held);
}

Result<EngineRun> Pack::find(const std::string& prompt, int max_tokens) const {
  for (const PackScenario& scenario : scenarios_) {
    if (scenario.prompt == prompt && scenario.max_tokens == max_tokens) {
      return read(scenario);
    }
  }
  return not_found("\"" + prompt + "\"", max_tokens);
}

Result<EngineRun> Pack::find(std::span<const int32_t> token_ids, int max_tokens) const {
  for (const PackScenario& scenario : scenarios_) {
    if (std::equal(token_ids.begin(), token_ids.end(), scenario.prompt_tokens.begin(), scenario.prompt_tokens.end()) &&
        scenario.max_tokens == max_tokens) {
      return read(scenario);
    }
  }
  return not_found("the token ids " + ids_text(token_ids), max_tokens);
}

Status check_prompt_tokens(const std::string& where, std::span<const int32_t> recorded,
                           std::span<const int32_t> today) {
  const auto at = std::mismatch(recorded.begin(), recorded.end(), today.begin(), today.end());
  if (at.first == recorded.end() && at.second == today.end()) {
    return {};
  }
  const auto id = [](auto it, auto end) { return it == end ? std::string("nothing") : std::to_string(*it); };
  return invalid_input(
      where, fmt::format("the prompt was recorded as other token ids than the tokenizer gives for it today: "
                         "position {} is {}, now {} ({} ids, now {})",
                         at.first - recorded.begin(), id(at.first, recorded.end()), id(at.second, today.end()),
                         recorded.size(), today.size()));
}

}  // namespace tern::trace
