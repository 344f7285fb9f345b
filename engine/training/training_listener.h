// What training tells whoever watches: the terminal, the log, the metrics file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/config/memory_plan.h"

namespace memengine {

// What a step found in the cache of a host table's rows, and what crossed the link for it
// (kernels/table/staged_rows/staged_rows.h).
struct CacheUse {
  std::int64_t places = 0;
  std::int64_t filled = 0;            // of them, after the step
  std::int64_t found = 0;             // of the step's distinct rows
  std::int64_t came = 0;              // of the others, those that found a place
  std::int64_t updated_in_table = 0;  // and those that found none
  std::int64_t went = 0;              // rows that made room
  // Of all these, both directions; reads of lookups that gather (by FP32 or decayed rows) excluded.
  std::int64_t link_bytes = 0;

  double hit_share() const {
    const std::int64_t all = found + came + updated_in_table;
    return all > 0 ? static_cast<double>(found) / static_cast<double>(all) : 0;
  }
};

// How one bank of memory was used in a step.
struct BankUsage {
  std::string name;              // of the table, as in checkpoints
  std::int64_t unique_rows = 0;  // distinct rows picked in the step
  std::int64_t picks = 0;
  std::int64_t rows = 0;            // of the table
  std::int64_t rows_ever_used = 0;  // since the start of the run
  double divergence = 0;            // KL of the step's picks to uniform use, nats
  std::optional<CacheUse> cache;  // of the bank's tables together; a pass over held-out data: none
  // Rows by how often they were picked: [0] never, [k] in [2^(k-1), 2^k) times. Where it was
  // counted (validation), else empty.
  std::vector<std::int64_t> rows_by_picks;

  // Of the picks; 0 where there are none.
  double unique_share() const { return share(unique_rows, picks); }
  double ever_used_share() const { return share(rows_ever_used, rows); }

 private:
  static double share(std::int64_t part, std::int64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  }
};

// Where training stands between two reports: what the host knows without waiting for the device.
struct StepProgress {
  std::int64_t step = 0;  // updates done, as far as the host knows; the figures are of this one
  double loss = 0;
  double dense_gradient_norm = 0;
  double value_gradient_norm = 0;
  double learning_rate = 0;
  double tokens_per_second = 0;  // since the last report
  double seconds_per_step = 0;
  double data_seconds_per_step = 0;
  double seconds_left = 0;
};

struct StepReport {
  std::int64_t step = 0;  // updates done
  std::int64_t steps = 0;
  double loss = 0;  // nats per token
  double dense_gradient_norm = 0;
  double value_gradient_norm = 0;
  double learning_rate = 0;
  double value_learning_rate = 0;
  std::int64_t total_tokens = 0;
  double tokens_per_second = 0;  // since the last report
  double flops_per_second = 0;
  double attainable_share = 0;  // of the device's matrix products; 0: not measured
  double seconds_per_step = 0;
  double data_seconds_per_step = 0;  // of that, waiting for data
  double seconds_left = 0;
  std::int64_t skipped_updates = 0;  // bad numbers and skipped spikes, since the start of the run
  std::int64_t spikes = 0;
  std::vector<BankUsage> banks;
  std::int64_t banks_step = 0;  // the update whose use `banks` tells
};

struct ValidationReport {
  std::int64_t step = 0;
  double loss = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
  // Over the batches that were read; empty without memory layers.
  std::vector<BankUsage> banks;
};

// What a probed step computed (engine/training/watch/probe.h).
struct ProbeReport {
  struct Statistics {
    std::string name;
    double mean = 0;
    double deviation = 0;   // standard deviation over all elements
    double largest = 0;     // absolute value
    double zero_share = 0;  // of the elements
  };
  std::int64_t step = 0;  // updates done with it
  std::vector<Statistics> tensors;
};

struct SaveReport {
  std::int64_t step = 0;
  std::string path;
  double seconds = 0;  // that training waited
  std::int64_t bytes = 0;
  std::int64_t base_step = -1;  // of an increment: the full checkpoint that it adds to
};

struct RunStart {
  std::string device;
  std::int64_t parameters = 0;         // dense
  std::int64_t frozen_parameters = 0;  // of them
  std::int64_t value_parameters = 0;
  std::vector<std::string> tables;  // names of the value tables, as in checkpoints
  std::int64_t flops_per_token = 0;
  std::int64_t training_tokens = 0;  // in the data
  std::int64_t resumed_step = -1;    // -1: from the beginning
  MemoryPlan plan;
};

class TrainingListener {
 public:
  virtual ~TrainingListener() = default;
  virtual void started(const RunConfig& /*config*/, const RunStart& /*start*/) {}
  virtual void stepped(const StepReport& /*report*/) {}
  // Several times per second at most, between reports.
  virtual void progressed(const StepProgress& /*progress*/) {}
  // Comes some steps after it was made.
  virtual void probed(const ProbeReport& /*report*/) {}
  virtual void validated(const ValidationReport& /*report*/) {}
  virtual void saved(const SaveReport& /*report*/) {}
  // A table of evaluation results, several lines.
  virtual void evaluated(std::int64_t /*step*/, const std::string& /*table*/) {}
  // One line: why training ends before it should. The error that says so comes next.
  virtual void failed(const std::string& /*message*/) {}
  // One line that the user should see once.
  virtual void noticed(const std::string& /*message*/) {}
};

}  // namespace memengine
