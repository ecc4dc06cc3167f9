#include "tern/model/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tern/base/check.h"
#include "tern/model/size.h"

namespace tern::model {
namespace {

// Rows of queries that a thread takes together, so that each key and value is widened once for several of them: tokens
// of one head, or where there is only one token, heads that share their keys.
constexpr int64_t kTokensInTile = 8;
constexpr int64_t kHeadsInTile = 2;

// From so many positions on, the cache of a single token is shared out by positions, then by features, so that it is
// read once for all heads that share it. Fewer are not worth the two more loops.
constexpr int64_t kFarBack = 384;
constexpr size_t kPositionsInPiece = 256;
constexpr size_t kFeaturesInPiece = 16;

}  // namespace

struct Attention::Tile {
  const uint16_t* keys;    // this head's, [positions, head_dim]
  const uint16_t* values;  // this head's, [head_dim, value_stride]
  int64_t value_stride;
  int64_t n_rows;  // of queries: tokens of one head, or heads of one token
  const float* q;  // [n_rows, head_dim], q_stride apart
  float* out;      // likewise
  int64_t q_stride;
  float* scores;        // [n_rows, n_positions], or null
  int64_t n_positions;  // up to the end of the batch
  int64_t first;        // position of the first row
  bool single;          // the batch has only one token: all rows are at `first`; other sums, see attend_tile
};

Attention::Attention(const Hyperparameters& h, const kernels::KernelTable& table, ThreadPool& pool)
    : h_(h), table_(table), pool_(pool), scratch_(size(pool.n_threads())) {}

void Attention::store(KvCache& cache, int64_t layer, int64_t position, int64_t n_tokens, const float* k,
                      const float* v) {
  TERN_CHECK(position + n_tokens <= cache.n_ctx());
  const size_t n_kv = size(h_.n_kv());
  const size_t head_dim = size(h_.head_dim);
  // A single token is too little work for a second thread.
  const size_t n_heads = size(h_.n_kv_heads);
  pool_.for_each_piece(n_heads, n_tokens == 1 ? n_heads : 1, [&](size_t begin, size_t end, int) {
    std::vector<float> row(size(n_tokens));
    for (size_t head = begin; head < end; ++head) {
      uint16_t* keys = cache.keys(layer, static_cast<int64_t>(head)) + size(position) * head_dim;
      uint16_t* values = cache.values(layer, static_cast<int64_t>(head)) + position;
      for (size_t t = 0; t < row.size(); ++t) {
        table_.float_to_half(k + t * n_kv + head * head_dim, head_dim, keys + t * head_dim);
      }
      for (size_t feature = 0; feature < head_dim; ++feature) {
        for (size_t t = 0; t < row.size(); ++t) row[t] = v[t * n_kv + head * head_dim + feature];
        table_.float_to_half(row.data(), row.size(), values + feature * size(cache.stride()));
      }
    }
  });
}

void Attention::attend(KvCache& cache, int64_t layer, int64_t position, int64_t n_tokens, const float* q, float* out,
                       float* scores) {
  const bool single = n_tokens == 1;
  if (single && position >= kFarBack) {
    return attend_far_back(cache, layer, position, q, out, scores);
  }
  const int64_t heads_per_kv = h_.n_heads / h_.n_kv_heads;
  const int64_t heads_in_tile = single && heads_per_kv % kHeadsInTile == 0 ? kHeadsInTile : 1;
  const int64_t tiles_per_head = (n_tokens + kTokensInTile - 1) / kTokensInTile;
  const int64_t n_positions = position + n_tokens;
  pool_.for_each_piece(size(h_.n_heads / heads_in_tile * tiles_per_head), 1, [&](size_t index, size_t, int thread) {
    const int64_t head = static_cast<int64_t>(index) / tiles_per_head * heads_in_tile;
    const int64_t token = static_cast<int64_t>(index) % tiles_per_head * kTokensInTile;
    const int64_t kv_head = head / heads_per_kv;
    const int64_t q_offset = token * h_.n_q() + head * h_.head_dim;
    attend_tile({.keys = cache.keys(layer, kv_head),
                 .values = cache.values(layer, kv_head),
                 .value_stride = cache.stride(),
                 .n_rows = single ? heads_in_tile : std::min(kTokensInTile, n_tokens - token),
                 .q = q + q_offset,
                 .out = out + q_offset,
                 .q_stride = single ? h_.head_dim : h_.n_q(),
                 .scores = scores == nullptr ? nullptr : scores + (head * n_tokens + token) * n_positions,
                 .n_positions = n_positions,
                 .first = position + token,
                 .single = single},
                scratch_[size(thread)]);
  });
}

void Attention::weigh(float* row, int64_t n_seen, int64_t n) {
  std::fill(row + n_seen, row + n, -std::numeric_limits<float>::infinity());
  table_.softmax(row, size(n), 1.0f / std::sqrt(static_cast<float>(h_.head_dim)));
}

void Attention::attend_tile(const Tile& tile, Scratch& scratch) {
  const size_t head_dim = size(h_.head_dim);
  const size_t n_rows = size(tile.n_rows);
  const int64_t n_keys = tile.first + (tile.single ? 1 : tile.n_rows);
  const int64_t padded = KvCache::padded(n_keys);
  scratch.query.resize(n_rows * head_dim);
  scratch.weights.resize(n_rows * size(padded));

  // query [rows, head_dim]. With one head a batch's queries are contiguous, which lets llamafile's sgemm take them as
  // they are; otherwise ggml_vec_dot_f16 takes float16.
  const bool sgemm = h_.n_heads == 1 && !tile.single && head_dim % 8 == 0;
  for (size_t r = 0; r < n_rows; ++r) {
    const float* from = tile.q + r * size(tile.q_stride);
    float* to = scratch.query.data() + r * head_dim;
    if (sgemm) {
      std::copy_n(from, head_dim, to);
    } else {
      table_.round_to_half(from, head_dim, to);
    }
  }

  // weights [rows, padded keys] = q k^T, not yet scaled
  float* weights = scratch.weights.data();
  table_.dot_f16(
      sgemm ? kernels::DotOrder::kOne : kernels::DotOrder::kFour,
      {tile.keys, head_dim, size(n_keys), scratch.query.data(), head_dim, n_rows, head_dim, weights, size(padded)});

  for (size_t r = 0; r < n_rows; ++r) {
    float* row = weights + r * size(padded);
    const int64_t n_seen = tile.first + 1 + (tile.single ? 0 : static_cast<int64_t>(r));
    weigh(row, n_seen, padded);
    if (tile.scores != nullptr) {
      float* copy = tile.scores + r * size(tile.n_positions);
      const int64_t n_copied = std::min(padded, tile.n_positions);
      std::fill(std::copy_n(row, n_copied, copy), copy + tile.n_positions, 0.0f);
    }
    if (tile.single) {
      table_.round_to_half(row, size(padded), row);
    }
  }

  // out [rows, head_dim] = weights v. A single token's weights were rounded for ggml_vec_dot_f16; a batch's go through
  // sgemm. Padding adds +0 only.
  table_.dot_f16(tile.single ? kernels::DotOrder::kFour : kernels::DotOrder::kOne,
                 {tile.values, size(tile.value_stride), head_dim, weights, size(padded), n_rows, size(padded), tile.out,
                  size(tile.q_stride)});
}

// What attend_tile() computes for a single token, all heads at once.
void Attention::attend_far_back(KvCache& cache, int64_t layer, int64_t position, const float* q, float* out,
                                float* scores) {
  const size_t head_dim = size(h_.head_dim);
  const size_t heads_per_kv = size(h_.n_heads / h_.n_kv_heads);
  const int64_t n_keys = position + 1;
  const size_t padded = size(KvCache::padded(n_keys));
  shared_.query.resize(size(h_.n_q()));
  shared_.weights.resize(size(h_.n_heads) * padded);
  float* weights = shared_.weights.data();
  table_.round_to_half(q, size(h_.n_q()), shared_.query.data());

  // weights [n_heads, padded keys] = q k^T, not yet scaled
  const size_t pieces_of_keys = (size(n_keys) + kPositionsInPiece - 1) / kPositionsInPiece;
  pool_.for_each_piece(size(h_.n_kv_heads) * pieces_of_keys, 1, [&](size_t index, size_t, int) {
    const size_t kv_head = index / pieces_of_keys;
    const size_t begin = index % pieces_of_keys * kPositionsInPiece;
    const size_t n = std::min(kPositionsInPiece, size(n_keys) - begin);
    const size_t head = kv_head * heads_per_kv;
    const uint16_t* keys = cache.keys(layer, static_cast<int64_t>(kv_head)) + begin * head_dim;
    table_.dot_f16(kernels::DotOrder::kFour, {keys, head_dim, n, shared_.query.data() + head * head_dim, head_dim,
                                              heads_per_kv, head_dim, weights + head * padded + begin, padded});
  });

  pool_.for_each_piece(size(h_.n_heads), 1, [&](size_t head, size_t, int) {
    float* row = weights + head * padded;
    weigh(row, n_keys, static_cast<int64_t>(padded));
    if (scores != nullptr) {
      std::copy_n(row, n_keys, scores + head * size(n_keys));
    }
    table_.round_to_half(row, padded, row);
  });

  // out [n_heads, head_dim] = weights v
  const size_t pieces_of_features = (head_dim + kFeaturesInPiece - 1) / kFeaturesInPiece;
  pool_.for_each_piece(size(h_.n_kv_heads) * pieces_of_features, 1, [&](size_t index, size_t, int) {
    const size_t kv_head = index / pieces_of_features;
    const size_t begin = index % pieces_of_features * kFeaturesInPiece;
    const size_t n = std::min(kFeaturesInPiece, head_dim - begin);
    const size_t head = kv_head * heads_per_kv;
    const size_t stride = size(cache.stride());
    const uint16_t* values = cache.values(layer, static_cast<int64_t>(kv_head)) + begin * stride;
    table_.dot_f16(kernels::DotOrder::kFour, {values, stride, n, weights + head * padded, padded, heads_per_kv, padded,
                                              out + head * head_dim + begin, head_dim});
  });
}

}  // namespace tern::model
