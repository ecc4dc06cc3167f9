#include "tern/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "support/paths.h"
#include "tern/base/environment.h"
#include "tern/base/mapped_file.h"
#include "tern/base/page_memory.h"

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

TEST(FileWriter, LinksStayAndTheirTargetsAreReplaced) {
  const test::TemporaryFolder folder;
  const fs::path real = folder.path() / "elsewhere" / "real";
  ASSERT_TRUE(write_file(real, "old"));
  fs::create_directory(folder.path() / "links");
  const fs::path link = folder.path() / "links" / "absolute";
  fs::create_symlink(real, link);
  fs::create_symlink("../links/absolute", folder.path() / "links" / "relative");
  ASSERT_TRUE(write_file(link, "new"));
  EXPECT_EQ(read_file(real, 100).value(), "new");
  ASSERT_TRUE(write_file(folder.path() / "links" / "relative", "newer"));
  EXPECT_EQ(read_file(real, 100).value(), "newer");
  EXPECT_TRUE(fs::is_symlink(link));
  {
    auto abandoned = FileWriter::create(link);
    ASSERT_TRUE(abandoned && abandoned->append("newest"));
  }
  EXPECT_EQ(read_file(real, 100).value(), "newer");
  EXPECT_EQ(n_entries(real.parent_path()), 1U);
  EXPECT_EQ(n_entries(link.parent_path()), 2U);
}

TEST(FileWriter, LinksToNothingMakeTheFile) {
  const test::TemporaryFolder folder;
  fs::create_symlink(folder.path() / "later", folder.path() / "link");
  ASSERT_TRUE(write_file(folder.path() / "link", "x"));
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(folder.path() / "later")));
  EXPECT_TRUE(fs::is_symlink(folder.path() / "link"));
}

TEST(FileWriter, LinksThatCannotBeFollowedAreIoErrors) {
  const test::TemporaryFolder folder;
  fs::create_symlink("loop", folder.path() / "loop");
  fs::create_symlink(folder.path(), folder.path() / "to-folder");
  fs::create_symlink("/dev/null", folder.path() / "to-device");
  fs::create_symlink("/no/such/folder/file", folder.path() / "to-nowhere");
  for (const char* name : {"loop", "to-folder", "to-device", "to-nowhere"}) {
    const Status written = write_file(folder.path() / name, "x");
    ASSERT_FALSE(written) << name;
    EXPECT_EQ(written.error().code, ErrorCode::kIo);
    EXPECT_TRUE(fs::is_symlink(folder.path() / name));
  }
  EXPECT_EQ(n_entries(folder.path()), 4U);
}

// Only root can make a link of another user.
TEST(FileWriter, SomebodyElsesLinkInASharedFolderIsRefused) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root to make a link of another user's";
  }
  const test::TemporaryFolder folder;
  const fs::path shared = folder.path() / "shared";
  ASSERT_TRUE(write_file(folder.path() / "precious", "old"));
  fs::create_directory(shared);
  fs::permissions(shared, fs::perms::all | fs::perms::sticky_bit);
  fs::create_symlink(folder.path() / "precious", shared / "trap");
  ASSERT_TRUE(write_file(shared / "trap", "ours"));
  ASSERT_EQ(::lchown((shared / "trap").c_str(), 65534, 65534), 0);
  const Status written = write_file(shared / "trap", "new");
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().what.find("another user"), std::string::npos);
  EXPECT_EQ(read_file(folder.path() / "precious", 100).value(), "ours");
}

