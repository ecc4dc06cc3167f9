#include "tern/tokenizer/token_models.h"

#include <algorithm>

namespace tern::tokenizer {

// bpe_loaders.cc
Status load_bpe(const Node& model, Definition& definition);
Result<bool> load_bpe(const GgufTokens& tokens, Definition& definition);
// sentencepiece.cc
Result<bool> load_sentencepiece(const GgufTokens& tokens, Definition& definition);

namespace {

constexpr JsonTokenModel kJsonTokenModels[] = {
    {"BPE", true, load_bpe},
};

constexpr GgufTokenModel kGgufTokenModels[] = {
    {"gpt2", 11, 11, load_bpe},
    {"llama", 1, 2, load_sentencepiece},
};

template <class Row, size_t kRows>
const Row* find_row(const Row (&table)[kRows], std::string_view Row::*name, std::string_view wanted) {
  const Row* row = std::find_if(table, table + kRows, [&](const Row& each) { return each.*name == wanted; });
  return row == table + kRows ? nullptr : row;
}

template <class Row, size_t kRows>
std::string known_names(const Row (&table)[kRows], std::string_view Row::*name) {
  std::string names = "supported: ";
  for (const Row& row : table) {
    names.append(&row == table ? "" : ", ").append(row.*name);
  }
  return names;
}

}  // namespace

Result<const JsonTokenModel*> find_json_token_model(const Node& model) {
  TERN_ASSIGN_OR_RETURN(const auto type, model.find("type"));
  if (!type) {  // files before 2020 have none
    return find_row(kJsonTokenModels, &JsonTokenModel::type, "BPE");
  }
  TERN_ASSIGN_OR_RETURN(const std::string_view name, type->string());
  const JsonTokenModel* found = find_row(kJsonTokenModels, &JsonTokenModel::type, name);
  if (found == nullptr) {
    return type->refused("the model type " + in_quotes(name) + " is not supported",
                         known_names(kJsonTokenModels, &JsonTokenModel::type));
  }
  return found;
}

Result<const GgufTokenModel*> find_gguf_token_model(const gguf::View& view) {
  constexpr const char* kKey = "tokenizer.ggml.model";
  TERN_ASSIGN_OR_RETURN(const std::string_view name, view.get_string(kKey));
  const GgufTokenModel* found = find_row(kGgufTokenModels, &GgufTokenModel::name, name);
  if (found == nullptr) {
    return invalid_input(view.where_key(kKey), "the vocabulary type '" + printable(name, 60) + "' is not supported",
                         known_names(kGgufTokenModels, &GgufTokenModel::name));
  }
  return found;
}

}  // namespace tern::tokenizer
