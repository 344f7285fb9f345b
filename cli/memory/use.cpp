// memengine memory use MODEL [--data SHARDS]
#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/pages/pages.h"

namespace memengine {
namespace {

struct UseArguments : MemoryArguments {
  std::size_t top = 10;
};

void print_figures(const std::string& name, const UseFigures& figures, const RowUse& use) {
  print("{:<10} {:>11} {:>6.1f}% {:>8.2f} {:>6.2f} {:>10} {:>10} {:>8.1f}%\n", name,
        grouped(figures.distinct),
        100.0 * static_cast<double>(figures.distinct) / static_cast<double>(use.rows()),
        figures.entropy, figures.kl_to_uniform,
        fmt::format("{} + {}", figures.dead_first, figures.dead_second),
        grouped(use.rows() - figures.distinct),
        100.0 * static_cast<double>(figures.top_thousandth) /
            static_cast<double>(std::max<std::int64_t>(figures.picks, 1)));
}

void print_use(const ProbeModel& model, const RowUse& use, const Corpus& corpus, std::size_t top) {
  print("{} tokens of {}; table of {} rows ({} x {} sub-keys){}\n\n", grouped(use.tokens()),
        corpus.what(), grouped(use.rows()), use.n_keys(), use.n_keys(),
        model.shares_table() && use.memories() > 1 ? ", shared by all layers" : "");
  print("{:<10} {:>11} {:>7} {:>8} {:>6} {:>10} {:>10} {:>9}\n", "", "rows used", "", "entropy",
        "KL", "dead keys", "dead rows", "top 0.1%");
  for (std::size_t m = 0; m < use.memories(); ++m) {
    print_figures(fmt::format("layer {}", model.layers()[m]),
                  use_figures(use.layer_counts(m), use.n_keys(), top), use);
    for (std::size_t head = 0; head < use.heads(); ++head) {
      print_figures(fmt::format("  head {}", head),
                    use_figures(use.counts(m, head), use.n_keys(), top), use);
    }
  }
  print("\nmost used rows (picks)\n");
  for (std::size_t m = 0; m < use.memories(); ++m) {
    std::string line;
    for (const auto& [row, count] : use_figures(use.layer_counts(m), use.n_keys(), top).top) {
      line += fmt::format("  {} ({})", row, grouped(count));
    }
    print("  layer {:<4}{}\n", model.layers()[m], line);
  }
  const std::vector<UseOverlap> overlaps = use.overlaps();
  if (overlaps.empty()) return;
  print("\npicks in common: 1 where two heads use the rows alike\n");
  const auto label = [&](std::size_t list) {
    return fmt::format("{}.{}", model.layers()[list / use.heads()], list % use.heads());
  };
  const std::size_t lists = use.memories() * use.heads();
  constexpr std::size_t most_columns = 16;
  if (lists > most_columns) {
    print("  {} pairs of heads: --json and --html have them\n",
          grouped(static_cast<std::int64_t>(overlaps.size())));
    return;
  }
  print("  {:<6}", "");
  for (std::size_t b = 1; b < lists; ++b) print(" {:>5}", label(b));
  print("\n");
  for (std::size_t a = 0; a + 1 < lists; ++a) {
    print("  {:<6}", label(a));
    for (std::size_t b = 1; b < lists; ++b) {
      const auto found = std::find_if(overlaps.begin(), overlaps.end(),
                                      [&](const UseOverlap& o) { return o.a == a && o.b == b; });
      print(" {:>5}", found == overlaps.end() ? "" : fmt::format("{:.2f}", found->picks));
    }
    print("\n");
  }
}

void memory_use(const UseArguments& arguments) {
  check_page(arguments);
  ProbeModel model(arguments.model);
  ReadingLine line("reading");
  Corpus corpus(model, arguments.corpus, line.progress());
  const RowUse use = count_row_use(model, [&](ScoreRows& rows) { return corpus.next(rows); });
  line.clear();
  if (!said_in_json(arguments, use_json(model, use, corpus.what(), arguments.top))) {
    print_use(model, use, corpus, arguments.top);
  }
  if (!arguments.html.empty()) {
    write_page(arguments, use_page(model, use, corpus.what(), arguments.top));
  }
}

}  // namespace

void add_memory_use(CLI::App& memory) {
  CLI::App* command = memory.add_subcommand("use", "Which rows a corpus reads, and how often");
  auto arguments = std::make_shared<UseArguments>();
  add_model(*command, *arguments);
  add_corpus(*command, *arguments);
  command->add_option("--top", arguments->top, "Most used rows to list")->capture_default_str();
  add_json(*command, *arguments);
  add_html(*command, *arguments);
  command->callback([=] { memory_use(*arguments); });
}

}  // namespace memengine
