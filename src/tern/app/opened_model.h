// A model and its tokenizer, opened and held against each other before anything runs: what sweep and validate
// start from.
#pragma once

#include <filesystem>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/outcome/facts.h"
#include "tern/peer/open_engine.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::app {

struct OpenedModel {
  gguf::View view;
  std::optional<tokenizer::Tokenizer> tokenizer;  // absent only where it may be
  outcome::ModelFacts model_facts;
  outcome::TokenizerFacts tokenizer_facts;
};

// Errors: kIo ("Model not found: ...", "Tokenizer not found: ..."); kInvalidInput for files that are not what they have
// to be, and for a tokenizer that belongs to another vocabulary: more ids than the model has embeddings, or a tenth of
// the ids that both have spelled differently. Smaller disagreements are in tokenizer_facts. Hashes the whole model.
// With kOrByTheEngines, a vocabulary that stands in the model's own file and that tern cannot read is no error: engines
// tokenize prompts themselves, and tokenizer_facts say why.
enum class Tokenized { kByTern, kOrByTheEngines };
Result<OpenedModel> open_model_and_tokenizer(const std::filesystem::path& model, const std::filesystem::path& tokenizer,
                                             Tokenized tokenized = Tokenized::kByTern);

// `tokenizer` where it is given; else the tokenizer.json beside the model, else the model's own vocabulary.
std::string tokenizer_for(const std::string& model, const std::string& tokenizer);

// What recordings are checked against.
peer::Subject subject_of(const std::filesystem::path& model, const OpenedModel& opened);

// `token_ids` where there are any, else the prompt's, with BOS. Errors: those of the tokenizer.
Result<std::vector<int32_t>> prompt_ids(const tokenizer::Tokenizer& tokenizer, const std::string& prompt,
                                        const std::vector<int32_t>& token_ids);

// How many there are. Where only the engines tokenize, as many as the prompt has bytes, and BOS: an upper bound.
Result<size_t> count_prompt_ids(const OpenedModel& opened, const std::string& prompt,
                                const std::vector<int32_t>& token_ids);

// Errors: kInvalidInput where the tokenizer (from `path`) belongs to another vocabulary, see above.
Status check_vocabulary(const tokenizer::Tokenizer& tokenizer, const std::filesystem::path& path,
                        const gguf::View& view);

// Whether our own engine can compute this model at all. Errors: kInvalidInput, naming the key or tensor.
Status check_computable(const gguf::View& view);

// Whether the oracle can, which takes every format that has a decoder. Errors: as above.
Status check_oracle_can_compute(const gguf::View& view);

}  // namespace tern::app
