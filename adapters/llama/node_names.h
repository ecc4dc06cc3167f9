// The names under which all nodes of any compute graph are recorded (`--stages all`). A node's name is what the graph
// calls it, its layer suffix turned into `blkN/`; `.` and the operation are added where nodes of other operations share
// that name, and `#2`, `#3`, … where name and operation repeat in one pass. A node that the engine did not name takes
// its operation as name. docs/trace-format.md states the rule.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "stage_of_node.h"

namespace tern::adapter {

class NodeNames {
 public:
  // `known_graph`: the graph consists of tern's stages and nodes between them. Nodes that hold a stage are then named
  // by the stage, and no other node takes a stage's name.
  explicit NodeNames(bool known_graph) : known_graph_(known_graph) {}

  bool is_of_known_graph() const { return known_graph_; }

  // A node of a graph whose nodes name() will be called for. `name` and `op` as for stage_of_node().
  void note(std::string_view name, std::string_view op);

  // What follows is another pass.
  void begin_pass() { used_.clear(); }
  // The next node of this pass with this name and operation.
  NodeStage name(std::string_view name, std::string_view op);

 private:
  using Place = std::pair<int, std::string>;  // layer and name

  static Place place_of(std::string_view name, std::string_view op);

  bool known_graph_;
  std::map<Place, std::set<std::string>> operations_;  // of the nodes of one name
  std::set<Place> used_;                               // in this pass
};

}  // namespace tern::adapter
