#include "tern/bisect/hybrid_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "tern/gguf/copy.h"
#include "tern/gguf/writer.h"
#include "tern/quant/format.h"

namespace tern::bisect {
namespace {

using gguf::Metadata;
using gguf::Tensor;
using gguf::View;
using Kind = ModelChange::Kind;

constexpr const char* kAlignmentKey = "general.alignment";
constexpr const char* kOnlyGood = "only in the good model";
constexpr const char* kOnlyBad = "only in the bad model";

// Empty where they are alike.
std::string difference(const Metadata& good, const Metadata& bad) {
  if (good.type != bad.type || good.element_type != bad.element_type) {
    return "type";
  }
  return good.value == bad.value ? "" : "value";
}

std::string difference(const Tensor& good, const Tensor& bad) {
  if (good.dims != bad.dims) {
    return "shape";
  }
  if (good.type_id != bad.type_id) {
    return std::string(quant::type_name(good.type_id)) + " -> " + std::string(quant::type_name(bad.type_id));
  }
  return std::equal(good.data.begin(), good.data.end(), bad.data.begin(), bad.data.end()) ? "" : "values";
}

const Metadata* find(const View& view, const Metadata& part) { return view.find(part.key); }
const Tensor* find(const View& view, const Tensor& part) { return view.find_tensor(part.name); }
std::string_view name_of(const Metadata& part) { return part.key; }
std::string_view name_of(const Tensor& part) { return part.name; }

template <class Part>
void add_changes(const View& good, const View& bad, std::span<const Part> of_good, std::span<const Part> of_bad,
                 Kind kind, std::vector<ModelChange>& changes) {
  for (const Part& part : of_good) {
    const Part* other = find(bad, part);
    const std::string what = other != nullptr ? difference(part, *other) : kOnlyGood;
    if (!what.empty() && name_of(part) != kAlignmentKey) {
      changes.push_back({kind, std::string(name_of(part)), what});
    }
  }
  for (const Part& part : of_bad) {
    if (find(good, part) == nullptr && name_of(part) != kAlignmentKey) {
      changes.push_back({kind, std::string(name_of(part)), kOnlyBad});
    }
  }
}

Status check_sizes_known(const View& view) {
  for (const Tensor& tensor : view.tensors()) {
    if (tensor.format == nullptr) {
      return invalid_input(view.where_tensor(tensor),
                           "is " + quant::type_name_and_id(tensor.type_id) + ", whose size is not known");
    }
  }
  return {};
}

// The parts of the good file, those named in `from_bad` as the bad one has them.
template <class Part>
std::vector<const Part*> mixed(const View& good, const View& bad, std::span<const Part> of_good,
                               std::span<const Part> of_bad, const std::set<std::string_view>& from_bad) {
  std::vector<const Part*> parts;
  for (const Part& part : of_good) {
    const Part* chosen = from_bad.contains(name_of(part)) ? find(bad, part) : &part;
    if (chosen != nullptr) {
      parts.push_back(chosen);
    }
  }
  for (const Part& part : of_bad) {
    if (find(good, part) == nullptr && from_bad.contains(name_of(part))) {
      parts.push_back(&part);
    }
  }
  return parts;
}

}  // namespace

Result<std::vector<ModelChange>> model_changes(const View& good, const View& bad) {
  TERN_RETURN_IF_ERROR(check_sizes_known(good));
  TERN_RETURN_IF_ERROR(check_sizes_known(bad));
  for (const Tensor& tensor : bad.tensors()) {
    const quant::Format* of_good = good.format_of_type(tensor.type_id);
    if (of_good != nullptr && of_good != tensor.format) {
      return invalid_input(
          bad.name(), fmt::format("its {} tensors have another layout than those of {}", of_good->name, good.name()),
          "no file can hold both");
    }
  }
  std::vector<ModelChange> changes;
  add_changes<Metadata>(good, bad, good.metadata(), bad.metadata(), Kind::kMetadata, changes);
  add_changes<Tensor>(good, bad, good.tensors(), bad.tensors(), Kind::kTensor, changes);
  return changes;
}

Status write_hybrid(const std::filesystem::path& path, const View& good, const View& bad,
                    const std::vector<ModelChange>& changes) {
  std::set<std::string_view> keys, tensor_names;
  for (const ModelChange& change : changes) {
    (change.kind == Kind::kMetadata ? keys : tensor_names).insert(change.name);
  }
  gguf::Header header;
  header.version = good.version();
  header.alignment = good.alignment();
  for (const Metadata* entry : mixed<Metadata>(good, bad, good.metadata(), bad.metadata(), keys)) {
    header.add(std::string(entry->key), gguf::typed_value(*entry));
  }
  const auto tensors = mixed<Tensor>(good, bad, good.tensors(), bad.tensors(), tensor_names);
  for (const Tensor* tensor : tensors) {
    header.tensors.push_back({std::string(tensor->name), tensor->dims, tensor->type_id, tensor->data.size()});
  }
  TERN_ASSIGN_OR_RETURN(gguf::Writer writer, gguf::Writer::create(path, std::move(header)));
  for (const Tensor* tensor : tensors) {
    TERN_RETURN_IF_ERROR(writer.append(tensor->data));
  }
  return writer.commit();
}

}  // namespace tern::bisect
