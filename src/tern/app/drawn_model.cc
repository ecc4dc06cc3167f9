#include "tern/app/drawn_model.h"

#include <fmt/format.h>

#include <iterator>

#include "tern/app/kept_engine.h"
#include "tern/app/oracle_engine.h"
#include "tern/app/own_engine.h"
#include "tern/app/third_opinion.h"
#include "tern/arbiter/judgement.h"
#include "tern/base/file.h"
#include "tern/synth/synthetic_model.h"
#include "tern/trace/run_writer.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

constexpr size_t kDecodeSteps = 2;
constexpr int64_t kUbatch = 512;

// A setting of our own engine with which it is right.
struct OwnEngine {
  std::string_view name;
  std::vector<std::string> words;
  std::string_view isa;
};

const std::vector<OwnEngine>& own_engines() {
  static const std::vector<OwnEngine> engines = {
      {"tern", {}, ""}, {"tern, fused", {"--activation-rounding", "fused"}, ""}, {"tern, scalar", {}, "scalar"}};
  return engines;
}

constexpr std::string_view kDouble = "oracle";

std::string folder_name(std::string_view engine) {
  std::string name(engine);
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

}  // namespace

Result<std::vector<DrawnModelFile>> write_models_to_draw_from(const fs::path& folder) {
  struct Row {
    const char* name;
    synth::SyntheticOptions options;
  };
  // name, layers, embd, ff, heads, KV heads, vocab, context, RoPE base, epsilon
  const Row rows[] = {
      {"bitnet-b1.58, I2_S",
       {.shape = {"draws", 3, 256, 512, 8, 4, 0, 256, 10000.0F, 1e-6F}, .architecture = "bitnet-b1.58", .seed = 11}},
      {"bitnet, I2_S",
       {.shape = {"draws", 2, 256, 768, 4, 4, 0, 256, 500000.0F, 1e-5F}, .architecture = "bitnet", .seed = 12}},
      {"llama, I2_S",
       {.shape = {"draws", 3, 256, 640, 8, 2, 0, 256, 10000.0F, 1e-5F}, .architecture = "llama", .seed = 13}},
      {"llama, F16",
       {.shape = {"draws", 3, 256, 512, 8, 8, 0, 256, 500000.0F, 1e-5F},
        .architecture = "llama",
        .seed = 14,
        .weights = &quant::kF16}},
  };
  std::vector<DrawnModelFile> files;
  for (const Row& row : rows) {
    files.push_back({row.name, folder / fmt::format("model-{}.gguf", files.size())});
    TERN_RETURN_IF_ERROR(synth::write_synthetic_model(files.back().path, row.options));
  }
  return files;
}

Result<std::unique_ptr<DrawnModel>> DrawnModel::open(std::string name, const peer::RunSetting& setting,
                                                     const fs::path& folder, uint64_t seed) {
  TERN_RETURN_IF_ERROR(create_folder(folder));
  TERN_ASSIGN_OR_RETURN(gguf::View view, gguf::View::open(setting.model));
  std::unique_ptr<DrawnModel> model(new DrawnModel(std::move(name), setting, folder, std::move(view)));
  model->setting_.threads = 1;  // many runs at a time share the cores
  TERN_ASSIGN_OR_RETURN(oracle::Oracle plain, oracle::Oracle::load(model->view_));
  model->plain_ = std::make_unique<oracle::Oracle>(std::move(plain));
  model->draw_prompt(seed);
  model->to_draw_from_ = {&model->view_, model->plain_->hyperparameters(), model->prompt_.size()};
  TERN_RETURN_IF_ERROR(model->make_engines());
  TERN_RETURN_IF_ERROR(model->run_right_engines());
  return model;
}

void DrawnModel::draw_prompt(uint64_t seed) {
  const auto n_vocab = static_cast<size_t>(plain_->hyperparameters().n_vocab);
  bos_ = static_cast<int32_t>(view_.get_uint("tokenizer.ggml.bos_token_id", 0, n_vocab - 1).value_or(1));
  eos_ = static_cast<int32_t>(view_.get_uint("tokenizer.ggml.eos_token_id", 0, n_vocab - 1).value_or(2));
  oracle::Dice dice(seed);
  const auto draw = [&] {
    int32_t id = bos_;
    while (id == bos_ || id == eos_) {
      id = static_cast<int32_t>(dice.below(n_vocab));
    }
    return id;
  };
  prompt_ = {bos_};
  for (size_t n = 11 + dice.below(9); n > 0; --n) {
    prompt_.push_back(draw());
  }
  for (size_t n = kDecodeSteps; n > 0; --n) {
    fed_.push_back(draw());
  }
}

Status DrawnModel::make_engines() {
  TERN_ASSIGN_OR_RETURN(engines_, oracle_engines());
  const auto keep = [this](std::unique_ptr<peer::Peer>& engine, std::string name) {
    engine = std::make_unique<KeptEngine>(std::move(engine), std::move(name), folder_);
  };
  keep(engines_.plain, "kept-plain");
  keep(engines_.rounded, "kept-rounded");
  for (size_t i = 0; i < engines_.also_rounded.size(); ++i) {
    keep(engines_.also_rounded[i], fmt::format("kept-rounded-{}", i));
  }
  for (size_t i = 0; i < engines_.float32.size(); ++i) {
    keep(engines_.float32[i], fmt::format("kept-float32-{}", i));
  }
  return {};
}

