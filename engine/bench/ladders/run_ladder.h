// Times the rungs of a ladder and says what each gives.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/bench/results.h"
#include "engine/bench/timing.h"

namespace memengine::bench {

struct LadderOptions;

// Lines for people go to `say` as soon as they are known. Input error: an unknown name.
std::vector<RungResult> run_ladder(const std::string& name, Device device,
                                   const TimingOptions& timing, const LadderOptions& options,
                                   const std::function<void(const std::string&)>& say);

}  // namespace memengine::bench
