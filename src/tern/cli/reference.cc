#include <fmt/format.h>

#include <memory>

#include "tern/cli/command.h"
#include "tern/cli/live_reference.h"

namespace tern::cli {
namespace {

Result<int> build(const std::string& text) {
  TERN_ASSIGN_OR_RETURN(peer::EngineSpec spec, peer::parse_engine_spec(text, "--reference"));
  const peer::OpenOptions options = reference_options("--reference");
  if (spec.kind == peer::EngineKind::kAuto) {
    spec = {peer::EngineKind::kBitnetCpp, options.bitnet_cpp_dir.string()};
  }
  if (spec.kind != peer::EngineKind::kBitnetCpp && spec.kind != peer::EngineKind::kLlamaCpp) {
    return fail(ErrorCode::kUsage, "--reference " + printable(text), "needs no adapter",
                "only bitnet.cpp:DIR and llama.cpp:DIR do");
  }
  TERN_ASSIGN_OR_RETURN(const peer::OpenedEngine opened, peer::open_engine(spec, {}, options));
  const auto print = [](std::string_view label, const Json& value) {
    if (value.is_string()) {
      fmt::print("{:<10}{}\n", label, printable(value.get<std::string>(), 1000));
    }
  };
  const Json& facts = opened.details["engine"];
  print("Engine:", opened.engine);
  print("Found:", opened.spec + " (" + opened.details["layout"].get<std::string>() + ")");
  print("Adapter:", opened.details["adapter"]);
  for (const Json& library : facts["libraries"]) {
    print("Library:", library["path"]);
    print("  sha256:", library["sha256"]);
  }
  print("Built for:", facts["system_info"]);
  print("CPU:", facts["cpu"]);
  return 0;
}

}  // namespace

void add_reference(CLI::App& app, Action& action) {
  CLI::App* group = app.add_subcommand("reference", "Live references: bitnet.cpp and llama.cpp");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand(
      "build", "Compile the adapter that makes a libllama an engine, and say which library it is");
  auto reference = std::make_shared<std::string>("auto");
  command
      ->add_option("--reference", *reference,
                   "bitnet.cpp:DIR or llama.cpp:DIR; auto is bitnet.cpp in BITNET_CPP_DIR or ~/.cache/bitnet_cpp")
      ->capture_default_str();
  command->footer(
      "Example: tern reference build --reference bitnet.cpp:/opt/bitnet.cpp\n"
      "A sweep does this by itself. Adapters are kept in ~/.cache/tern (XDG_CACHE_HOME) until headers, libraries or\n"
      "tern change.");
  command->callback([reference, &action] { action = [reference] { return build(*reference); }; });
}

}  // namespace tern::cli
