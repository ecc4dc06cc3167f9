#include "compare/run_builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/check.h"
#include "tern/base/file.h"

namespace tern::test {

RunBuilder RunBuilder::example() {
  RunBuilder builder;
  float value = 0.5F;
  for (const char* step : {"", "t1/"}) {
    const auto add = [&](const std::string& name) {
      value += 0.25F;
      builder.tensors[step + name] = {value, -value, value * 2, 1.0F};
    };
    add("embeddings");
    for (const char* layer : {"blk0/", "blk1/"}) {
      for (const char* stage : {"attn_norm", "q_proj", "k_proj", "ffn_act", "ffn_sub_norm", "down_proj", "out"}) {
        add(std::string(layer) + stage);
      }
    }
    add("output_norm");
  }
  builder.logits = {{0, 1, 0.5F, 0.25F}, {0, 1, 2, 3}, {0, 1, 4, 3}};
  builder.tensors["logits"] = {0, 1, 2, 3};
  builder.tensors["t1/logits"] = {0, 1, 4, 3};
  return builder;
}

trace::EngineRun RunBuilder::build(const TemporaryFolder& folder) const {
  std::filesystem::path path;
  for (int i = 0; path.empty() || std::filesystem::exists(path); ++i) {
    path = folder.path() / ("run" + std::to_string(i));
  }
  trace::RunResult result;
  result.engine = "hand-made";
  result.arithmetic = arithmetic;
  result.prompt = prompt;
  result.max_tokens = max_tokens;
  result.settings = settings;
  result.prompt_tokens = prompt_tokens;
  result.generated_tokens = generated_tokens;
  result.teacher_tokens = teacher_tokens;
  TERN_CHECK(write_file(path / "result.json", to_json_text(trace::to_json(result))).has_value());
  std::vector<trace::TraceRecord> records;
  auto values = trace::SafetensorsWriter::create(path / "tensors.safetensors", 1 << 16);
  TERN_CHECK(values.has_value());
  for (const auto& [name, data] : tensors) {
    const auto rows = static_cast<int64_t>(n_rows.contains(name) ? n_rows.at(name) : 1);
    const trace::Shape shape = {rows, static_cast<int64_t>(data.size()) / rows};
    const auto id = trace::TensorId::parse(name);
    TERN_CHECK(id.has_value());
    records.push_back(trace::make_record(*id, shape, data));
    if (rms_digits > 0 && records.back().finite_rms()) {
      records.back().rms = std::stod(fmt::format("{:.{}g}", *records.back().rms, rms_digits));
    }
    TERN_CHECK(values->add(name, shape, data).has_value());
  }
  std::sort(records.begin(), records.end(), [this](const auto& a, const auto& b) {
    const auto place = [this](const auto& record) {
      return std::find(order.begin(), order.end(), record.id.name()) - order.begin();
    };
    return std::pair(place(a), a.id) < std::pair(place(b), b.id);
  });
  std::string lines;
  for (const trace::TraceRecord& record : records) {
    lines += to_json_line(trace::to_json(record)) + "\n";
  }
  if (!lines.empty()) {
    TERN_CHECK(write_file(path / "trace.jsonl", lines).has_value());
  }
  if (with_values) {
    TERN_CHECK(values->finish().has_value());
  }
  if (!logits.empty()) {
    auto writer = trace::SafetensorsWriter::create(path / "logits.safetensors", 1 << 12);
    TERN_CHECK(writer && writer->begin_rows("logits", static_cast<int64_t>(logits.front().size())));
    for (const auto& row : logits) {
      TERN_CHECK(writer->append_rows(row).has_value());
    }
    TERN_CHECK(writer->end_rows() && writer->finish());
  }
  auto run = trace::read_run_folder(path);
  TERN_CHECK(run.has_value());
  return std::move(*run);
}

}  // namespace tern::test
