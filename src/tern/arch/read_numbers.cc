#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "tern/arch/model_file.h"

namespace tern::arch {
namespace {

class Reader {
 public:
  Reader(const gguf::View& view, const Family& family) : view_(view), family_(family) {}

  Status read_counts(Numbers& numbers) const;
  Status read_numbers(Numbers& numbers) const;
  Status check_texts() const;
  Status check_heads(const Numbers& numbers) const;
  // Refuses keys that change the computation and that the family does not list.
  Status check_unknown_keys() const;

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", family_.name, name); }
  tl::unexpected<Error> wrong(std::string_view name, std::string what) const {
    return invalid_input(view_.where_key(key(name)), std::move(what));
  }
  Status read_count(const CountKey& count, Numbers& numbers) const;
  bool lists(std::string_view name) const;

  const gguf::View& view_;
  const Family& family_;
};

Status Reader::read_count(const CountKey& count, Numbers& numbers) const {
  const bool is_given = count.otherwise == nullptr || view_.has(key(count.name));
  int64_t value = 0;
  if (is_given) {
    TERN_ASSIGN_OR_RETURN(const uint64_t given, view_.get_uint(key(count.name), 1, count.high));
    value = static_cast<int64_t>(given);
  } else {
    value = count.otherwise(numbers);
  }
  if (count.field != nullptr) {
    numbers.*count.field = value;
  } else if (value != count.otherwise(numbers)) {
    return wrong(count.name,
                 fmt::format("is {}, but the other keys and tensors demand {}", value, count.otherwise(numbers)));
  }
  return {};
}

Status Reader::read_counts(Numbers& numbers) const {
  for (const CountKey& count : family_.counts) {
    TERN_RETURN_IF_ERROR(read_count(count, numbers));
    if (count.field == &Numbers::n_kv_heads || count.field == &Numbers::head_dim) {
      TERN_RETURN_IF_ERROR(check_heads(numbers));
    }
  }
  return {};
}

Status Reader::check_heads(const Numbers& n) const {
  constexpr std::string_view kHeadCount = "attention.head_count", kKeyLength = "attention.key_length";
  if (n.n_heads % n.n_kv_heads != 0) {
    return wrong("attention.head_count_kv", fmt::format("{} does not divide the {} heads", n.n_kv_heads, n.n_heads));
  }
  const bool has_key_length = view_.has(key(kKeyLength));
  if (!has_key_length && n.n_embd % n.n_heads != 0) {
    return wrong(kHeadCount, fmt::format("{} does not divide the embedding length {}", n.n_heads, n.n_embd));
  }
  if (n.head_dim % 2 != 0 || n.n_q() > static_cast<int64_t>(kMaxWidth)) {
    return wrong(has_key_length ? kKeyLength : kHeadCount,
                 fmt::format("{} heads of {} elements: odd, or too many", n.n_heads, n.head_dim));
  }
  return {};
}

Status Reader::read_numbers(Numbers& numbers) const {
  for (const NumberKey& number : family_.numbers) {
    const bool is_given = !number.otherwise || view_.has(key(number.name));
    TERN_ASSIGN_OR_RETURN(const double value, is_given ? view_.get_float(key(number.name)) : *number.otherwise);
    if (!(value >= number.low && value <= number.high)) {
      return wrong(number.name, fmt::format("{} is not in {} to {}", value, number.low, number.high));
    }
    if (number.field != nullptr) {
      numbers.*number.field = value;
    }
  }
  return {};
}

Status Reader::check_texts() const {
  for (const TextKey& text : family_.texts) {
    if (!view_.has(key(text.name))) {
      continue;
    }
    TERN_ASSIGN_OR_RETURN(const std::string_view value, view_.get_string(key(text.name)));
    if (std::find(text.allowed.begin(), text.allowed.end(), value) == text.allowed.end()) {
      return wrong(text.name, fmt::format("tern does not compute \"{}\"", printable(value)));
    }
  }
  return {};
}

bool Reader::lists(std::string_view name) const {
  const auto has_name = [name](const auto& entry) { return entry.name == name; };
  return std::any_of(family_.counts.begin(), family_.counts.end(), has_name) ||
         std::any_of(family_.numbers.begin(), family_.numbers.end(), has_name) ||
         std::any_of(family_.texts.begin(), family_.texts.end(), has_name);
}

Status Reader::check_unknown_keys() const {
  // Parts of the names of keys that change what is computed (llama.cpp, gguf-py/gguf/constants.py).
  constexpr std::array<std::string_view, 6> kChanging = {"scal", "rope.", "softcap", "clamp", "sliding", "expert"};
  constexpr std::string_view kInformationOnly = "rope.scaling.finetuned";
  const std::string prefix = key("");
  for (const gguf::Metadata& entry : view_.metadata()) {
    if (!entry.key.starts_with(prefix)) {
      continue;
    }
    const std::string_view name = entry.key.substr(prefix.size());
    const auto* const part = std::find_if(kChanging.begin(), kChanging.end(), [&](std::string_view changing) {
      return name.find(changing) != std::string_view::npos;
    });
    const auto* const count = std::get_if<uint64_t>(&entry.value);
    const bool is_zero = count != nullptr && *count == 0;  // no experts, no window
    if (part != kChanging.end() && !is_zero && name != kInformationOnly && !lists(name)) {
      return wrong(name,
                   fmt::format("this key changes what {} computes, and tern does not implement it", family_.name));
    }
  }
  return {};
}

}  // namespace

Result<const Family*> family_of(const gguf::View& view) {
  constexpr const char* kKey = "general.architecture";
  TERN_ASSIGN_OR_RETURN(const std::string_view name, view.get_string(kKey));
  const Family* family = find_family(name);
  if (family == nullptr) {
    return invalid_input(view.where_key(kKey), fmt::format("the architecture \"{}\" is not supported", printable(name)),
                         "known are " + family_names());
  }
  return family;
}

std::optional<uint64_t> context_length(const gguf::View& view) {
  const auto is_context = [](const CountKey& count) { return count.field == &Numbers::n_context; };
  const std::span<const CountKey> counts = families().front().counts;
  const auto key = std::find_if(counts.begin(), counts.end(), is_context);
  const auto architecture = view.get_string("general.architecture");
  if (!architecture || key == counts.end()) {
    return std::nullopt;
  }
  const auto length = view.get_uint(fmt::format("{}.{}", *architecture, key->name), 1, UINT32_MAX);
  return length ? std::optional(*length) : std::nullopt;
}

const gguf::Tensor* embedding_table(const gguf::View& view) {
  return view.find_tensor(tensor_name(*families().front().find(Role::kEmbedding), 0));
}

Result<Numbers> read_numbers(const gguf::View& view, const Family& family) {
  Numbers numbers;
  const std::string name = tensor_name(*family.find(Role::kEmbedding), 0);
  const gguf::Tensor* embedding = view.find_tensor(name);
  if (embedding == nullptr) {
    return invalid_input(view.name(), fmt::format("the tensor {} is missing", name));
  }
  if (embedding->n_rows() > kMaxVocab) {
    return invalid_input(view.where_tensor(*embedding), fmt::format("{} rows are too many", embedding->n_rows()));
  }
  numbers.n_vocab = static_cast<int64_t>(embedding->n_rows());
  const Reader reader(view, family);
  TERN_RETURN_IF_ERROR(reader.read_counts(numbers));
  TERN_RETURN_IF_ERROR(reader.read_numbers(numbers));
  TERN_RETURN_IF_ERROR(reader.check_texts());
  TERN_RETURN_IF_ERROR(reader.check_unknown_keys());
  return numbers;
}

}  // namespace tern::arch
