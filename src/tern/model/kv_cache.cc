#include "tern/model/kv_cache.h"

#include <fmt/format.h>

namespace tern::model {

KvCache::KvCache(const Hyperparameters& h, int64_t n_ctx, PageMemory keys, PageMemory values)
    : n_kv_heads_(h.n_kv_heads),
      head_dim_(h.head_dim),
      n_ctx_(n_ctx),
      stride_(padded(n_ctx)),
      keys_(std::move(keys)),
      values_(std::move(values)) {}

Result<KvCache> KvCache::create(const Hyperparameters& h, int64_t n_ctx) {
  // The limits of arch/families.cc keep this product below 2^58.
  const size_t n_bytes = static_cast<size_t>(h.n_layers * h.n_kv() * padded(n_ctx)) * sizeof(uint16_t);
  const std::string what = fmt::format("key-value cache of {} positions", n_ctx);
  const std::string hint = "ask for a shorter context";
  TERN_ASSIGN_OR_RETURN(PageMemory keys, PageMemory::create(n_bytes, what, hint));
  TERN_ASSIGN_OR_RETURN(PageMemory values, PageMemory::create(n_bytes, what, hint));
  return KvCache(h, n_ctx, std::move(keys), std::move(values));
}

}  // namespace tern::model
