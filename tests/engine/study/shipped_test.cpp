// The configs and studies that come with the program are read as a user would have them read, both
// forms of each study: what no test trains is at least what its keys say.
#include <gtest/gtest.h>

#include "engine/config/config.h"
#include "engine/study/study.h"
#include "io/files/file.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> yaml_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  return files;
}

TEST(Shipped, ConfigsAreRead) {
  int read = 0;
  for (const fs::path& file : yaml_files("configs")) {
    if (is_eval_config(file.string(), {})) {
      EXPECT_NO_THROW(load_eval_config(file.string(), {})) << file;
    } else {
      EXPECT_NO_THROW(load_run_config(file.string(), {})) << file;
    }
    ++read;
  }
  EXPECT_GE(read, 8);
}

TEST(Shipped, StudiesAreRead) {
  int read = 0;
  for (const fs::path& file : yaml_files("configs/studies")) {
    const bool has_small = read_text_file(file, 1 << 20).find("\nsmall:") != std::string::npos;
    for (const bool small : {false, true}) {
      if (small && !has_small) continue;
      StudyChanges changes;
      changes.small = small;
      Study study;
      EXPECT_NO_THROW(study = load_study(file, changes)) << file << small;
      EXPECT_GE(study.runs.size(), 2u) << file;
      EXPECT_FALSE(study.prepare.empty()) << file;
      ++read;
    }
  }
  EXPECT_GE(read, 4);
}

}  // namespace
}  // namespace memengine
