// Ratios, and what stands between them and the number of ranks.
#include "engine/bench/ranks/ranks_report.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "engine/config/memory_plan.h"

namespace memengine::bench {
namespace {

std::string exchange_line(const ExchangeShare& share, double step_seconds) {
  if (share.seconds == 0) {  // no exchange of its own
    return fmt::format("    {:<36} {:>5.4g} {} {}", share.purpose, share.calls,
                       share.calls == 1 ? "time " : "times",
                       bytes_text(static_cast<std::int64_t>(share.bytes)));
  }
  return fmt::format("    {:<36} {:>5.4g} {} {:>9.3f} ms {:>6.1f}% of the step, {} sent",
                     share.purpose, share.calls, share.calls == 1 ? "call " : "calls",
                     1e3 * share.seconds, 100 * share.seconds / step_seconds,
                     bytes_text(static_cast<std::int64_t>(share.bytes)));
}

}  // namespace

std::string ranks_head(int ranks) {
  return fmt::format("  {:<24} {:<20} {:>10} {:>11} {:>10} {:>11} {:>7} {:>9}", "training step",
                     "tokens", "one: ms", "tokens/s", fmt::format("{}: ms", ranks), "tokens/s",
                     "ratio", "loss");
}

std::string ranks_lines(const RanksResult& result) {
  std::string text = fmt::format("  {:<24} {:<20}", result.bench_case, result.tokens_from);
  const auto add = [&](const StepResult& step) {
    text += step.failure.empty()
                ? fmt::format(" {:>10.3f} {:>11.0f}", 1e3 * step.seconds, step.tokens_per_second())
                : fmt::format(" {:>22}", "does not run");
  };
  add(result.one);
  add(result.all);
  if (result.ratio() > 0) text += fmt::format(" {:>7.3f}", result.ratio());
  if (result.all.failure.empty()) text += fmt::format(" {:>9.4f}", result.all.loss);
  for (const StepResult* step : {&result.one, &result.all}) {
    if (step->failure.empty()) continue;
    text +=
        fmt::format("\n    {}: {}", step == &result.one ? "one rank" : "all ranks", step->failure);
  }
  if (!result.all.failure.empty()) return text;
  if (result.host_bytes_of_all > 0) {
    text += fmt::format(
        "\n    {:<36} planned {} for one, {} for all; resident {} and {}", "host memory",
        bytes_text(result.one.host_bytes), bytes_text(result.host_bytes_of_all),
        bytes_text(result.one_host_bytes_resident), bytes_text(result.host_bytes_resident));
  }
  for (const ExchangeShare& share : result.exchanges) {
    text += "\n" + exchange_line(share, result.seconds_observed);
  }
  return text;
}

std::string ranks_json(const RanksResult& result) {
  using nlohmann::ordered_json;
  const auto step_json = [](const StepResult& step) -> ordered_json {
    if (!step.failure.empty()) return {{"failure", step.failure}};
    return {{"ms", 1e3 * step.seconds},
            {"tokens", step.tokens},
            {"tokens_per_second", step.tokens_per_second()},
            {"loss", step.loss},
            {"device_bytes_planned", step.device_bytes},
            {"device_bytes_taken", step.device_bytes_taken},
            {"picks", step.picks},
            {"unique_rows", step.unique_rows}};
  };
  ordered_json exchanges = ordered_json::array();
  for (const ExchangeShare& share : result.exchanges) {
    exchanges.push_back({{"purpose", share.purpose},
                         {"calls", share.calls},
                         {"ms", 1e3 * share.seconds},
                         {"share", share.seconds / result.seconds_observed},
                         {"bytes_sent", share.bytes}});
  }
  return ordered_json{{"case", result.bench_case},
                      {"tokens_from", result.tokens_from},
                      {"ranks", result.ranks},
                      {"one", step_json(result.one)},
                      {"all", step_json(result.all)},
                      {"ratio", result.ratio()},
                      {"ms_observed", 1e3 * result.seconds_observed},
                      {"exchanges", exchanges},
                      {"host_bytes_one", result.one.host_bytes},
                      {"host_bytes_all", result.host_bytes_of_all},
                      {"host_bytes_resident_one", result.one_host_bytes_resident},
                      {"host_bytes_resident_all", result.host_bytes_resident}}
      .dump();
}

}  // namespace memengine::bench