std::vector<std::string_view> DrawnModel::right_engines() const {
  std::vector<std::string_view> names;
  for (const OwnEngine& own : own_engines()) {
    names.push_back(own.name);
  }
  names.push_back(kDouble);
  for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
    names.push_back(rules.name);
  }
  return names;
}

Status DrawnModel::run_right_engines() const {
  for (const OwnEngine& own : own_engines()) {
    TERN_ASSIGN_OR_RETURN(const auto engine, make_tern_peer(own.words, own.isa));
    peer::RunRequest request(setting_);
    request.token_ids = prompt_;
    request.teacher_tokens = fed_;
    request.max_tokens = static_cast<int>(fed_.size()) + 1;
    request.dump_tensors = true;
    request.run_folder = folder_ / folder_name(own.name);
    request.output_file = folder_ / "output.txt";
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, engine->run(request));
    if (!run.run) {
      return fail(ErrorCode::kEngine, fmt::format("{} on {}", own.name, name_), run.failure);
    }
    std::error_code ignored;
    fs::remove(request.output_file, ignored);
  }
  oracle::Oracle plain = *plain_;
  TERN_RETURN_IF_ERROR(write_run(plain, std::string(kDouble), prompt_, folder_ / folder_name(kDouble)));
  for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
    TERN_RETURN_IF_ERROR(run_prompt(prompt_, rules, folder_ / folder_name(rules.name)));
  }
  return {};
}

Result<trace::EngineRun> DrawnModel::right_run(std::string_view engine) const {
  return trace::read_run_folder(folder_ / folder_name(engine));
}

Result<trace::EngineRun> DrawnModel::write_run(oracle::Oracle& engine, const std::string& engine_name,
                                               const std::vector<int32_t>& prompt, const fs::path& folder) const {
  const oracle::Hyperparameters& hp = plain_->hyperparameters();
  trace::RunFiles files;
  files.run_folder = folder;
  files.form = trace::TraceForm::kList;
  files.dump_tensors = true;
  files.n_vocab = hp.n_vocab;
  files.max_tensors = trace::kStageTable.size() * static_cast<uint64_t>(hp.n_layers + 1) * (1 + fed_.size());
  TERN_ASSIGN_OR_RETURN(trace::RunWriter writer, trace::RunWriter::begin(files));
  engine::GenerationRequest request{.prompt = prompt,
                                    .max_tokens = static_cast<int>(fed_.size()) + 1,
                                    .teacher = fed_,
                                    .interrupt = setting_.interrupt};
  request.recorder = writer.recorder();
  request.on_logits = [&writer](std::span<const float> rows) { return writer.append_logits(rows); };
  TERN_ASSIGN_OR_RETURN(const engine::Generation generation, generate_with(engine, kUbatch, request));
  trace::RunResult result;
  result.engine = engine_name;
  result.max_tokens = request.max_tokens;
  result.prompt_tokens = prompt;
  result.teacher_tokens = fed_;
  result.generated_tokens = generation.tokens;
  TERN_RETURN_IF_ERROR(writer.finish(result));
  return trace::read_run_folder(folder);
}

Result<trace::EngineRun> DrawnModel::run_faulty(const oracle::DrawnFault& fault, const oracle::Float32Rules& rules,
                                                const fs::path& folder) const {
  std::vector<int32_t> tokens = prompt_;
  tokens.insert(tokens.end(), fed_.begin(), fed_.end());
  const auto engine = oracle::make_faulty(*plain_, rules, std::move(tokens), fault);
  return write_run(*engine, "an engine with a drawn fault", prompt_, folder);
}

Result<trace::EngineRun> DrawnModel::run_prompt(const std::vector<int32_t>& prompt, const oracle::Float32Rules& rules,
                                                const fs::path& folder) const {
  oracle::Float32 engine(*plain_, rules);
  return write_run(engine, std::string(rules.name), prompt, folder);
}

Result<Comparison> DrawnModel::judge(trace::EngineRun subject, trace::EngineRun reference,
                                     const fs::path& folder) const {
  Comparison comparison;
  comparison.sides = {{subject.folder, std::move(subject)}, {reference.folder, std::move(reference)}};
  const arbiter::RunsToJudge runs{.subject = &comparison.sides.subject.run,
                                  .reference = &comparison.sides.reference.run};
  arbiter::JudgeOptions options;
  options.oracle = &engines_;
  TERN_ASSIGN_OR_RETURN(comparison.judgement,
                        arbiter::judge(runs, arbiter::question_about(setting_, folder, runs), options));
  return comparison;
}

Result<bool> DrawnModel::is_wrong(const trace::EngineRun& run, const fs::path& folder) const {
  const arbiter::RunsToJudge runs{.subject = &run};
  TERN_ASSIGN_OR_RETURN(const arbiter::Arbiter arbiter,
                        arbiter::Arbiter::ask(engines_, arbiter::question_about(setting_, folder, runs)));
  TERN_ASSIGN_OR_RETURN(const auto isolation, arbiter.isolate(run, "subject"));
  return isolation && std::any_of(isolation->errors().begin(), isolation->errors().end(),
                                  [](const auto& error) { return error.second.is_wrong(); });
}

}  // namespace tern::app
