// Keys and values of the positions seen so far, in float16 as bitnet.cpp keeps them.
#pragma once

#include <cstdint>

#include "tern/base/error.h"
#include "tern/base/page_memory.h"
#include "tern/model/hyperparameters.h"

namespace tern::model {

class KvCache {
 public:
  // Room for `n_ctx` positions, rounded up to kPadding. The memory is zero, and untouched until it is used.
  // Errors: kInvalidInput where it cannot be allocated.
  static Result<KvCache> create(const Hyperparameters& h, int64_t n_ctx);

  // Attention reads keys and values in whole groups of this many; positions that were never written are zero.
  static constexpr int64_t kPadding = 32;
  static constexpr int64_t padded(int64_t n) { return (n + kPadding - 1) / kPadding * kPadding; }

  int64_t n_ctx() const { return n_ctx_; }    // as asked for
  int64_t stride() const { return stride_; }  // positions between two rows of values
  // [stride(), head_dim]: the rotated keys of one head.
  uint16_t* keys(int64_t layer, int64_t kv_head) { return part(keys_, layer, kv_head); }
  // [head_dim, stride()]: its values, transposed, so that a weighted sum over positions runs along memory.
  uint16_t* values(int64_t layer, int64_t kv_head) { return part(values_, layer, kv_head); }

 private:
  KvCache(const Hyperparameters& h, int64_t n_ctx, PageMemory keys, PageMemory values);

  uint16_t* part(PageMemory& memory, int64_t layer, int64_t kv_head) const {
    return reinterpret_cast<uint16_t*>(memory.bytes().data()) + (layer * n_kv_heads_ + kv_head) * head_dim_ * stride_;
  }

  int64_t n_kv_heads_;
  int64_t head_dim_;
  int64_t n_ctx_;
  int64_t stride_;
  PageMemory keys_;
  PageMemory values_;
};

}  // namespace tern::model
