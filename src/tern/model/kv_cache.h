// Keys and values of the positions seen so far, in float16 as bitnet.cpp keeps them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "tern/base/error.h"
#include "tern/model/hyperparameters.h"

namespace tern::model {

class KvCache {
 public:
  // Room for `n_ctx` positions, rounded up to kPadding. The memory is zero, and untouched until it is used.
  // Errors: kInvalidInput where it cannot be allocated.
  static Result<KvCache> create(const Hyperparameters& h, int64_t n_ctx);

  // Attention reads keys and values in whole groups of this many; positions that were never written are zero.
  static constexpr int64_t kPadding = 32;

  int64_t n_ctx() const { return n_ctx_; }    // as asked for
  int64_t stride() const { return stride_; }  // positions between two rows of values
  // [n_ctx, n_kv]: the rotated keys of one layer.
  uint16_t* keys(int64_t layer) { return keys_.get() + layer * n_kv_ * stride_; }
  // [n_kv, stride()]: the values of one layer, transposed, so that a weighted sum over positions runs along memory.
  uint16_t* values(int64_t layer) { return values_.get() + layer * n_kv_ * stride_; }

 private:
  struct Free {
    void operator()(uint16_t* memory) const { std::free(memory); }
  };
  using Memory = std::unique_ptr<uint16_t[], Free>;

  int64_t n_kv_ = 0;
  int64_t n_ctx_ = 0;
  int64_t stride_ = 0;
  Memory keys_;
  Memory values_;
};

}  // namespace tern::model
