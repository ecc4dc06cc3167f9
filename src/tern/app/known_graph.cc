#include "tern/app/known_graph.h"

#include <algorithm>

#include "tern/arch/family.h"

namespace tern::app {

std::vector<trace::Stage> stages_of_graph(std::string_view architecture) {
  const arch::Family* family = arch::find_family(architecture);
  if (family == nullptr) {
    return {};
  }
  return trace::stages_with_weights([&](std::string_view weight) {
    return std::any_of(family->tensors.begin(), family->tensors.end(), [&](const arch::TensorSpec& spec) {
      return spec.name.starts_with(weight) && spec.name.substr(weight.size()) == ".weight";
    });
  });
}

}  // namespace tern::app
