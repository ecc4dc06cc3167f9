// What is known of a side's tensors by their RMS, and how far a right side may be from it.
#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <vector>

#include "tern/compare/rounding_noise.h"
#include "tern/estimate/substituted_pass.h"
#include "tern/trace/run_folder.h"

namespace tern::estimate {

class RmsFacts {
 public:
  static constexpr double kWorst = 30;  // tolerances; what is further away says no more

  // `plain`: what the textbook computes. Tensors that `side` has no finite RMS of, and those without a bound, are left
  // out.
  RmsFacts(const trace::EngineRun& side, RmsOf plain, const compare::RoundingNoise& noise);

  bool has(const trace::TensorId& id) const { return side_.contains(id); }
  // Relative; of a tensor that it has.
  double tolerance(const trace::TensorId& id) const { return tolerance_.at(id); }
  // Of a tensor whose inputs are known: what its own rounding explains.
  void hold_more_narrowly(const trace::TensorId& id, double tolerance);
  const RmsOf& plain() const { return plain_; }

  struct Fit {
    double distance = 0;  // mean over the tensors from `from` on, in tolerances
    size_t n_within = 0, n = 0;
    double at_first = 0;                           // relative error
    std::vector<trace::TensorId> left_wrong = {};  // further off than rounding explains
    size_t n_before_wrong = 0;                     // within, in execution order, before the first of those
    size_t n_mended_before_wrong = 0;              // of them, wrong otherwise
    double least_tolerance = std::numeric_limits<double>::infinity(), most_tolerance = 0;  // of those within

    bool begins_well() const;  // the first tensors from its place on are within, whatever is wrong behind them
  };
  Fit fit(const RmsOf& computed, const trace::TensorId& from, const trace::TensorId& first) const;
  // The mean distance over the tensors of one layer, in one pass.
  double distance_in_layer(const RmsOf& computed, int layer, int seq) const;

 private:
  RmsOf plain_, side_;
  std::map<trace::TensorId, double> tolerance_;
};

}  // namespace tern::estimate
