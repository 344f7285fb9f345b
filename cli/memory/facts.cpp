// memengine memory facts MODEL --people N
#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/pages/pages.h"

namespace memengine {
namespace {

struct FactsArguments : MemoryArguments {
  FactsOptions facts;
};

std::string group_text(const FactGroup& group) {
  return fmt::format("{:>5.1f}% +- {:<4.1f} {:>6.2f}", 100 * group.share_lost,
                     100 * group.share_error, group.log_probability);
}

void print_study(const FactStudy& study) {
  print("{} of {} questions are answered; {} of these facts are studied\n", grouped(study.answered),
        grouped(study.questions), grouped(study.facts));
  print(
      "questions that become unanswerable, mean over the facts +- standard error, and the change "
      "of log p(value) in nats\n\n");
  print("{:<17} {:>7} {:>7}  {:<20} {:<20} {:<20}\n", "silenced", "rows", "reads", "this fact",
        "this person's others", "other people's");
  for (const FactArm& arm : study.arms) {
    print("{:<17} {:>7.1f} {:>6.2f}%  {} {} {}\n", arm.name, arm.rows, 100 * arm.share_of_reads,
          group_text(arm.own), group_text(arm.person), group_text(arm.others));
  }
}

void memory_facts(const FactsArguments& arguments) {
  check_page(arguments);
  ProbeModel model(arguments.model);
  ReadingLine line("facts");
  const FactStudy study =
      study_facts(model, arguments.facts,
                  [&](std::int64_t done, std::int64_t all) { line.show("facts", done, all); });
  line.clear();
  if (!said_in_json(arguments, facts_json(study, arguments.facts))) print_study(study);
  if (!arguments.html.empty()) write_page(arguments, facts_page(model, study, arguments.facts));
}

}  // namespace

void add_memory_facts(CLI::App& memory) {
  CLI::App* command = memory.add_subcommand(
      "facts", "Do the rows that a synthetic person's sentences read hold that person's facts?");
  auto arguments = std::make_shared<FactsArguments>();
  FactsOptions& facts = arguments->facts;
  add_model(*command, *arguments);
  command->add_option("--people", facts.people, "As `memengine synth` or the demo wrote them")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--passages", facts.passages, "Paraphrases of each")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--seed", facts.seed, "Of the people, and of what is drawn here")
      ->capture_default_str();
  command->add_option("--facts", facts.facts, "To study")
      ->check(at_least(2))
      ->capture_default_str();
  command->add_option("--others", facts.others, "Questions about other people, for each")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--share", facts.share, "Of a fact's paraphrases that read a row")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--common", facts.common,
                   "Share of other questions from which on a row is no fact's own")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_json(*command, *arguments);
  add_html(*command, *arguments);
  command->callback([=] { memory_facts(*arguments); });
}

}  // namespace memengine
