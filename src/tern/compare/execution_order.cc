#include "tern/compare/execution_order.h"

#include <iterator>
#include <list>
#include <tuple>

namespace tern::compare {

using trace::TensorId;

ExecutionOrder::ExecutionOrder(std::initializer_list<const trace::Records*> runs) {
  std::list<TensorId> order;
  std::map<TensorId, std::list<TensorId>::iterator> known;
  for (const trace::Records* const run : runs) {
    auto next = order.begin();
    for (size_t i = 0; run != nullptr && i < run->size(); ++i) {
      const TensorId& id = (*run)[i].id;
      const auto [it, is_new] = known.try_emplace(id);
      if (is_new) {
        it->second = order.insert(next, id);
      }
      next = std::next(it->second);
    }
  }
  order.sort(
      [](const TensorId& a, const TensorId& b) { return std::tie(a.seq, a.ubatch) < std::tie(b.seq, b.ubatch); });
  for (const TensorId& id : order) {
    places_.emplace(id, places_.size());
  }
}

bool ExecutionOrder::before(const TensorId& a, const TensorId& b) const {
  const auto of_a = places_.find(a), of_b = places_.find(b);
  return of_a != places_.end() && of_b != places_.end() ? of_a->second < of_b->second : a < b;
}

}  // namespace tern::compare
