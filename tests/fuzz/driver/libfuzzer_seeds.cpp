// libFuzzer calls this before it reads the corpus: the seeds become files of the corpus folder (the
// last argument that is no option), where they are not there yet.
#include <filesystem>
#include <fstream>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* argument_count, char*** arguments) {
  std::filesystem::path corpus;
  for (int i = 1; i < *argument_count; ++i) {
    if ((*arguments)[i][0] != '-') corpus = (*arguments)[i];
  }
  if (!std::filesystem::is_directory(corpus)) return 0;
  int number = 0;
  for (const std::string& seed : fuzz_seeds()) {
    const auto path = corpus / ("seed_" + std::to_string(number++));
    if (!std::filesystem::exists(path)) std::ofstream(path, std::ios::binary) << seed;
  }
  return 0;
}
