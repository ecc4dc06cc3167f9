#include "tern/base/scratch_folder.h"

#include <stdlib.h>

#include "tern/base/file.h"

namespace tern {
namespace fs = std::filesystem;

Result<ScratchFolder> ScratchFolder::in_temporary_folder() {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  std::string name = ((error ? fs::path("/tmp") : parent) / "tern-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    return fail(ErrorCode::kIo, name, "cannot be created");
  }
  return ScratchFolder(name);
}

Result<ScratchFolder> ScratchFolder::create(const fs::path& path) {
  ScratchFolder scratch(path);
  std::error_code error;
  for (fs::path parent = path.parent_path(); !parent.empty() && !fs::exists(parent, error);
       parent = parent.parent_path()) {
    scratch.new_parents_.push_back(parent);
  }
  fs::remove_all(path, error);
  TERN_RETURN_IF_ERROR(create_folder(path));
  return scratch;
}

ScratchFolder::~ScratchFolder() {
  if (path_.empty()) {
    return;
  }
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  for (const fs::path& parent : new_parents_) {
    fs::remove(parent, ignored);
  }
}

}  // namespace tern
