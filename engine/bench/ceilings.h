// What this machine can do at best: memory, matrix products, the link to host memory.
//
// These are measured, not looked up, and every op is judged by its share of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/bench/results.h"
#include "engine/bench/timing.h"

namespace memengine::bench {

struct CeilingOptions {
  bool quick = false;                    // smaller sizes
  double table_gib = 32;                 // of the host memory that is gathered from
  std::int64_t gathered_rows = 1 << 19;  // of every gather
};

using OnCeiling = std::function<void(const CeilingResult&)>;

// Each line is handed to `on_result` as soon as it is measured.
Ceilings measure_ceilings(Runtime& runtime, const TimingOptions& timing,
                          const CeilingOptions& options, const OnCeiling& on_result);

// CUDA only, input error where the table does not fit: page-locking, then gathers from a table of
// host memory, plain ones at four row sizes in random and in sorted order, and the engine's own
// path: de-duplication and gather_rows.
void measure_link_gathers(Runtime& runtime, const TimingOptions& timing,
                          const CeilingOptions& options, const OnCeiling& on_result);

namespace cuda {
// out row i = table row rows[i] for i < count, row_bytes a multiple of 16. The plainest kernel that
// can saturate a link: nothing but loads and stores of 16 bytes.
void plain_gather(const Context& context, void* out, const void* table, const std::int32_t* rows,
                  std::int64_t count, std::int64_t row_bytes);
// Reads all of `bytes` (a multiple of 16 KiB) at `data` `times` times over, all multiprocessors
// each time at another place, and writes nothing but `out` [1], f32.
void read_repeatedly(const Context& context, float* out, const void* data, std::int64_t bytes,
                     int times);
}  // namespace cuda

}  // namespace memengine::bench
