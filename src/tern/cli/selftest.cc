// `tern selftest`: proof that the judge can fail an engine. Engines that really have a fault run through the whole
// pipeline (child process, files, comparison, oracle), and the judge must say where they first go wrong, and why.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <memory>
#include <tuple>

#include "tern/app/own_engine.h"
#include "tern/app/third_opinion.h"
#include "tern/app/until_interrupted.h"
#include "tern/arbiter/arbiter.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/compare/compare_runs.h"
#include "tern/oracle/faults.h"
#include "tern/synth/synthetic_model.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxTokens = 4;

// A line of the table. What cannot be told apart from a right engine on this model is said to be so, never passed over.
struct Line {
  std::string fault, does;
  std::string injected = {};  // where the faulty engine first differs from the right one at all
  std::string expected = {};  // the cause's id, or a verdict
  std::string found_at = {}, found = {};
  std::string evidence = {};
  enum class Result {
    kRight,
    kLate,    // named, but first seen behind the place: there, rounding could have done as much
    kHidden,  // not seen, since rounding could have done as much everywhere
    kWrong,
    kNotOnThisModel,
  } result = Result::kWrong;
};

std::string_view result_name(Line::Result result) {
  switch (result) {
    case Line::Result::kRight:
      return "right";
    case Line::Result::kLate:
      return "named, seen late";
    case Line::Result::kHidden:
      return "hidden by rounding";
    case Line::Result::kWrong:
      return "WRONG";
    case Line::Result::kNotOnThisModel:
      return "not on this model";
  }
  return "?";
}

// What is done to a copy of the model file. Tensors keep their places and sizes.
struct FileFault {
  const char* name;
  const char* does;
  const char* cause;
  Status (*apply)(const gguf::View& view, std::string& bytes);
};

Result<const gguf::Tensor*> tensor_of(const gguf::View& view, const std::string& name) {
  const gguf::Tensor* tensor = view.find_tensor(name);
  return tensor != nullptr ? Result<const gguf::Tensor*>(tensor) : invalid_input(view.name(), "has no tensor " + name);
}

// Each weight of the row 7 becomes its opposite: codes 0 and 2 change places.
Status negate_a_row(const gguf::View& view, std::string& bytes) {
  TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, tensor_of(view, "blk.2.ffn_up.weight"));
  const uint64_t row_bytes = tensor->n_cols() / 4;
  for (uint64_t i = 0; i < row_bytes; ++i) {
    char& byte = bytes[tensor->file_offset + 7 * row_bytes + i];
    byte = static_cast<char>(0xaa - static_cast<unsigned char>(byte));  // 2 - code in each of the four
  }
  return {};
}

Status forget_scales(const gguf::View& view, std::string& bytes) {
  const float one = 1;
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.format == &quant::kI2sBitnetCpp) {
      std::copy_n(reinterpret_cast<const char*>(&one), sizeof(one),
                  bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset + tensor.n_elements() / 4));
    }
  }
  return {};
}

Status swap_gate_and_up(const gguf::View& view, std::string& bytes) {
  for (int layer = 0; view.find_tensor(fmt::format("blk.{}.ffn_up.weight", layer)) != nullptr; ++layer) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* up, tensor_of(view, fmt::format("blk.{}.ffn_up.weight", layer)));
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* gate, tensor_of(view, fmt::format("blk.{}.ffn_gate.weight", layer)));
    const auto at = [&](const gguf::Tensor& tensor) {
      return bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset);
    };
    std::swap_ranges(at(*up), at(*up) + static_cast<std::ptrdiff_t>(up->data.size()), at(*gate));
  }
  return {};
}

// Rewrites each block of 128 so that its right reader sees what a reader with blocks of 64 makes of the right file.
Status pack_for_block_64(const gguf::View& view, std::string& bytes) {
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.format != &quant::kI2sBitnetCpp) {
      continue;
    }
    for (uint64_t block = 0; block < tensor.n_elements() / 128; ++block) {
      const auto old = tensor.data.subspan(block * 32, 32);
      std::array<unsigned char, 32> packed{};
      for (size_t c = 0; c < 128; ++c) {
        const auto byte = std::to_integer<unsigned>(old[c / 64 * 16 + c % 16]);
        const unsigned code = byte >> (6 - 2 * (c % 64 / 16)) & 3;
        packed[c % 32] = static_cast<unsigned char>(packed[c % 32] | code << (6 - 2 * (c / 32)));
      }
      std::copy_n(reinterpret_cast<const char*>(packed.data()), packed.size(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset + block * 32));
    }
  }
  return {};
}

