// Tables and JSON.
#include "engine/bench/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/bench/ranks/ranks_report.h"
#include "engine/config/memory_plan.h"
#include "kernels/runtime/error.h"

namespace memengine::bench {
namespace {

constexpr const char* limit_names[] = {"memory", "matrix", "link read", "link both"};

const char* limit_name(Limit limit) {
  return limit_names[static_cast<std::size_t>(limit)];
}

std::string share_text(double share) {
  return share > 0 ? fmt::format("{:.0f}%", 100 * share) : "";
}

std::string rate_text(const OpResult& result) {
  if (result.limit != Limit::matrix) return fmt::format("{:.1f} GB/s", result.rate() / 1e9);
  return result.rate() >= 1e12 ? fmt::format("{:.1f} TFLOP/s", result.rate() / 1e12)
                               : fmt::format("{:.1f} GFLOP/s", result.rate() / 1e9);
}

}  // namespace

std::string ceiling_line(const CeilingResult& result) {
  return fmt::format("  {:<52} {:>10.2f} {}", result.name, result.value, result.unit);
}

std::string op_head() {
  return fmt::format("  {:<36} {:<50} {:>9} {:>9} {:>5} {:>14} {:>5} {:<9} {:>6} {:>9}", "op",
                     "shape", "ms", "floor ms", "x", "rate", "share", "of", "calls", "ms/step");
}

std::string op_line(const OpResult& result) {
  const bool in_step = result.calls_per_step > 0;
  const bool floored = result.floor_seconds > 0;
  return fmt::format("  {:<36} {:<50} {:>9.4f} {:>9} {:>5} {:>14} {:>5} {:<9} {:>6} {:>9}",
                     result.op, result.shape, 1e3 * result.seconds,
                     floored ? fmt::format("{:.4f}", 1e3 * result.floor_seconds) : "",
                     floored ? fmt::format("{:.1f}", result.times_floor()) : "", rate_text(result),
                     share_text(result.share_of_ceiling), limit_name(result.limit),
                     in_step ? fmt::format("{:.4g}", result.calls_per_step) : "",
                     in_step ? fmt::format("{:.3f}", 1e3 * result.seconds_per_step()) : "");
}

std::string step_head() {
  return fmt::format("  {:<24} {:>10} {:>11} {:>9} {:>11} {:>11} {:>11} {:>8} {:>8} {:>8}",
                     "training step", "ms", "tokens/s", "TFLOP/s", "device plan", "taken",
                     "host plan", "distinct", "loss", "start s");
}

std::string step_line(const StepResult& result) {
  if (!result.failure.empty()) return fmt::format("  {:<24} {}", result.bench_case, result.failure);
  const double tokens_per_second = result.tokens_per_second();
  std::string line = fmt::format(
      "  {:<24} {:>10.3f} {:>11.0f} {:>9.3f} {:>11} {:>11} {:>11} {:>8} {:>8.3f} {:>8.1f}",
      result.bench_case, 1e3 * result.seconds, tokens_per_second,
      tokens_per_second * result.flops_per_token / 1e12, bytes_text(result.device_bytes),
      result.device_bytes_taken > 0 ? bytes_text(result.device_bytes_taken) : "-",
      result.host_bytes > 0 ? bytes_text(result.host_bytes) : "-",
      result.picks > 0 ? fmt::format("{:.2f}%", 100.0 * static_cast<double>(result.unique_rows) /
                                                    static_cast<double>(result.picks))
                       : "-",
      result.loss, result.seconds_to_start);
  if (result.link_bytes > 0) {
    line +=
        fmt::format("\n  {:<24} {:>10.2f}% of the last step's rows in the cache, {} over the link",
                    "  row cache", 100 * result.cache_hit_share, bytes_text(result.link_bytes));
  }
  if (result.seconds_unguarded > 0) {
    line += fmt::format("\n  {:<24} {:>10.3f} ms with the guard, {:.3f} without: {:+.2f}%",
                        "  in turns", 1e3 * result.seconds_guarded, 1e3 * result.seconds_unguarded,
                        100 * (result.seconds_guarded / result.seconds_unguarded - 1));
  }
  return line;
}

std::string decode_head() {
  return fmt::format("  {:<24} {:>9} {:>8} {:>8} {:>10} {:>11}  {}", "decoding", "sequences",
                     "prompt", "new", "ms", "tokens/s", "counted");
}

std::string decode_line(const DecodeResult& result) {
  if (!result.failure.empty()) return fmt::format("  {:<24} {}", result.bench_case, result.failure);
  std::string line = fmt::format(
      "  {:<24} {:>9} {:>8} {:>8} {:>10.2f} {:>11.0f}  {}", result.bench_case, result.sequences,
      result.prompt, result.new_tokens, 1e3 * result.seconds, result.tokens_per_second(),
      result.new_tokens > 1 ? "new tokens" : "the prompt's tokens");
  if (result.memory_rate > 0) {
    line +=
        fmt::format("\n  {:<24} {} per token: {:.2f} GB/s, {:.1f}% of the memory's {:.2f} GB/s",
                    "  weights read", bytes_text(result.bytes_per_token),
                    result.tokens_per_second() * static_cast<double>(result.bytes_per_token) / 1e9,
                    100 * result.share_of_memory(), result.memory_rate / 1e9);
  }
  return line;
}

std::string costliest_ops(const Results& results, const std::string& bench_case,
                          const StepResult* step) {
  std::vector<OpResult> ops;
  double predicted = 0;
  for (const OpResult& result : results.ops) {
    if (result.bench_case != bench_case || result.calls_per_step <= 0) continue;
    ops.push_back(result);
    predicted += result.seconds_per_step();
  }
  std::stable_sort(ops.begin(), ops.end(), [](const OpResult& a, const OpResult& b) {
    return a.seconds_per_step() > b.seconds_per_step();
  });
  const bool measured = step != nullptr && step->failure.empty();
  const double whole = measured ? step->seconds : predicted;
  std::string text = fmt::format(
      "the ten costliest ops of {}, uniform picks; all ops add up to {:.3f} ms{}\n  {:<36} {:<50} "
      "{:>6} {:>9} {:>9} {:>8} {:>10}\n",
      bench_case, 1e3 * predicted,
      measured ? fmt::format(", the measured step takes {:.3f} ms", 1e3 * step->seconds) : "", "op",
      "shape", "calls", "ms/call", "ms/step", "of step", "of ceiling");
  for (std::size_t i = 0; i < std::min<std::size_t>(ops.size(), 10); ++i) {
    const OpResult& op = ops[i];
    text += fmt::format("  {:<36} {:<50} {:>6.4g} {:>9.4f} {:>9.3f} {:>7.1f}% {:>10}\n", op.op,
                        op.shape, op.calls_per_step, 1e3 * op.seconds, 1e3 * op.seconds_per_step(),
                        100 * op.seconds_per_step() / whole,
                        share_text(op.share_of_ceiling) + " " + limit_name(op.limit));
  }
  text.pop_back();
  return text;
}

std::string to_json(const Results& results) {
  using nlohmann::ordered_json;
  ordered_json ceilings = ordered_json::array();
  for (const CeilingResult& line : results.ceiling_lines) {
    ceilings.push_back({{"name", line.name}, {"value", line.value}, {"unit", line.unit}});
  }
  ordered_json ops = ordered_json::array();
  for (const OpResult& op : results.ops) {
    ops.push_back({{"case", op.bench_case},
                   {"op", op.op},
                   {"shape", op.shape},
                   {"ms", 1e3 * op.seconds},
                   {"bytes", op.bytes},
                   {"distinct_bytes", op.distinct_bytes},
                   {"flops", op.flops},
                   {"floor_ms", 1e3 * op.floor_seconds},
                   {"bytes_per_second", op.bytes / op.seconds},
                   {"flops_per_second", op.flops / op.seconds},
                   {"limit", limit_name(op.limit)},
                   {"share_of_ceiling", op.share_of_ceiling},
                   {"calls_per_step", op.calls_per_step},
                   {"ms_per_step", 1e3 * op.seconds_per_step()}});
  }
  ordered_json steps = ordered_json::array();
  for (const StepResult& step : results.steps) {
    if (!step.failure.empty()) {
      steps.push_back({{"case", step.bench_case}, {"failure", step.failure}});
      continue;
    }
    steps.push_back({{"case", step.bench_case},
                     {"ms", 1e3 * step.seconds},
                     {"tokens", step.tokens},
                     {"tokens_per_second", step.tokens_per_second()},
                     {"flops_per_second", step.tokens_per_second() * step.flops_per_token},
                     {"loss", step.loss},
                     {"device_bytes_planned", step.device_bytes},
                     {"device_bytes_taken", step.device_bytes_taken},
                     {"host_bytes_planned", step.host_bytes},
                     {"seconds_to_start", step.seconds_to_start},
                     {"picks", step.picks},
                     {"unique_rows", step.unique_rows},
                     {"cache_hit_share", step.cache_hit_share},
                     {"link_bytes", step.link_bytes}});
    if (step.seconds_unguarded > 0) {
      steps.back()["ms_guarded"] = 1e3 * step.seconds_guarded;
      steps.back()["ms_unguarded"] = 1e3 * step.seconds_unguarded;
    }
  }
  ordered_json decodes = ordered_json::array();
  for (const DecodeResult& decode : results.decodes) {
    if (!decode.failure.empty()) {
      decodes.push_back({{"case", decode.bench_case}, {"failure", decode.failure}});
      continue;
    }
    decodes.push_back({{"case", decode.bench_case},
                       {"sequences", decode.sequences},
                       {"prompt", decode.prompt},
                       {"new_tokens", decode.new_tokens},
                       {"ms", 1e3 * decode.seconds},
                       {"tokens_per_second", decode.tokens_per_second()}});
    if (decode.memory_rate > 0) {
      decodes.back()["bytes_per_token"] = decode.bytes_per_token;
      decodes.back()["memory_bytes_per_second"] = decode.memory_rate;
    }
  }
  ordered_json document = {
      {"device", results.device},        {"ceilings", ceilings}, {"ops", ops},
      {"op_failures", results.failures}, {"steps", steps},       {"decodes", decodes}};
  for (const RanksResult& result : results.ranks) {
    document["ranks"].push_back(ordered_json::parse(ranks_json(result)));
  }
  for (const RungResult& rung : results.rungs) {
    document["ladder_rungs"].push_back(
        {{"ladder", rung.ladder}, {"shape", rung.shape}, {"rung", rung.rung}, {"file", rung.file}});
    ordered_json& written = document["ladder_rungs"].back();
    if (rung.seconds > 0)
      written["ms"] = 1e3 * rung.seconds;
    else
      written["skipped"] = "it needs a GPU";
  }
  return document.dump(2);
}

void check_json_path(const std::string& path) {
  const bool there = std::filesystem::exists(path);
  errno = 0;
  if (!std::ofstream(path, std::ios::app)) {
    fail_input("bench: --json={}: cannot write there: {}", path, std::strerror(errno));
  }
  if (!there) std::filesystem::remove(path);
}

void write_json(const Results& results, const std::string& path) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << to_json(results) << '\n';
  file.close();
  if (!file) fail_input("bench: cannot write {}", path);
}

}  // namespace memengine::bench
