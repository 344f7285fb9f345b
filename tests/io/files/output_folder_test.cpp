// Whose folder it is, and who writes into it.
#include "io/files/output_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/files/line_file.h"
#include "kernels/runtime/error.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

TEST(OutputFolder, IsNewOrEmptyAndThenMarked) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  fs::create_directory(folder / "empty/lost+found");  // as on a disk of its own
  for (const char* name : {"a/new", "empty"}) {
    std::string id;
    {
      const OutputFolder first(folder / name, "corpus");
      EXPECT_FALSE(first.was_ours());
      id = first.id();
      folder.write(std::string(name) + "/text", "x");
    }
    const OutputFolder again(folder / name, "corpus");
    EXPECT_TRUE(again.was_ours());
    EXPECT_EQ(again.id(), id);
    EXPECT_EQ(id.size(), 16u);
    EXPECT_EQ(read_folder_mark(folder / name)->kind, "corpus");
  }
}

TEST(OutputFolder, WithoutWorkLeavesNothing) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  { const OutputFolder unused(folder / "empty", "corpus"); }
  { const OutputFolder unused(folder / "new", "corpus"); }
  EXPECT_TRUE(fs::is_empty(folder / "empty"));
  EXPECT_FALSE(fs::exists(folder / "new"));
}

TEST(OutputFolder, SomebodyElsesIsRefusedAndStays) {
  const TemporaryFolder folder;
  folder.write("theirs/thesis.tex", "years");
  folder.write("theirs/z", "");
  expect_input_error("theirs: holds 'thesis.tex' and is not the folder of a corpus",
                     [&] { OutputFolder(folder / "theirs", "corpus"); });
  EXPECT_FALSE(fs::exists(folder / "theirs/.memengine"));
  EXPECT_EQ(file_bytes(folder / "theirs/thesis.tex"), "years");
  folder.write("file", "x");
  expect_input_error("is a file, not a folder", [&] { OutputFolder(folder / "file", "corpus"); });
  // A folder of ours of another kind, and marks that are none.
  {
    const OutputFolder run(folder / "run", "training run");
    folder.write("run/x", "");
  }
  expect_input_error("run: is the folder of another kind of work (training run, not corpus)",
                     [&] { OutputFolder(folder / "run", "corpus"); });
  folder.write("note/.memengine", "remember the milk\n");
  expect_input_error("is not of this program", [&] { OutputFolder(folder / "note", "corpus"); });
  EXPECT_EQ(file_bytes(folder / "note/.memengine"), "remember the milk\n");
  fs::create_directory(folder / "link");
  folder.write("target", "precious");
  fs::create_symlink(folder / "target", folder / "link/.memengine");
  expect_input_error("cannot open the mark", [&] { OutputFolder(folder / "link", "corpus"); });
  EXPECT_EQ(file_bytes(folder / "target"), "precious");
}

TEST(OutputFolder, AMarkThatWasCutWhileItWasMadeIsNone) {
  const TemporaryFolder folder;
  folder.write("a/.memengine", "");
  const OutputFolder taken(folder / "a", "corpus");
  EXPECT_FALSE(taken.was_ours());
  folder.write("b/.memengine", "");
  folder.write("b/text", "x");
  expect_input_error("holds 'text'", [&] { OutputFolder(folder / "b", "corpus"); });
}

TEST(OutputFolder, OlderFoldersAreKnownByWhatTheirCommandSays) {
  const TemporaryFolder folder;
  folder.write("old/data", "x");
  {
    const OutputFolder old(folder / "old", "corpus", [] { return true; });
  }
  EXPECT_TRUE(read_folder_mark(folder / "old").has_value());
}

TEST(OutputFolder, IsLockedWhateverPathLeadsThereAndTheLockDiesWithItsHolder) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "real");
  fs::create_symlink("real", folder / "link");
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const OutputFolder lock(folder / "real", "corpus");
    (void)!::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  for (const char* name : {"real", "link", "link/../real/."}) {
    expect_input_error("another run uses this folder (process " + std::to_string(child) + " on ",
                       [&] { OutputFolder(folder / name, "corpus"); });
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const OutputFolder lock(folder / "link", "corpus");  // free again, although nobody cleaned up
  EXPECT_NE(file_bytes(folder / "real/.memengine").find(std::to_string(::getpid())),
            std::string::npos);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(LineFile, GivesLinesAndBoundsThem) {
  const TemporaryFolder folder;
  std::string long_line(700'000, 'y');
  folder.write("f", "a\n\n" + long_line + "\nlast");
  LineFile file(folder / "f", 1 << 20);
  std::string_view line;
  std::vector<std::size_t> sizes;
  std::vector<std::uint64_t> ends;
  while (file.next(line)) {
    sizes.push_back(line.size());
    ends.push_back(file.end());
    EXPECT_EQ(file.whole(), line != "last");
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{1, 0, 700'000, 4}));
  EXPECT_EQ(ends, (std::vector<std::uint64_t>{2, 3, 700'004, 700'008}));
  LineFile bounded(folder / "f", 1 << 16);
  EXPECT_TRUE(bounded.next(line) && bounded.next(line));
  expect_input_error(":3: the line is longer than", [&] { bounded.next(line); });
  // A line of 4 TiB.
  folder.write("sparse", "");
  fs::resize_file(folder / "sparse", std::uintmax_t{4} << 40);
  LineFile endless(folder / "sparse");
  expect_input_error("sparse:1: the line is longer than 16 MiB", [&] { endless.next(line); });
}

}  // namespace
}  // namespace memengine