constexpr FileFault kFileFaults[] = {
    {"one negated row", "our engine on a copy of the model in which one row of blk.2.ffn_up is negated", "weight_value",
     negate_a_row},
    {"scales of 1", "our engine on a copy of the model whose ternary tensors have the scale 1", "weight_scale",
     forget_scales},
    {"gate for up", "our engine on a copy of the model in which gate and up change places", "weights_swapped",
     swap_gate_and_up},
    {"blocks of 64", "our engine on a copy of the model packed as a reader of blocks of 64 sees it", "i2s_block_size",
     pack_for_block_64},
};

class Selftest {
 public:
  Selftest(const app::OnePromptOptions& options, peer::RunSetting setting, const fs::path& folder)
      : options_(options), setting_(std::move(setting)), folder_(folder) {}

  Result<std::vector<Line>> run() {
    const std::function<Status()> all = [this]() -> Status {
      TERN_RETURN_IF_ERROR(faults([](const oracle::Fault&) { return true; }));
      TERN_RETURN_IF_ERROR(file_faults());
      TERN_RETURN_IF_ERROR(prompts());
      TERN_RETURN_IF_ERROR(clean());
      return vacuous();
    };
    TERN_RETURN_IF_ERROR(with_reference(all));
    TERN_RETURN_IF_ERROR(on_another_model());
    return std::move(lines_);
  }

 private:
  // Our engine's run, and an arbiter about it, for `judge_all`.
  Status with_reference(const std::function<Status()>& judge_all) {
    reference_ = {};
    std::error_code ignored;
    fs::remove_all(folder_ / "oracle-run", ignored);  // about the model before
    TERN_ASSIGN_OR_RETURN(engines_, app::oracle_engines());
    TERN_ASSIGN_OR_RETURN(ours_, app::make_tern_peer({}));
    TERN_ASSIGN_OR_RETURN(reference_, run_engine(*ours_, setting_.model, {}, "reference"));
    arbiter::Question question(setting_, folder_, *reference_.run);
    TERN_ASSIGN_OR_RETURN(arbiter::Arbiter arbiter, arbiter::Arbiter::ask(engines_, std::move(question)));
    arbiter_ = &arbiter;
    return judge_all();
  }

  // A head of its own is what the bundled model has not. So the fault that takes the embeddings for it is put to a
  // small random model of the llama architecture, which has one.
  Status on_another_model() {
    const auto is_tying = [](const auto& line) { return line.fault == "head_tying"; };
    const auto line = std::find_if(lines_.begin(), lines_.end(), is_tying);
    if (line == lines_.end() || line->result != Line::Result::kNotOnThisModel) {
      return {};
    }
    synth::SyntheticOptions synthetic{.shape = *synth::synthetic_shape("tiny"), .architecture = "llama"};
    const fs::path model = folder_ / "synthetic.gguf";
    TERN_RETURN_IF_ERROR(synth::write_synthetic_model(model, synthetic));
    setting_.model = setting_.tokenizer = model;
    const std::function<Status()> only = [this] {
      return faults([](const oracle::Fault& fault) { return fault.cause == "head_tying"; });
    };
    const auto place = line - lines_.begin();
    TERN_RETURN_IF_ERROR(with_reference(only));
    lines_.back().fault += ", on a synthetic model";
    lines_[static_cast<size_t>(place)] = std::move(lines_.back());
    lines_.pop_back();
    return {};
  }

  // Fed the reference's tokens, so that every pass can be compared. `token_ids`: instead of the prompt.
  Result<peer::PeerRun> run_engine(const peer::Peer& engine, const fs::path& model,
                                   const std::vector<int32_t>& token_ids, const std::string& name) {
    const fs::path folder = folder_ / fmt::format("{}-{}", n_runs_++, name);
    TERN_RETURN_IF_ERROR(create_folder(folder));
    peer::RunRequest request(setting_);
    request.model = model;
    request.prompt = options_.prompt;
    request.token_ids = token_ids;
    request.max_tokens = kMaxTokens;
    if (reference_.run) {
      request.teacher_tokens = reference_.run->result.generated_tokens;
      request.teacher_tokens.pop_back();
    }
    request.dump_tensors = true;
    request.run_folder = folder / "run";
    request.output_file = folder / "output.txt";
    TERN_ASSIGN_OR_RETURN(peer::PeerRun run, engine.run(request));
    if (!run.run) {
      return fail(ErrorCode::kEngine, name, run.failure);
    }
    return run;
  }

  void add(Line line) {
    std::fprintf(stderr, "%-26s %s\n", line.fault.c_str(), std::string(result_name(line.result)).c_str());
    lines_.push_back(std::move(line));
  }

  static void fill(Line& line, const arbiter::Opinion& opinion) {
    line.found = opinion.cause ? opinion.cause->id : "nothing";
    line.found_at = opinion.cause ? opinion.cause->name : "";
    line.evidence = opinion.cause ? opinion.cause->evidence : opinion.arbitration.reason;
  }

