#include "tern/base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "support/paths.h"
#include "tern/base/mapped_file.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

size_t n_entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(File, WritesAndReadsBack) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "a" / "b" / "file";
  ASSERT_TRUE(write_file(path, "content"));
  EXPECT_EQ(read_file(path, 7).value(), "content");
  ASSERT_TRUE(write_file(path, "other"));
  EXPECT_EQ(read_file(path, 7).value(), "other");
  EXPECT_EQ(n_entries(path.parent_path()), 1U);
}

TEST(File, TooLargeIsAnErrorNotAnAllocation) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "f", "12345678"));
  const auto content = read_file(folder.path() / "f", 7);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, ErrorCode::kInvalidInput);
  EXPECT_FALSE(read_file("/dev/zero", 1 << 20));
}

TEST(FileWriter, NothingIsThereBeforeCommit) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "f";
  {
    auto writer = FileWriter::create(path);
    ASSERT_TRUE(writer && writer->append("abc"));
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_EQ(n_entries(folder.path()), 0U) << "an abandoned writer leaves no temporary file";
}

TEST(FileWriter, HeaderWrittenLast) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "f";
  auto writer = FileWriter::create(path);
  ASSERT_TRUE(writer && writer->append("....body"));
  ASSERT_TRUE(writer->write_at(0, std::as_bytes(std::span("head", 4))));
  EXPECT_EQ(writer->size(), 8U);
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(read_file(path, 100).value(), "headbody");
}

TEST(FileWriter, PathsThatCannotBeWritten) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "plain", "x"));
  for (const fs::path& path : {folder.path(), folder.path() / "plain" / "below", fs::path("/proc/nowhere/file")}) {
    const Status written = write_file(path, "x");
    ASSERT_FALSE(written) << path;
    EXPECT_EQ(written.error().code, ErrorCode::kIo);
    EXPECT_NE(written.error().where.find(path.string().substr(0, 8)), std::string::npos);
  }
}

TEST(MappedFile, ContentAndRefusals) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "f", "xyz"));
  ASSERT_TRUE(write_file(folder.path() / "empty", ""));
  auto file = MappedFile::open(folder.path() / "f");
  ASSERT_TRUE(file);
  const MappedFile moved = std::move(*file);
  ASSERT_EQ(moved.bytes().size(), 3U);
  EXPECT_EQ(static_cast<char>(moved.bytes()[2]), 'z');
  EXPECT_EQ(MappedFile::open(folder.path() / "empty")->bytes().size(), 0U);
  EXPECT_FALSE(MappedFile::open(folder.path()));
  EXPECT_FALSE(MappedFile::open(folder.path() / "missing"));
  EXPECT_FALSE(MappedFile::open("/dev/null"));
}

}  // namespace
}  // namespace tern
