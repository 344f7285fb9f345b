// Runs a fuzz target without libFuzzer: all seeds, then mutations of them, always the same ones.
// The input at hand is written to a file before the process dies, so that a finding can be kept.
//
//   fuzz_<name> [RUNS] [SECONDS]    mutations: that many, or fewer when the seconds are over
//   fuzz_<name> FILE                only this input
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <exception>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/fuzz/fuzz_target.h"

namespace {

std::string at_hand;

void keep_input() {
  std::ofstream("fuzz_finding", std::ios::binary) << at_hand;
  std::fprintf(stderr, "fuzz: the input (%zu bytes) is in the file fuzz_finding\n", at_hand.size());
}

extern "C" void on_signal(int signal) {
  keep_input();  // not safe in a handler in general; the process is lost anyway
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(std::string input) {
  at_hand = std::move(input);
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(at_hand.data()), at_hand.size());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz: an exception left the target: %s\n", error.what());
    std::abort();
  }
}

// One to eight small damages: changed, removed, repeated, inserted or foreign bytes.
std::string mutate(const std::vector<std::string>& seeds, std::mt19937_64& random) {
  static constexpr unsigned char edges[] = {0, 1, 0x7F, 0x80, 0xBF, 0xC0, 0xED, 0xFF, '"', '\\'};
  std::string text = seeds[random() % seeds.size()];
  for (std::uint64_t left = 1 + random() % 8; left > 0; --left) {
    const std::size_t at = text.empty() ? 0 : random() % text.size();
    const std::size_t count = std::min<std::size_t>(text.size() - at, 1 + random() % 16);
    switch (random() % 7) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(text[at] ^ 1 << random() % 8);
        break;
      case 1:
        if (!text.empty()) text[at] = static_cast<char>(edges[random() % sizeof edges]);
        break;
      case 2:
        text.erase(at, count);
        break;
      case 3:
        text.insert(at, text.substr(at, count));
        break;
      case 4:
        text.insert(at, 1, static_cast<char>(random()));
        break;
      case 5:
        text.resize(at);
        break;
      default: {
        const std::string& other = seeds[random() % seeds.size()];
        if (!other.empty()) text.insert(at, other.substr(random() % other.size(), count));
      }
    }
  }
  return text;
}

}  // namespace

int main(int argument_count, char** arguments) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    std::signal(signal, on_signal);
  }
  const std::string first = argument_count > 1 ? arguments[1] : "";
  if (!first.empty() && first.find_first_not_of("0123456789") != std::string::npos) {
    std::ifstream file(first, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot open %s\n", first.c_str());
      return 2;
    }
    run({std::istreambuf_iterator<char>(file), {}});
    return 0;
  }
  const long runs = first.empty() ? 20000 : std::strtol(first.c_str(), nullptr, 10);
  const long seconds = argument_count > 2 ? std::strtol(arguments[2], nullptr, 10) : 2;
  const std::vector<std::string> seeds = fuzz_seeds();
  fuzz_check(!seeds.empty(), "the target has no seeds");
  run("");
  for (const std::string& seed : seeds) run(seed);
  std::mt19937_64 random(20240520);
  const auto start = std::chrono::steady_clock::now();
  long done = 0;
  while (done < runs && std::chrono::steady_clock::now() - start < std::chrono::seconds(seconds)) {
    run(mutate(seeds, random));
    ++done;
  }
  std::printf("%zu seeds and %ld mutations of them\n", seeds.size(), done);
  return 0;
}