  // The judge against one engine that has a fault; `right`: an engine that differs from it by the fault alone.
  Status judge(Line line, const trace::EngineRun& subject, const trace::EngineRun& right) {
    const compare::RunComparison difference = compare::compare_runs(subject, right);
    line.injected = difference.first_hash_difference ? difference.first_hash_difference->name() : "";
    TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion, arbiter_->judge(subject, nullptr));
    fill(line, opinion);
    line.result = result_of(line, opinion.arbitration, difference.first_hash_difference);
    add(std::move(line));
    return {};
  }

  static Line::Result result_of(const Line& line, const compare::Arbitration& arbitration,
                                const std::optional<trace::TensorId>& injected) {
    if (!injected) {
      return Line::Result::kNotOnThisModel;
    }
    const compare::StageArbitration* place = arbitration.find(*injected);
    const bool within_rounding = place != nullptr && place->sides.subject.error && !place->sides.subject.wrong;
    if (arbitration.wrong() == compare::Wrong::kNeither && within_rounding && line.found == "nothing") {
      return Line::Result::kHidden;
    }
    if (arbitration.wrong() != compare::Wrong::kSubject || line.found != line.expected) {
      return Line::Result::kWrong;
    }
    return line.found_at == line.injected ? Line::Result::kRight
           : within_rounding              ? Line::Result::kLate
                                          : Line::Result::kWrong;
  }

  // The oracle with one fault, held against our fast engine; a wrong constant as the fault chooses it, and another one.
  Status faults(bool (*is_wanted)(const oracle::Fault&)) {
    for (const oracle::Fault& fault : oracle::known_faults()) {
      if (fault.cause.empty() || !is_wanted(fault)) {
        continue;
      }
      TERN_RETURN_IF_ERROR(judge_fault(fault, std::string(fault.name)));
      if (!fault.values.empty()) {
        TERN_RETURN_IF_ERROR(judge_fault(fault, fmt::format("{}={}", fault.name, fault.values.back())));
      }
    }
    return {};
  }

  Status judge_fault(const oracle::Fault& fault, const std::string& name) {
    TERN_ASSIGN_OR_RETURN(const auto engine, app::make_tern_peer({"--engine", "oracle", "--fault", name}));
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*engine, setting_.model, {}, name));
    Line line{.fault = name, .does = std::string(fault.does)};
    line.expected = fault.cause;
    return judge(std::move(line), *run.run, arbiter_->oracle());
  }

  // Our fast engine on a changed file, held against itself on the right one.
  Status file_faults() {
    TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(setting_.model));
    for (const FileFault& fault : kFileFaults) {
      Line line{.fault = fault.name, .does = fault.does};
      line.expected = fault.cause;
      std::string bytes(reinterpret_cast<const char*>(view.bytes().data()), view.bytes().size());
      if (view.format_of_type(quant::kI2sBitnetCpp.type_id) != &quant::kI2sBitnetCpp || !fault.apply(view, bytes)) {
        line.result = Line::Result::kNotOnThisModel;
        add(std::move(line));
        continue;
      }
      const fs::path model = folder_ / "changed.gguf";
      TERN_RETURN_IF_ERROR(write_file(model, bytes));
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*ours_, model, {}, "changed-file"));
      TERN_RETURN_IF_ERROR(judge(std::move(line), *run.run, *reference_.run));
    }
    return {};
  }

  // Other ids of the same prompt.
  Status prompts() {
    const std::vector<int32_t>& ids = reference_.run->result.prompt_tokens;
    if (ids.size() < 2) {
      return fail(ErrorCode::kUsage, "--prompt", "must become at least two token ids, so that one can be missing");
    }
    std::vector<int32_t> without_first(ids.begin() + 1, ids.end());
    std::vector<int32_t> another = ids;
    int32_t& changed = another[another.size() / 2];
    changed = changed == 0 ? 1 : 0;
    for (auto& [name, cause, tokens] :
         {std::tuple("no BOS", "missing_bos", without_first), std::tuple("other ids", "tokenizer", another)}) {
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*ours_, setting_.model, tokens, "other-prompt"));
      TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion, arbiter_->judge(*run.run, &*reference_.run));
      Line line{.fault = name, .does = "our engine on other token ids of the prompt", .injected = "tokens"};
      line.expected = cause;
      fill(line, opinion);
      line.result =
          line.found == line.expected && line.found_at == line.injected ? Line::Result::kRight : Line::Result::kWrong;
      add(std::move(line));
    }
    return {};
  }

  // Engines that are right must not be blamed.
  Status clean() {
    struct Engine {
      const char* name;
      const char* does;
      std::vector<std::string> words;
    };
    for (const Engine& right :
         {Engine{"none, our engine", "our engine once more", {}},
          Engine{"none, token by token", "our engine, the prompt token by token", {"--token-by-token"}},
          Engine{"none, other rounding",
                 "our engine with activations rounded in one step",
                 {"--activation-rounding", "fused"}},
          Engine{"none, the oracle", "the oracle without a fault", {"--engine", "oracle"}}}) {
      TERN_ASSIGN_OR_RETURN(const auto engine, app::make_tern_peer(right.words));
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*engine, setting_.model, {}, "clean"));
      TERN_ASSIGN_OR_RETURN(const arbiter::Opinion opinion, arbiter_->judge(*run.run, nullptr));
      Line line{.fault = right.name, .does = right.does};
      line.expected = "nothing";
      fill(line, opinion);
      line.result = !opinion.cause && opinion.arbitration.wrong() == compare::Wrong::kNeither ? Line::Result::kRight
                                                                                              : Line::Result::kWrong;
      add(std::move(line));
    }
    return {};
  }

  // Two runs that agree and prove nothing.
  Status vacuous() {
    for (const std::string name : {"all_zero", "nan"}) {
      TERN_ASSIGN_OR_RETURN(const auto engine, app::make_tern_peer({"--engine", "oracle", "--fault", name}));
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(*engine, setting_.model, {}, name));
      const auto comparison = compare::compare_runs(*run.run, *run.run);
      Line line{.fault = name + " on both sides", .does = std::string(oracle::find_fault(name)->does)};
      line.expected = "mistrusted";
      line.found = compare::verdict_name(comparison.verdict.kind);
      line.evidence = comparison.verdict.reason;
      line.result = line.found == line.expected ? Line::Result::kRight : Line::Result::kWrong;
      add(std::move(line));
    }
    return {};
  }

  const app::OnePromptOptions& options_;
  peer::RunSetting setting_;
  const fs::path& folder_;
  arbiter::OracleEngines engines_;
  std::unique_ptr<peer::Peer> ours_;
  peer::PeerRun reference_;
  const arbiter::Arbiter* arbiter_ = nullptr;
  size_t n_runs_ = 0;
  std::vector<Line> lines_;
};

