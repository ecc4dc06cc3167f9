#include "tern/model/kv_cache.h"

#include <fmt/format.h>

namespace tern::model {

Result<KvCache> KvCache::create(const Hyperparameters& h, int64_t n_ctx) {
  KvCache cache;
  cache.n_kv_ = h.n_kv();
  cache.n_ctx_ = n_ctx;
  cache.stride_ = (n_ctx + kPadding - 1) / kPadding * kPadding;
  // The limits of read_hyperparameters() keep this product below 2^58. calloc: untouched pages cost nothing.
  const auto n = static_cast<size_t>(h.n_layers * h.n_kv()) * static_cast<size_t>(cache.stride_);
  cache.keys_.reset(static_cast<uint16_t*>(std::calloc(n, sizeof(uint16_t))));
  cache.values_.reset(static_cast<uint16_t*>(std::calloc(n, sizeof(uint16_t))));
  if (cache.keys_ == nullptr || cache.values_ == nullptr) {
    return invalid_input("key-value cache", fmt::format("no memory for {} positions: {} bytes", n_ctx, 4 * n),
                         "ask for a shorter context");
  }
  return cache;
}

}  // namespace tern::model
