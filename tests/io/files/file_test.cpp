// Files: whole or not at all, clear errors, one holder of a lock.
#include "io/files/file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;

TEST(File, AtomicWriteReplacesOrLeavesTheOld) {
  const TemporaryFolder folder;
  const auto path = folder / "a.txt";
  write_file_atomically(FileSystem::real(), path, "old");
  EXPECT_EQ(slurp(path), "old");
  FaultyFileSystem counting(-1);
  write_file_atomically(counting, path, "newer");
  EXPECT_EQ(slurp(path), "newer");
  ASSERT_GT(counting.operations(), 4);
  for (int at = 0; at < counting.operations(); ++at) {
    spill(path, "old");
    FaultyFileSystem faulty(at, true);
    EXPECT_NE(input_error_of([&] { write_file_atomically(faulty, path, "newer"); }), "no error");
    const std::string now = slurp(path);
    EXPECT_TRUE(now == "old" || now == "newer") << at << " left " << now;
  }
}

TEST(File, ReadsAtOffsetsAndNoticesTheEnd) {
  const TemporaryFolder folder;
  spill(folder / "a", "0123456789");
  const InputFile file(folder / "a");
  EXPECT_EQ(file.size(), 10u);
  std::string part(4, '?');
  file.read(6, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "6789");
  for (const std::uint64_t offset : {UINT64_C(7), UINT64_C(11), UINT64_MAX}) {
    EXPECT_NE(input_error_of([&] {
                file.read(offset, std::as_writable_bytes(std::span(part)));
              }).find("cut short"),
              std::string::npos);
  }
  EXPECT_EQ(read_text_file(folder / "a", 10), "0123456789");
  EXPECT_NE(input_error_of([&] { read_text_file(folder / "a", 9); }).find("too large"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { InputFile(folder / "b"); }).find("No such file"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { InputFile(folder.path()); }).find("not a regular file"),
            std::string::npos);
}

TEST(File, LockNamesItsHolderAndDiesWithIt) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    (void)!::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::string message = input_error_of([&] { FolderLock lock(folder.path()); });
  EXPECT_NE(message.find("process " + std::to_string(child) + " on "), std::string::npos)
      << message;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const FolderLock lock(folder.path());  // free again, although nobody cleaned up
  EXPECT_NE(slurp(folder / "lock").find(std::to_string(::getpid())), std::string::npos);
  EXPECT_NE(input_error_of([&] { FolderLock again(folder.path()); }), "no error");
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace memengine
