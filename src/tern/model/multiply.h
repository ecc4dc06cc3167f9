// Matrix products of activations with weights in any format, shared out over the threads by rows of the output.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "tern/base/aligned_vector.h"
#include "tern/base/thread_pool.h"
#include "tern/kernels/table.h"
#include "tern/model/product_kernels.h"
#include "tern/model/weights.h"

namespace tern::model {

// out [n_tokens, w.n_rows] = x w^T
struct Product {
  const Matrix* w;
  float* out;
};

class Multiplier {
 public:
  // Both referenced objects must outlive this one.
  Multiplier(const kernels::KernelTable& table, ThreadPool& pool, kernels::ActivationRounding rounding)
      : table_(table), pool_(pool), rounding_(rounding) {}

  // Float weights are summed as bitnet.cpp does it (ggml.c, ggml_compute_forward_mul_mat): a batch goes through
  // llamafile's sgemm (kOne), with the activations as they are; a single token (and a length that sgemm refuses)
  // through ggml_vec_dot (kFour), which for float16 weights rounds the activations to float16. `as_single` chooses
  // the latter.
  static kernels::DotOrder order(int64_t n_cols, bool as_single);

  // x: [n_tokens, n_cols], the same for all products. Float weights in order(n_cols, as_single).
  void multiply(const float* x, int64_t n_tokens, bool as_single, std::initializer_list<Product> products);

 private:
  struct Job;
  struct Part {
    int64_t row, n_rows;
    int64_t token, n_tokens;
  };
  struct RoundedActivations {
    const quant::ActivationRule* rule;
    AlignedVector<float> values;  // [n_tokens, n_cols]
  };

  static const quant::ActivationRule* rule_for(const Job& job, const Matrix& w);
  AlignedVector<float>& rounded_by(const quant::ActivationRule& rule);
  void prepare(const Job& job, std::initializer_list<Product> products);
  void multiply_part(const Job& job, const Product& product, const Part& part, int thread);

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  kernels::ActivationRounding rounding_;
  AlignedVector<int8_t> q_;                         // [n_tokens, n_cols]
  std::vector<kernels::RowRounding> row_rounding_;  // [n_tokens]
  std::vector<RoundedActivations> rounded_;         // one for each rule that was needed so far
  std::vector<KernelScratch> scratch_;              // of each thread
};

}  // namespace tern::model
