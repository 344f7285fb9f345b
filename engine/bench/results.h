// What a benchmark finds, as plain data: ceilings of the machine, ops, whole steps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memengine::bench {

// What bounds an op.
enum class Limit : std::uint8_t {
  memory,     // bytes through the device's memory
  matrix,     // floating-point operations of matrix products
  link_read,  // bytes from host memory to the GPU
  link_both,  // bytes both ways between host memory and the GPU, added up
};

// The best that simple, favourable work reaches on this machine; 0 where there is no such thing.
struct Ceilings {
  double memory = 0;       // bytes/s read plus written by a large device copy
  double l2 = 0;           // bytes/s read again and again from a few MiB, GPU only
  double matrix_f32 = 0;   // FLOP/s of a large product, TF32 off
  double matrix_bf16 = 0;  // FLOP/s
  double link_read = 0;    // bytes/s, page-locked host memory to the device
  double link_write = 0;   // bytes/s, device to page-locked host memory
  double link_both = 0;    // bytes/s, both at once, added up

  double of(Limit limit, bool bf16) const {
    switch (limit) {
      case Limit::memory:
        return memory;
      case Limit::matrix:
        return bf16 ? matrix_bf16 : matrix_f32;
      case Limit::link_read:
        return link_read;
      case Limit::link_both:
        return link_both;
    }
    return 0;
  }
};

// One line of the table of ceilings.
struct CeilingResult {
  std::string name;
  double value = 0;
  std::string unit;  // "GB/s", "TFLOP/s", "GFLOP/s", "GiB/s", "s"
};

struct OpResult {
  std::string bench_case;  // whose shapes these are
  std::string op;
  std::string shape;
  double calls_per_step = 0;  // 0: measured for comparison, not part of the predicted step
  double seconds = 0;         // of one call
  double bytes = 0;           // that the algorithm has to move, by formula
  double distinct_bytes = 0;  // of those, each byte counted once however often it is read
  double flops = 0;           // by formula
  Limit limit = Limit::memory;
  double share_of_ceiling = 0;  // 0: no ceiling known
  double floor_seconds = 0;     // no version is much faster; 0: no ceiling known

  double rate() const { return (limit == Limit::matrix ? flops : bytes) / seconds; }
  double seconds_per_step() const { return calls_per_step * seconds; }
  double times_floor() const { return floor_seconds > 0 ? seconds / floor_seconds : 0; }
};

struct StepResult {
  std::string bench_case;
  std::string failure;  // why it could not run; the rest is 0 then
  double seconds = 0;   // median of a step
  std::int64_t tokens = 0;
  double flops_per_token = 0;
  double loss = 0;                      // of the last step, nats per token
  std::int64_t device_bytes = 0;        // planned
  std::int64_t host_bytes = 0;          // planned
  std::int64_t device_bytes_taken = 0;  // free GPU memory before minus after
  double seconds_to_start = 0;          // allocation and initial weights
  std::int64_t picks = 0;               // of the last step, all banks
  std::int64_t unique_rows = 0;
  // Of the last step's distinct rows, those found in the cache of a host table; and what crossed.
  double cache_hit_share = 0;
  std::int64_t link_bytes = 0;
  // Medians of steps with and without the guard of the updates, in turns; 0: not measured.
  double seconds_guarded = 0, seconds_unguarded = 0;

  double tokens_per_second() const { return static_cast<double>(tokens) / seconds; }
};

// What the exchanges of one purpose take of a step, on rank 0.
struct ExchangeShare {
  std::string purpose;  // "dense gradients"
  double calls = 0;     // a step
  double seconds = 0;   // a step: from the start of each to its end, waits for others included
  double bytes = 0;     // a step: sent to other ranks
};

// A step of several ranks, each with the batch of the one.
struct RanksResult {
  std::string bench_case;
  std::string tokens_from;  // "random tokens" or a folder of shards
  int ranks = 1;
  StepResult one, all;                   // of one rank alone, measured by rank 0; of all together
  double seconds_observed = 0;           // of a step while its exchanges were measured
  std::vector<ExchangeShare> exchanges;  // the longest first
  std::int64_t host_bytes_of_all = 0;    // planned, of all ranks together
  std::int64_t host_bytes_resident = 0;  // what all processes together took more while they had it
  std::int64_t one_host_bytes_resident = 0;

  // Of tokens per second; 0 where one of them failed.
  double ratio() const {
    const bool both = one.seconds > 0 && all.seconds > 0;
    return both ? all.tokens_per_second() / one.tokens_per_second() : 0;
  }
};

// Greedy decoding of `sequences` texts at once.
struct DecodeResult {
  std::string bench_case;
  std::string failure;  // why it could not run; the rest is 0 then
  std::int64_t sequences = 0;
  std::int64_t prompt = 0, new_tokens = 0;  // tokens of each text
  double seconds = 0;                       // from the prompts to the last token, median
  // One text on the CPU: what a new token reads of the weights and of the rows it picks, and what
  // all threads together read of the memory; 0: not measured.
  std::int64_t bytes_per_token = 0;
  double memory_rate = 0;  // bytes/s

  // Of new tokens; of the prompts' tokens where only one new token was asked for.
  double tokens_per_second() const {
    return static_cast<double>(sequences * (new_tokens > 1 ? new_tokens : prompt)) / seconds;
  }
  // Of the memory's rate; above 1 where the weights stay in a cache.
  double share_of_memory() const {
    return tokens_per_second() * static_cast<double>(bytes_per_token) / memory_rate;
  }
};

// One way of a ladder (ladders/ladder.h).
struct RungResult {
  std::string ladder, shape, rung;
  std::string file;    // of the repository
  std::string why;     // it is faster than the one before
  double seconds = 0;  // 0: it needs a GPU
};

struct Results {
  std::string device;
  Ceilings ceilings;
  std::vector<CeilingResult> ceiling_lines;
  std::vector<OpResult> ops;
  std::vector<std::string> failures;  // of op measurements: case and reason
  std::vector<StepResult> steps;
  std::vector<DecodeResult> decodes;
  std::vector<RanksResult> ranks;
  std::vector<RungResult> rungs;
};

}  // namespace memengine::bench
