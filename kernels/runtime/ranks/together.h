// Work of which every rank does its part, and which fails on all ranks or on none.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/runtime/communicator.h"

namespace memengine {

// A text of each rank, in their order; they may differ in length.
std::vector<std::string> gather_texts(Communicator& ranks, std::string_view mine);

// Runs `work`, which every rank calls in the same place. Where it throws on some ranks, it throws
// on all of them the error of the first of these, of the same kind, once all are through. The end
// of another rank (RankEnded) is thrown at once. Of one rank: work() alone.
void do_together(Communicator& ranks, const std::function<void()>& work);

}  // namespace memengine
