// Files: whole or not at all, clear errors, one holder of a lock.
#include "io/files/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

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

TEST(File, AnAtomicWriteOntoAFolderLeavesNothing) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "taken/by others");
  EXPECT_NE(
      input_error_of([&] { write_file_atomically(FileSystem::real(), folder / "taken", "x"); }),
      "no error");
  EXPECT_FALSE(std::filesystem::exists(folder / "taken.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "taken/by others"));
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

// A folder, a FIFO, a device: told at once, also where opening would wait for somebody else.
TEST(File, OnlyRegularFilesAreReadAndWritten) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  const auto refused = [](const std::string& part, auto what) {
    EXPECT_NE(input_error_of(what).find(part), std::string::npos) << input_error_of(what);
  };
  refused("fifo: is not a regular file but a FIFO", [&] { InputFile(folder / "fifo"); });
  refused("is not a regular file but a device", [&] { InputFile("/dev/zero"); });
  refused("is not a regular file but a folder", [&] { InputFile(folder.path()); });
  FileSystem& files = FileSystem::real();
  refused("is not a regular file", [&] { files.create(folder / "fifo"); });
  refused("is not a regular file but a device", [&] { files.create_or_open("/dev/null"); });
  spill(folder / "target", "theirs");
  fs::create_symlink(folder / "target", folder / "link");
  refused("is a symbolic link", [&] { files.create(folder / "link"); });
  fs::create_symlink("loop", folder / "loop");
  refused("cannot open the file", [&] { InputFile(folder / "loop"); });
  EXPECT_EQ(slurp(folder / "target"), "theirs");
  // 4 TiB of nothing is not read.
  spill(folder / "sparse", "");
  fs::resize_file(folder / "sparse", std::uintmax_t{4} << 40);
  refused("sparse: 4398046511104 bytes is too large (at most 1048576)",
          [&] { read_text_file(folder / "sparse", 1 << 20); });
}

// `ulimit -f`: the signal is the program's to ignore; then the write fails like that of a full
// disk.
TEST(File, ALimitOfFileSizesIsAnErrorOfTheWrite) {
  const TemporaryFolder folder;
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{4096, limit.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = input_error_of(
      [&] { write_file_atomically(FileSystem::real(), folder / "a", std::string(8192, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_NE(message.find("ulimit -f"), std::string::npos) << message;
}

}  // namespace
}  // namespace memengine
