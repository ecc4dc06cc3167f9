// The id of the largest logit, without computing all logits.
//
// A greedy step needs one id, but reads the whole head, which in float16 is more than all ternary weights of a 2B
// model. So the head is copied once into int8, half as many bytes. With row_r = scale_r * codes_r + error_r and the
// activations h rounded likewise, h = step * g + rest, the row's exact product with h lies within
//     |error_r| |h| + scale_r |codes_r| |rest|          (Cauchy-Schwarz)
// of the integer product scale_r * step * (codes_r . g); and the float32 logit of the full head lies within a known
// rounding error of the exact product (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: gamma_k
// times |row_r| |h| for k roundings in a row). A row whose upper bound is below another row's lower bound cannot be the
// largest. The few that remain are evaluated from the float16 weights by the full head's own kernel: the id is that of
// the full head, ties included, for every input.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tern/base/aligned_vector.h"
#include "tern/base/error.h"
#include "tern/base/page_memory.h"
#include "tern/base/thread_pool.h"
#include "tern/kernels/table.h"
#include "tern/model/weights.h"

namespace tern::model {

// The index of the largest; the lowest among equals. NaN is never larger than anything.
int32_t argmax(std::span<const float> logits);

class GreedyHead {
 public:
  // Gets each part of the float16 weights that is not read again soon.
  using Done = std::function<void(std::span<const std::byte> part)>;

  // Copies `head` [n_vocab, n_embd], F16: n_vocab * (n_embd + 12) bytes. All referenced objects must outlive the
  // result. Null where there is no bound: float32 weights, weights that are not finite, a width that is no multiple of
  // 32 or above 65536. Errors: kInvalidInput without memory.
  static Result<std::unique_ptr<GreedyHead>> copy(const Matrix& head, const kernels::KernelTable& table,
                                                  ThreadPool& pool, Done done);

  // argmax() of the logits that the full head gives for x [n_embd], when it sums in `order` (kFour: with the
  // activations rounded to float16). Nothing where x is not finite, all zero or beyond 1e30.
  std::optional<int32_t> best(const float* x, kernels::DotOrder order);

 private:
  struct Activations;
  // scale_r, and upper bounds of |error_r| and of both |row_r| and scale_r |codes_r|.
  struct Row {
    float scale;
    float error;
    float norm;
  };

  GreedyHead(const Matrix& head, const kernels::KernelTable& table, ThreadPool& pool, Done done, PageMemory codes);

  bool copy_rows(size_t begin, size_t end);
  bool round(const float* x, kernels::DotOrder order, Activations& activations);
  double bound_rows(const Activations& activations, size_t begin, size_t end, std::vector<int32_t>& products);
  void find_candidates(const Activations& activations);

  const Matrix& head_;
  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  Done done_;
  size_t n_rows_read_ = 0;  // of the float16 weights, since done_ was last called
  PageMemory codes_;        // int8 [n_vocab, n_embd]
  std::vector<Row> rows_;   // [n_vocab]

  AlignedVector<float> h_;                      // [n_embd]: the activations as the full head takes them
  AlignedVector<int16_t> g_;                    // [n_embd]: those rounded
  std::vector<double> upper_;                   // [n_vocab]: no logit is larger than this
  std::vector<double> largest_lower_;           // of each piece
  std::vector<std::vector<int32_t>> products_;  // scratch of each thread
  std::vector<int32_t> candidates_;             // ascending
  std::vector<float> logits_;                   // theirs
};

}  // namespace tern::model
