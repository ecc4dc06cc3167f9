#include "tern/trace/pack.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/mapped_file.h"

namespace tern::trace {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFormat = "tern-pack";
constexpr int kVersion = 1;
constexpr const char* kManifest = "pack.json";

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

// Every file listed is there and whole, and no other file is (an unlisted tensors.safetensors would be believed).
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
    return fail(ErrorCode::kIo, folder.string(), "cannot be listed: " + error.message());
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

// Writes one run into the pack's folder and returns its entry in the manifest.
Result<Json> add_run(const fs::path& pack_folder, const fs::path& run_folder, const std::string& model_sha256) {
  TERN_ASSIGN_OR_RETURN(EngineRun run, read_run_folder(run_folder));
  if (!run.result.model_sha256.empty() && run.result.model_sha256 != model_sha256) {
    return invalid_input(run_folder.string(), "was recorded with another model: sha256 " + run.result.model_sha256);
  }
  if (run.trace.empty()) {
    return invalid_input(run_folder.string(), "holds no trace records",
                         "a pack without traces could not show where "
                         "engines differ");
  }
  const std::string name = fs::absolute(run_folder).lexically_normal().filename().string();
  if (!is_plain_name(name)) {
    return invalid_input(run_folder.string(), "its name cannot be a scenario's name: use letters, digits, '-' and '_'");
  }
  const fs::path folder = pack_folder / name;
  run.result.load_s = run.result.prefill_s = run.result.decode_s = std::nullopt;  // timing is not part of the evidence
  TERN_RETURN_IF_ERROR(write_file(folder / "result.json", to_json_text(to_json(run.result))));
  std::string lines;
  for (const TraceRecord& record : run.trace) {
    lines += to_json_line(to_json(record)) + "\n";
  }
  TERN_RETURN_IF_ERROR(write_file(folder / "trace.jsonl", lines));
  for (const char* optional_file : {"logits.safetensors", "tensors.safetensors"}) {
    if (fs::exists(run_folder / optional_file)) {
      TERN_RETURN_IF_ERROR(copy_into_pack(run_folder / optional_file, folder / optional_file));
    }
  }
  std::set<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    paths.insert(entry.path());
  }
  Json files = Json::object();
  for (const fs::path& path : paths) {
    TERN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
    files[path.filename().string()] = facts_of(file.bytes());
  }
  return Json{{"name", name},
              {"prompt", run.result.prompt},
              {"max_tokens", run.result.max_tokens},
              {"prompt_tokens", run.result.prompt_tokens},
              {"files", std::move(files)}};
}

}  // namespace

Result<Pack> Pack::open(const fs::path& folder) {
  constexpr uint64_t kMaxManifestBytes = uint64_t{16} << 20;
  const fs::path manifest_path = folder / kManifest;
  const std::string where = manifest_path.string();
  TERN_ASSIGN_OR_RETURN(const Json manifest, read_json_file(manifest_path, kMaxManifestBytes));
  TERN_ASSIGN_OR_RETURN(const std::string format, json_string(manifest, "format", where));
  TERN_ASSIGN_OR_RETURN(const int64_t version, json_integer(manifest, "version", where, 0, INT32_MAX));
  if (format != kFormat || version != kVersion) {
    return invalid_input(where, fmt::format("is {} version {}, where {} version {} is needed", printable(format, 40),
                                            version, kFormat, kVersion));
  }
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
  for (const Json& entry : scenarios) {
    TERN_ASSIGN_OR_RETURN(PackScenario scenario, scenario_from_json(entry, where));
    const Json files = entry.value("files", Json());
    TERN_RETURN_IF_ERROR(check_scenario_files(folder / scenario.name, files));
    pack.has_values_ = pack.has_values_ || files.contains("tensors.safetensors");
    pack.scenarios_.push_back(std::move(scenario));
  }
  return pack;
}

Result<Pack> Pack::create(const fs::path& given_folder, const PackModel& model, const std::string& arithmetic,
                          const Json& engine, const std::vector<fs::path>& run_folders) {
  const fs::path folder = given_folder.has_filename() ? given_folder : given_folder.parent_path();  // "DIR/"
  std::error_code error;
  if (fs::exists(folder, error)) {
    return fail(ErrorCode::kIo, folder.string(), "exists already", "a pack is never changed: choose a new folder");
  }
  // Built under another name, so that a pack that exists is whole.
  const fs::path partial = fmt::format("{}.partial-{}", folder.string(), ::getpid());
  const auto build = [&]() -> Status {
    Json scenarios = Json::array();
    for (const fs::path& run_folder : run_folders) {
      TERN_ASSIGN_OR_RETURN(Json scenario, add_run(partial, run_folder, model.sha256));
      const auto same_name = [&](const Json& other) { return other["name"] == scenario["name"]; };
      if (std::any_of(scenarios.begin(), scenarios.end(), same_name)) {
        return invalid_input(run_folder.string(), "another run folder has the same name");
      }
      scenarios.push_back(std::move(scenario));
    }
    Json manifest = {
        {"format", kFormat},
        {"version", kVersion},
        {"id", ""},
        {"model",
         {{"file_name", model.file_name}, {"sha256", model.sha256}, {"tokenizer_sha256", model.tokenizer_sha256}}},
        {"arithmetic", arithmetic},
        {"engine", engine},
        {"scenarios", std::move(scenarios)},
    };
    manifest["id"] = manifest_id(manifest);
    TERN_RETURN_IF_ERROR(write_file(partial / kManifest, to_json_text(manifest)));
    fs::rename(partial, folder, error);
    if (error) {
      return fail(ErrorCode::kIo, folder.string(), "cannot be renamed into place: " + error.message());
    }
    return {};
  };
  fs::remove_all(partial, error);
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

Result<EngineRun> Pack::find(const std::string& prompt, int max_tokens) const {
  for (const PackScenario& scenario : scenarios_) {
    if (scenario.prompt == prompt && scenario.max_tokens == max_tokens) {
      TERN_ASSIGN_OR_RETURN(EngineRun run, read_run_folder(folder_ / scenario.name));
      if (run.result.prompt != prompt || run.result.max_tokens != max_tokens) {
        return invalid_input((folder_ / scenario.name / "result.json").string(),
                             "is of another prompt or number of tokens than the pack lists");
      }
      run.result.arithmetic = arithmetic_;
      run.result.model_sha256 = model_.sha256;
      return run;
    }
  }
  std::string held;
  for (const PackScenario& scenario : scenarios_) {
    held += fmt::format("{}\"{}\" x {}", held.empty() ? "" : ", ", scenario.prompt, scenario.max_tokens);
  }
  return invalid_input(folder_.string(), fmt::format("has no recording of \"{}\" with {} tokens", prompt, max_tokens),
                       "it holds " + held);
}

}  // namespace tern::trace
