// memengine memory text MODEL TEXT
#include <algorithm>
#include <optional>

#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/pages/pages.h"

namespace memengine {
namespace {

struct TextArguments : MemoryArguments {
  std::string text;
  std::int64_t top = 3;
};

void print_text_probe(const ProbeModel& model, const TextProbe& probe, const Corpus* corpus,
                      std::int64_t top) {
  const auto heads = static_cast<std::size_t>(model.heads());
  if (corpus != nullptr) {
    print("rarity: bits of the rows that a token reads, by {} tokens of {}\n",
          grouped(corpus->tokens()), corpus->what());
  }
  print("rows of each head, weight in percent; the {} strongest of {}\n\n", top,
        model.config().productkey_args.mem_knn);
  for (const TextToken& token : probe.tokens) {
    print("{:<14} loss {:>5.2f}{}\n", token.piece, token.loss,
          token.rarity ? fmt::format("  rarity {:.1f}", *token.rarity) : "");
    for (std::size_t list = 0; list < token.picks.size(); ++list) {
      std::vector<PickedRow> picks = token.picks[list];
      if (static_cast<std::int64_t>(picks.size()) > top) {
        picks.resize(static_cast<std::size_t>(top));
      }
      std::string words;
      for (const PickedRow& pick : picks) {
        words += fmt::format("  {} ({:.0f})", pick.row, 100 * pick.weight);
      }
      print("    layer {} head {} {}\n", model.layers()[list / heads], list % heads, words);
    }
  }
}

// The corpus by which rows are rare: what was asked for, or the model's own where it is there.
std::unique_ptr<Corpus> open_corpus(ProbeModel& model, const TextArguments& arguments,
                                    ReadingLine& line) {
  CorpusOptions options = arguments.corpus;
  if (!options.data.empty()) return std::make_unique<Corpus>(model, options, line.progress());
  options.split_if_any = "val";
  try {
    return std::make_unique<Corpus>(model, options, line.progress());
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input || !options.split.empty()) throw;
    fmt::print(stderr, "note: rarities are left out: {}\n", printable(error.what()));
    return nullptr;
  }
}

void memory_text(TextArguments arguments) {
  check_page(arguments);
  ProbeModel model(arguments.model);
  ReadingLine line("reading");
  probe_text(model, arguments.text, nullptr);  // refuses before a corpus is read
  std::unique_ptr<Corpus> corpus = open_corpus(model, arguments, line);
  std::optional<RowUse> use;
  if (corpus) use = count_row_use(model, [&](ScoreRows& rows) { return corpus->next(rows); });
  line.clear();
  const TextProbe probe = probe_text(model, arguments.text, use ? &*use : nullptr);
  if (!said_in_json(arguments, text_json(model, probe, corpus ? corpus->what() : ""))) {
    print_text_probe(model, probe, corpus.get(), arguments.top);
  }
  if (!arguments.html.empty()) {
    write_page(arguments,
               text_page(model, probe, use ? &*use : nullptr, corpus ? corpus->what() : "",
                         static_cast<std::size_t>(arguments.top)));
  }
}

}  // namespace

void add_memory_text(CLI::App& memory) {
  CLI::App* command = memory.add_subcommand("text", "The rows that each token of a text reads");
  auto arguments = std::make_shared<TextArguments>();
  add_model(*command, *arguments);
  command->add_option("text", arguments->text, "The text")->required();
  add_corpus(*command, *arguments);
  command->add_option("--top", arguments->top, "Rows of each head to list")
      ->check(at_least(1))
      ->capture_default_str();
  add_json(*command, *arguments);
  add_html(*command, *arguments);
  command->footer(
      "How rare a row is says a corpus: --data, else the held-out part of the model's own.");
  command->callback([=] { memory_text(*arguments); });
}

}  // namespace memengine
