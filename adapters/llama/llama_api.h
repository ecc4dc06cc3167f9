// The differences between the libllama of 2024 (bitnet.cpp's) and that of 2025 and 2026. Each function checks at
// compile time whether the headers declare the newer name, so versions in between work as well, and nothing is
// configured. The functions are templates, because only a template may use a name that is not declared.
// Argument-dependent lookup finds the names that are, since libllama's types live in the global namespace.
// Sources: include/llama.h of llama.cpp in October 2024 (bitnet.cpp's 3rdparty) and of version 0.5.0.
#pragma once

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace tern::adapter::api {

template <class Params = llama_model_params>
constexpr const char* generation() {
  if constexpr (requires(Params params) { llama_model_load_from_file("", params); }) {
    return "2025";
  } else {
    return "2024";
  }
}

// Restricts the library to the CPU: other devices are not validated.
template <class Params = llama_model_params>
llama_model* load_model(const char* path, Params params = llama_model_default_params()) {
  params.n_gpu_layers = 0;
  if constexpr (requires { params.devices; }) {
    std::remove_pointer_t<decltype(params.devices)> none[] = {nullptr};
    params.devices = none;
    return llama_model_load_from_file(path, params);
  } else if constexpr (requires { llama_model_load_from_file(path, params); }) {
    return llama_model_load_from_file(path, params);
  } else {
    return llama_load_model_from_file(path, params);
  }
}

template <class Model>
void free_model(Model* model) {
  if constexpr (requires { llama_model_free(model); }) {
    llama_model_free(model);
  } else {
    llama_free_model(model);
  }
}

// "off", "on", and since 2025 "auto".
template <class Params = llama_context_params>
std::vector<std::string> flash_attention_values() {
  if constexpr (requires(Params params) { params.flash_attn_type; }) {
    return {"off", "on", "auto"};
  } else {
    return {"off", "on"};
  }
}

// With it there are no attention scores to see. False: `value` is none of flash_attention_values().
template <class Params>
bool set_flash_attention(Params& params, const std::string& value) {
  const std::vector<std::string> values = flash_attention_values<Params>();
  if (std::find(values.begin(), values.end(), value) == values.end()) return false;
  if constexpr (requires { params.flash_attn_type; }) {
    // enum llama_flash_attn_type
    params.flash_attn_type = static_cast<decltype(params.flash_attn_type)>(value == "auto" ? -1
                                                                           : value == "on" ? 1
                                                                                           : 0);
  } else {
    params.flash_attn = value == "on";
  }
  return true;
}

// Everything is computed on the CPU.
template <class Params>
void keep_on_cpu(Params& params) {
  if constexpr (requires { params.op_offload; }) params.op_offload = false;
  params.offload_kqv = false;
}

template <class Model>
llama_context* new_context(Model* model, llama_context_params params) {
  if constexpr (requires { llama_init_from_model(model, params); }) {
    return llama_init_from_model(model, params);
  } else {
    return llama_new_context_with_model(model, params);
  }
}

// What llama_tokenize() and llama_token_to_piece() take first: once the model, now its vocabulary.
template <class Model>
auto vocabulary(const Model* model) {
  if constexpr (requires { llama_model_get_vocab(model); }) {
    return llama_model_get_vocab(model);
  } else {
    return model;
  }
}

// How ggml widens a row of that type to float32; null where it does not.
template <class Type>
auto decoder_of(Type type) {
  if constexpr (requires { ggml_get_type_traits(type)->to_float; }) {
    return ggml_get_type_traits(type)->to_float;
  } else {
    return ggml_internal_get_type_traits(type).to_float;
  }
}

template <class Vocabulary>
int32_t n_vocab(const Vocabulary* vocabulary) {
  if constexpr (requires { llama_vocab_n_tokens(vocabulary); }) {
    return llama_vocab_n_tokens(vocabulary);
  } else {
    return llama_n_vocab(vocabulary);
  }
}

template <class Model>
int32_t n_ctx_train(const Model* model) {
  if constexpr (requires { llama_model_n_ctx_train(model); }) {
    return llama_model_n_ctx_train(model);
  } else {
    return llama_n_ctx_train(model);
  }
}

template <class Model>
int32_t n_layer(const Model* model) {
  if constexpr (requires { llama_model_n_layer(model); }) {
    return llama_model_n_layer(model);
  } else {
    return llama_n_layer(model);
  }
}

}  // namespace tern::adapter::api
