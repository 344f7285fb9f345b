// An option that takes several values, parted by commas, takes one word: the next word is a
// variable or a key.
#include "tests/cli/program.h"

namespace memengine {
namespace {

TEST(StudyWords, StandInAnyOrder) {
  const TemporaryFolder folder;
  const std::string study =
      (std::filesystem::current_path() / "configs/studies/demo.yaml").string();
  for (const char* option : {"--only=memory", "--seeds=1,2", "--gpus=0"}) {
    const std::string text = option;
    const std::size_t equals = text.find('=');
    const std::string said = run_well(folder, {"study", study, "--list", text.substr(0, equals),
                                               text.substr(equals + 1), "people=7"});
    expect_contains(said, "--people 7 ");
  }
}

}  // namespace
}  // namespace memengine
