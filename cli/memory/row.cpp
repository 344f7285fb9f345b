// memengine memory row MODEL ROW [--data SHARDS]
#include <algorithm>

#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/rows/row_report.h"
#include "engine/memory_probe/silence/ablation.h"

namespace memengine {
namespace {

struct RowArguments : MemoryArguments {
  std::int64_t row = 0, layer = -1;
  std::size_t top = 10;
};

std::string counts_text(const ProbeModel& model,
                        const std::vector<std::pair<std::int32_t, std::int64_t>>& counts) {
  std::string text;
  for (const auto& [token, count] : counts) {
    text += fmt::format("  [{}] {}", token_text(model.tokenizer(), token), grouped(count));
  }
  return text;
}

void memory_row(const RowArguments& arguments) {
  ProbeModel model(arguments.model);
  check_rows(model, {arguments.row});
  const std::size_t table_of = memory_of_layer(model, arguments.layer);
  if (arguments.layer < 0 && !model.shares_table() && model.layers().size() > 1) {
    fail_input("each layer has a table of its own: say which, with --layer {}",
               fmt::join(model.layers(), " or "));
  }
  ReadingLine line("reading");
  Corpus corpus(model, arguments.corpus, line.progress());
  const RowReport report = report_rows(
                               model, {arguments.row}, table_of,
                               [&](ScoreRows& rows) { return corpus.next(rows); }, arguments.top)
                               .front();
  line.clear();
  if (said_in_json(arguments, row_json(model, report, corpus.what(), corpus.tokens()))) return;
  print("row {} of {}, sub-keys {} and {}; {}\n", report.readers.row, report.table,
        report.readers.row / model.config().productkey_args.mem_n_keys,
        report.readers.row % model.config().productkey_args.mem_n_keys, corpus.what());
  print_row(model, report, corpus.tokens());
}

}  // namespace

void print_row(const ProbeModel& model, const RowReport& row, std::int64_t tokens) {
  const auto heads = static_cast<std::size_t>(model.heads());
  if (row.last_update) {
    print("  {}\n", *row.last_update == 0
                        ? "never updated"
                        : fmt::format("last updated at step {} of {}", grouped(*row.last_update),
                                      grouped(model.source().step)));
  } else {
    print("  when it was last updated only a checkpoint says\n");
  }
  if (tokens > 0) {
    print("  {} by {}\n", counted(row.readers.all_reads(), "read"), counted(tokens, "token"));
    for (std::size_t list = 0; list < row.readers.reads.size(); ++list) {
      if (row.readers.reads[list] == 0) continue;
      print("    layer {} head {}: {}, mean weight {:.1f}%\n", model.layers()[list / heads],
            list % heads, counted(row.readers.reads[list], "read"),
            100 * row.readers.weight[list] / static_cast<double>(row.readers.reads[list]));
    }
    if (row.readers.all_reads() > 0) {
      print("  by tokens   {}\n", counts_text(model, row.readers.tokens));
      print("  before      {}\n", counts_text(model, row.readers.next));
      print("  strongest readers: ...[token] next\n");
    }
    for (const RowRead& read : row.readers.strongest) {
      print("    {:>3.0f}% {}.{} ...{}[{}]{}\n", 100 * read.weight, model.layers()[read.memory],
            read.head, tokens_text(model.tokenizer(), read.before),
            token_text(model.tokenizer(), read.token), token_text(model.tokenizer(), read.next));
    }
  }
  for (const RowReport::Says& says : row.says) {
    std::string words;
    for (const auto& [token, logit] : says.tokens) {
      words += fmt::format("  [{}] {:.1f}", token_text(model.tokenizer(), token), logit);
    }
    print("  it says, through layer {} (an approximation, {}){}\n", model.layers()[says.memory],
          says.gated ? "with its readers' mean gate" : "without the layer's gate", words);
  }
}

void add_memory_row(CLI::App& memory) {
  CLI::App* command = memory.add_subcommand("row", "Who reads a row, and what it says");
  auto arguments = std::make_shared<RowArguments>();
  add_model(*command, *arguments);
  command->add_option("row", arguments->row, "The row's number")->required()->check(at_least(0));
  command->add_option("--layer", arguments->layer, "Whose table, where each layer has its own");
  add_corpus(*command, *arguments);
  command->add_option("--top", arguments->top, "Readers and tokens to list")->capture_default_str();
  add_json(*command, *arguments);
  command->footer(
      "What a row says is an approximation: its value through the layer's output, the final norm\n"
      "and the head, as if nothing else were in the residual state.");
  command->callback([=] { memory_row(*arguments); });
}

}  // namespace memengine
