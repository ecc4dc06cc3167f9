// A GGUF file read through its family's schema: checked numbers, and tensors by role. The fast engine and the oracle
// both start from it, and each computes the graph by itself.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "tern/arch/family.h"
#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::arch {

class ModelFile {
 public:
  // `view` must outlive the result. Errors: kInvalidInput that names the file and the key or tensor: an architecture
  // that is not known; a key that is missing, of another type, out of bounds or contradicts another; a key that changes
  // what is to be computed in a way that nothing here implements (RoPE scaling, soft caps, experts); a tensor that is
  // missing, of another shape than the numbers demand, or of a format that its use does not allow; a tensor that the
  // family does not use, since ignoring it would give wrong numbers.
  static Result<ModelFile> read(const gguf::View& view);

  const Family& family() const { return *family_; }
  const Numbers& numbers() const { return numbers_; }
  // Null for one that the family has not, and for an optional one that the file has not. `layer` counts for tensors of
  // layers only.
  const gguf::Tensor* find(Role role, int64_t layer = 0) const;
  // One that the family requires.
  const gguf::Tensor& tensor(Role role, int64_t layer = 0) const;

 private:
  using ByRole = std::array<const gguf::Tensor*, kRoles>;

  ModelFile(const Family& family, const Numbers& numbers) : family_(&family), numbers_(numbers) {}
  Status bind(const gguf::View& view);

  const Family* family_;
  Numbers numbers_;
  ByRole whole_ = {};
  std::vector<ByRole> layers_;
};

// The numbers alone, without a look at any tensor but the embedding, whose rows are the vocabulary. Errors: as above.
Result<Numbers> read_numbers(const gguf::View& view, const Family& family);

// Facts that files of all families name alike, so they can be read from files of unknown families, too.
// Positions a generation may use; nullopt where the file does not say.
std::optional<uint64_t> context_length(const gguf::View& view);
// The matrix whose rows are the vocabulary; null where the file has none.
const gguf::Tensor* embedding_table(const gguf::View& view);

// The row for the file's general.architecture. Errors: kInvalidInput.
Result<const Family*> family_of(const gguf::View& view);

}  // namespace tern::arch
