// Every engine that --reference and --subject can name: one table, keyed by scheme. What stands behind the colon, the
// help texts, the error for an unknown scheme and the opening all come from a scheme's row.
// One more scheme of tern's own is one file and one row of engine_registry.cc; one more adapter is a folder under
// adapters/ with a manifest (adapter/manifest.h), and no change here.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/peer/open_engine.h"

namespace tern::peer {

// What a user writes after --reference and --subject.
struct EngineSpec {
  std::string scheme;    // "pack"
  std::string argument;  // what stands behind the colon; empty where the scheme takes nothing

  std::string text() const;  // as written: "pack:DIR", "auto"
};

class EngineRegistry;

struct EngineScheme {
  std::string name;      // "pack"
  std::string argument;  // what stands behind the colon, for help: "DIR"; empty: nothing, and no colon
  std::string about;     // one line
  EngineTraits traits = {};
  // Errors: see EngineRegistry::open().
  std::function<Result<OpenedEngine>(const EngineRegistry& registry, const EngineSpec& spec, const Subject& subject,
                                     const OpenOptions& options)>
      open;

  std::string form() const;  // "pack:DIR"
};

class EngineRegistry {
 public:
  // tern's own schemes, `more` (of the caller's room), and those of the adapters in the folders of `recipe`. A manifest
  // that cannot be used, or whose scheme is taken, is a problem and no error: it is reported where its scheme is named.
  static EngineRegistry load(const AdapterRecipe& recipe, std::vector<EngineScheme> more = {});

  // `option`: "--reference" or "--subject", for the error. Errors: kUsage: an unknown scheme, with the nearest one, all
  // there are and the adapters that cannot be used; nothing behind the colon.
  Result<EngineSpec> parse(std::string_view text, const std::string& option) const;

  // Errors: kUsage for a command that cannot be parsed, a setting that the engine does not have; kIo, kInvalidInput for
  // a pack that is damaged, or that belongs to another model or tokenizer (unless allowed); for adapters those of
  // adapter/library.h and adapter/build.h. `auto` takes none of those for an error but a damaged pack: what it passed
  // by is in the note.
  Result<OpenedEngine> open(const EngineSpec& spec, const Subject& subject, const OpenOptions& options) const;

  // The engine that it means as a subject: tern's own for `auto`.
  EngineSpec as_subject(const EngineSpec& spec) const;

  // Null where there is none of this name.
  const EngineScheme* find(std::string_view scheme) const;
  const std::vector<EngineScheme>& schemes() const { return schemes_; }
  // "auto, none, pack:DIR, ...": of those that `wanted` takes, in the table's order.
  std::string forms(const std::function<bool(const EngineScheme&)>& wanted = {}) const;

 private:
  std::vector<EngineScheme> schemes_;
  std::vector<Error> problems_;
};

// The bitnet.cpp tree that `auto` looks for.
EngineSpec tree_of_auto(const OpenOptions& options);

}  // namespace tern::peer
