// Chapter 8: what a recorded step does again and what it does not, shown by a recorder that keeps
// launches with their arguments, as a CUDA graph does.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"

namespace memengine::course {
namespace step_record {
namespace {

using Launch = std::function<void()>;

// StepGraph (kernels/runtime/step_graph.h) on the CPU: the first call runs plainly, the second is
// recorded, every later one does the recorded launches again and runs nothing of the host's code.
class Recorder {
 public:
  void run(const std::function<void(const std::function<void(Launch)>&)>& body) {
    if (++calls_ == 1) {
      body([](const Launch& launch) { launch(); });
      return;
    }
    if (calls_ == 2) body([this](Launch launch) { record_.push_back(std::move(launch)); });
    for (const Launch& launch : record_) launch();
  }

 private:
  int calls_ = 0;
  std::vector<Launch> record_;
};

const std::vector<std::vector<std::int32_t>> picks_of_steps = {
    {7, 2, 9, 7, 2, 7}, {1, 4, 1, 3, 9, 4}, {5, 5, 5, 2, 2, 5}, {0, 1, 2, 3, 4, 5}};
constexpr std::int64_t table_rows = 10;

struct Seen {
  std::vector<float> rate_as_argument, rate_in_memory;
  std::vector<int> rows_as_argument, rows_in_memory;
  std::vector<float> rates;
  std::vector<int> rows;
};

Seen train() {
  Blackboard board;
  OptimConfig config;
  config.scheduler = Scheduler::linear;
  config.lr = 0.4;
  config.warmup = 4;
  const Schedule schedule =
      make_schedule(config, 0, 0, static_cast<std::int64_t>(picks_of_steps.size()));
  const UpdateState state = board.updates(schedule);
  Seen seen;
  Recorder recorder;
  UniqueRows unique;
  std::int32_t count_in_memory = 0;
  for (std::size_t step = 1; step <= picks_of_steps.size(); ++step) {
    // Outside the record: the batch is brought.
    unique = board.deduplicate(board.integers(picks_of_steps[step - 1]), table_rows);
    count_in_memory = integers_of(unique.count)[0];
    seen.rates.push_back(schedule.entries[step].learning_rate);
    seen.rows.push_back(count_in_memory);
    recorder.run([&](const std::function<void(Launch)>& launch) {
      // The host's code: it runs when a step is recorded, and never again.
      const float rate = schedule.entries[step].learning_rate;
      const int rows = count_in_memory;
      launch([&seen, rate] { seen.rate_as_argument.push_back(rate); });
      launch([&seen, rows] { seen.rows_as_argument.push_back(rows); });
      // Addresses as arguments: what lies there is read when the launch runs.
      launch([&seen, &state] {
        const auto* entries = reinterpret_cast<const ScheduleEntry*>(state.schedule.data());
        seen.rate_in_memory.push_back(entries[*state.step.as<std::int32_t>() + 1].learning_rate);
      });
      launch([&seen, &count_in_memory] { seen.rows_in_memory.push_back(count_in_memory); });
      launch([&board, &state] { advance_step(board.context(), state); });
    });
  }
  return seen;
}

template <typename Value>
std::string line(const char* name, const std::vector<Value>& values) {
  std::string text = fmt::format("{:<34}", name);
  for (const Value value : values) text += fmt::format("{:>6}", value);
  return text + '\n';
}

std::string example() {
  const Seen seen = train();
  std::string text = line("step", std::vector<int>{1, 2, 3, 4});
  text += line("how it runs", std::vector<const char*>{"plain", "rec.", "again", "again"}) + '\n';
  text += line("learning rate that is due", seen.rates);
  text += line("  as an argument of the launch", seen.rate_as_argument);
  text += line("  read from memory at [step + 1]", seen.rate_in_memory) + '\n';
  text += line("distinct rows that there are", seen.rows);
  text += line("  as an argument of the launch", seen.rows_as_argument);
  text += line("  read from memory", seen.rows_in_memory);
  text.pop_back();
  return text;
}

struct Line {
  const char* text;
  bool allowed;
  const char* why;
};

const std::vector<Line> lines = {
    {"update_kernel<<<capacity, 256>>>(rows, unique.count.as<int>())", true,
     "the grid is as large as the data can be and the kernel reads the count from memory (rule 3)"},
    {"if (read_scalar<float>(runtime, loss) > 10) return;", false,
     "the host waits for a number of the device and decides by it (rules 2 and 3)"},
    {"wait_for(side, context); merge_picks(side); wait_for(context, side)", true,
     "the side stream comes in and goes out (rule 5)"},
    {"cudaMalloc(&buffer, bytes)", false, "memory is planned and allocated before (rule 1)"},
    {"clip_kernel<<<blocks, 256>>>(gradients, learning_rate_of(step))", false,
     "the rate of the recorded step would be used for ever (rule 4)"},
    {"fill_zero(context, gradients)", true, "it is work on the stream, with a fixed address"},
    {"wait_for(link, context); exchange_rows(link, ...)", false,
     "nothing waits for the link stream afterwards: the record cannot end (rule 5)"},
    {"copy_bytes(context, host_loss, loss, 4) with page-locked host_loss", true,
     "a copy to page-locked memory waits for nothing"}};

std::string question() {
  std::string text =
      "Four of these eight lines must not stand in a step that is recorded. Which?\n";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += fmt::format("\n  {}  {}", i + 1, lines[i].text);
  }
  return text;
}

Verdict check(const std::string& answer) {
  const std::vector<double> given = read_numbers(answer, 4, "the numbers of four lines");
  const std::set<double> chosen(given.begin(), given.end());
  std::vector<std::string> reasons;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool taken = chosen.contains(static_cast<double>(i + 1));
    if (taken && lines[i].allowed) {
      return {false, fmt::format("line {} may stay: {}", i + 1, lines[i].why)};
    }
    if (taken) reasons.push_back(fmt::format("line {}: {}", i + 1, lines[i].why));
  }
  if (reasons.size() != 4) {
    return {false, fmt::format("four different numbers from 1 to {}, please", lines.size())};
  }
  return {true, fmt::format("{}.", fmt::join(reasons, "; "))};
}

}  // namespace
}  // namespace step_record

Chapter step_record_chapter() {
  return {8,
          "08_cuda_graph",
          "The CUDA graph and its rules",
          step_record::example,
          step_record::question,
          step_record::check};
}

}  // namespace memengine::course
