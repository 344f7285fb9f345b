// What changed since another commit's record (`bench --against OLD.json`).
#pragma once

#include <string>
#include <vector>

#include "engine/bench/results.h"

namespace memengine::bench {

// A time of a record: an op at a shape, or a case's whole step.
struct RecordedTime {
  std::string bench_case, what, shape;
  double ms = 0;
};

struct Record {
  std::string path, device;
  std::vector<RecordedTime> times;
};

// Reads what `bench --json` wrote. Input error: no such file, or another kind of file.
Record read_record(const std::string& path);

// Lines of text: every time that is in both and differs by 2% or more, largest gain in a step
// first; how many did not change; what only one of the two has, a case in one line where the record
// lacks it. Records of different devices are compared too, and the first line says so.
std::string changes_since(const Record& record, const Results& results);

}  // namespace memengine::bench