void print(const std::vector<Line>& lines) {
  const auto cell = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  fmt::print("| fault | first differs at | found at | named | |\n| --- | --- | --- | --- | --- |\n");
  for (const Line& line : lines) {
    fmt::print("| {} | {} | {} | {} | {} |\n", line.fault, cell(line.injected), cell(line.found_at), line.found,
               result_name(line.result));
  }
}

Json to_json(const std::vector<Line>& lines) {
  Json json = Json::array();
  for (const Line& line : lines) {
    json.push_back({{"fault", line.fault},
                    {"does", line.does},
                    {"first_differs_at", line.injected},
                    {"expected", line.expected},
                    {"found_at", line.found_at},
                    {"found", line.found},
                    {"evidence", line.evidence},
                    {"result", result_name(line.result)}});
  }
  return json;
}

Result<int> selftest(const app::OnePromptOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, app::run_setting(options, interrupt));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  TERN_ASSIGN_OR_RETURN(const std::vector<Line> lines, Selftest(options, setting, scratch.path()).run());
  const auto count = [&](Line::Result result) {
    return std::count_if(lines.begin(), lines.end(), [&](const Line& line) { return line.result == result; });
  };
  if (options.json) {
    fmt::print("{}", to_json_text(to_json(lines)));
  } else {
    print(lines);
    fmt::print("\n{} right, {} named but seen late, {} hidden by rounding, {} wrong, {} that this model cannot have\n",
               count(Line::Result::kRight), count(Line::Result::kLate), count(Line::Result::kHidden),
               count(Line::Result::kWrong), count(Line::Result::kNotOnThisModel));
  }
  return count(Line::Result::kWrong) == 0 ? 0 : 1;
}

}  // namespace

void add_selftest(Command& app, Action& action) {
  auto* command = app.add_subcommand("selftest", "Prove that the judge can fail: engines with known faults");
  auto options = std::make_shared<app::OnePromptOptions>();
  add_one_prompt_options(*command, *options);
  command->footer(
      "Each engine really has its fault and runs as a child process. The judge must say where it first goes wrong, "
      "and\n"
      "why; engines that are right must pass, and runs that prove nothing must be mistrusted.\n"
      "Exit codes: 0 all right, 1 the judge was wrong at least once.\n"
      "Example: tern selftest");
  command->callback([options, &action] {
    action = [options] {
      return app::until_interrupted([&](const Interrupt& interrupt) { return selftest(*options, interrupt); });
    };
  });
}

}  // namespace tern::cli
