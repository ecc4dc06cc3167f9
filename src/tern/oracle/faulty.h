// What all faults start from: an oracle that is right.
#pragma once

#include "tern/oracle/oracle.h"

namespace tern::oracle {

class Faulty : public Oracle {
 public:
  explicit Faulty(const Oracle& plain) : Oracle(plain) {}

 protected:
  bool is_bitnet_cpp_i2s(const gguf::Tensor& weight) const { return weight.format == &quant::kI2sBitnetCpp; }
  // The layer that a fault in a single layer is in.
  int middle_layer() const { return hp_.n_layers / 2; }
};

}  // namespace tern::oracle
