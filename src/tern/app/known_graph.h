// Known graphs: a family's weights decide which of the known stages its forward pass has.
#pragma once

#include <string_view>
#include <vector>

#include "tern/trace/stage.h"

namespace tern::app {

// In execution order; empty where the graph is not known. `architecture`: general.architecture of the GGUF file.
std::vector<trace::Stage> stages_of_graph(std::string_view architecture);

}  // namespace tern::app