TEST(PrivateFolder, IsOursAloneOrRefused) {
  const test::TemporaryFolder folder;
  const fs::path made = folder.path() / "a" / "cache";
  ASSERT_TRUE(create_private_folder(made));
  EXPECT_EQ(fs::status(made).permissions(), fs::perms::owner_all);
  ASSERT_TRUE(create_private_folder(made)) << "it may exist";
  fs::permissions(made, fs::perms::owner_all | fs::perms::group_read | fs::perms::others_read);
  EXPECT_TRUE(create_private_folder(made)) << "others may look";
  for (const fs::perms writable : {fs::perms::group_write, fs::perms::others_write}) {
    fs::permissions(made, fs::perms::owner_all | writable);
    const Status status = create_private_folder(made);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kIo);
  }
  fs::permissions(made, fs::perms::owner_all);
  fs::create_directory_symlink(made, folder.path() / "link");
  EXPECT_FALSE(create_private_folder(folder.path() / "link"));
  ASSERT_TRUE(write_file(folder.path() / "file", ""));
  EXPECT_FALSE(create_private_folder(folder.path() / "file"));
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(made.c_str(), 65534, 65534), 0);
    EXPECT_FALSE(create_private_folder(made));
  }
}

TEST(Environment, EmptyIsUnset) {
  ::setenv("TERN_ENVIRONMENT_TEST", "x", 1);
  EXPECT_STREQ(environment_variable("TERN_ENVIRONMENT_TEST"), "x");
  ::setenv("TERN_ENVIRONMENT_TEST", "", 1);
  EXPECT_EQ(environment_variable("TERN_ENVIRONMENT_TEST"), nullptr);
  ::unsetenv("TERN_ENVIRONMENT_TEST");
  EXPECT_EQ(environment_variable("TERN_ENVIRONMENT_TEST"), nullptr);
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

TEST(MappedFile, PagesThatWereDroppedComeBack) {
  const test::TemporaryFolder folder;
  std::string content(5 * 4096 + 17, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 4096);
  ASSERT_TRUE(write_file(folder.path() / "f", content));
  const auto file = MappedFile::open(folder.path() / "f");
  ASSERT_TRUE(file);
  file->map_pages();
  const auto as_text = [&] {
    return std::string_view(reinterpret_cast<const char*>(file->bytes().data()), content.size());
  };
  EXPECT_EQ(as_text(), content);
  for (const auto& [begin, size] : {std::pair<size_t, size_t>(0, content.size()), {1, 4096}, {4096, 4096}, {9000, 0}}) {
    file->drop_pages(file->bytes().subspan(begin, size));
    EXPECT_EQ(as_text(), content);
  }
  EXPECT_DEATH(file->drop_pages(std::as_bytes(std::span(content))), "");
}

TEST(PageMemory, IsZeroAndMoves) {
  auto memory = PageMemory::create(3 << 20, "array");
  ASSERT_TRUE(memory);
  ASSERT_EQ(memory->bytes().size(), size_t{3} << 20);
  EXPECT_TRUE(
      std::all_of(memory->bytes().begin(), memory->bytes().end(), [](std::byte b) { return b == std::byte{}; }));
  memory->bytes()[5] = std::byte{9};
  const PageMemory moved = std::move(*memory);
  EXPECT_EQ(moved.bytes()[5], std::byte{9});
  EXPECT_TRUE(PageMemory::create(0, "nothing")->bytes().empty());
  const auto refused = PageMemory::create(size_t{1} << 60, "array", "ask for less");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().line(), "array: no memory for 1152921504606846976 bytes (ask for less)");
}

TEST(File, NewFilesReplaceNothing) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "f";
  ASSERT_TRUE(write_new_file(path, "one"));
  EXPECT_EQ(*read_file(path, 100), "one");
  EXPECT_FALSE(write_new_file(path, "two"));
  EXPECT_EQ(*read_file(path, 100), "one");
  EXPECT_FALSE(write_new_file(folder.path() / "missing" / "f", "one"));
}

TEST(File, WhatIsNoRegularFileIsNotReadNorWaitedFor) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "fifo").c_str(), 0600), 0);
  for (const fs::path& path : {folder.path() / "fifo", folder.path(), fs::path("/dev/zero")}) {
    const auto content = read_file(path, 100);
    ASSERT_FALSE(content) << path;
    EXPECT_EQ(content.error().code, ErrorCode::kIo);
    EXPECT_EQ(content.error().what, "is not a regular file");
  }
}

}  // namespace
}  // namespace tern
