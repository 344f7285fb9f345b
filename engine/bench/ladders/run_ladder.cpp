// The order in which rungs are timed, and their lines.
#include "engine/bench/ladders/run_ladder.h"

#include "engine/bench/ladders/ladder.h"

namespace memengine::bench {
namespace {

std::string file_of(const Rung& rung, Device device) {
  if (rung.file.find('.') != std::string::npos) return rung.file;
  return rung.file + (device == Device::cuda ? ".cu" : ".cpp");
}

}  // namespace

std::vector<RungResult> run_ladder(const std::string& name, Device device,
                                   const TimingOptions& timing, const LadderOptions& options,
                                   const std::function<void(const std::string&)>& say) {
  const NamedLadder& named = find_ladder(name);
  Runtime runtime(device);
  Workbench bench(runtime, timing);
  Ladder ladder = named.build(bench, options);
  say(fmt::format("ladder {}: {}\n  {}", named.name, named.what, ladder.shape));
  std::vector<RungResult> results;
  double before = 0;
  std::string left_out;
  for (const Rung& rung : ladder.rungs) {
    const bool of_production = &rung == &ladder.rungs.back();
    RungResult result{named.name, ladder.shape, rung.name, file_of(rung, device), rung.why, 0};
    const auto number = results.size() + 1;
    if (rung.run == nullptr) {
      left_out += fmt::format("{}{} ({})", left_out.empty() ? "" : ", ", rung.name,
                              file_of(rung, Device::cuda));
      result.file = file_of(rung, Device::cuda);
      results.push_back(std::move(result));
      continue;
    }
    ladder.reset();
    result.seconds = bench.seconds(rung.run);
    const std::string gain =
        before > 0 ? fmt::format("{:.2f} times as fast", before / result.seconds) : "";
    say(fmt::format("  {} {:<28} {:>11.4f} ms   {:<22} {}{}\n      {}", number, rung.name,
                    result.seconds * 1e3, gain, result.file,
                    of_production ? ": what the engine uses" : "", rung.why));
    before = result.seconds;
    results.push_back(std::move(result));
  }
  if (!left_out.empty()) say("  only on a GPU: " + left_out);
  return results;
}

}  // namespace memengine::bench
