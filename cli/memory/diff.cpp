// memengine memory diff A B [--data SHARDS]
#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/rows/row_change.h"
#include "engine/memory_probe/rows/row_report.h"

namespace memengine {
namespace {

struct DiffArguments : MemoryArguments {
  std::string before;
  std::size_t top = 10;
  bool no_contexts = false;
};

void print_table(const TableChange& table, const ProbeModel* model,
                 const std::vector<RowReport>& rows, std::int64_t tokens) {
  print("{}: {} rows changed; change of a row: mean {:.4g}, root mean square {:.4g}\n", table.table,
        share_text(table.changed, table.rows), table.mean_change, table.root_mean_square);
  for (std::size_t i = 0; i < table.top.size(); ++i) {
    const RowChange& change = table.top[i];
    print("row {:<10} changed by {:.4g}  length {:.4g} to {:.4g}  cosine {:.3f}\n", change.row,
          change.change, change.before, change.after, change.cosine);
    if (model != nullptr) print_row(*model, rows[i], tokens);
  }
}

void memory_diff(const DiffArguments& arguments) {
  ReadingLine line("comparing rows");
  const ModelSource before = find_model(arguments.before);
  const ModelSource after = find_model(arguments.model.model, arguments.model.tokenizer);
  const std::vector<TableChange> tables = compare_tables(
      before, after, arguments.top,
      [&](std::int64_t done, std::int64_t all) { line.show("comparing rows", done, all); });
  std::unique_ptr<ProbeModel> model;
  std::vector<std::vector<RowReport>> rows(tables.size());
  std::int64_t tokens = 0;
  if (!arguments.no_contexts) {
    model = std::make_unique<ProbeModel>(arguments.model);
    Corpus corpus(*model, arguments.corpus, line.progress());
    tokens = corpus.tokens();
    for (std::size_t t = 0; t < tables.size(); ++t) {
      std::vector<std::int64_t> wanted;
      for (const RowChange& change : tables[t].top) wanted.push_back(change.row);
      if (wanted.empty()) continue;
      corpus.rewind();
      rows[t] = report_rows(
          *model, wanted, t, [&](ScoreRows& pass) { return corpus.next(pass); }, 3);
    }
  }
  line.clear();
  if (said_in_json(arguments, change_json(model.get(), tables, rows))) return;
  print("from {} to {}\n", before.folder.string(), after.folder.string());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    print_table(tables[t], model.get(), rows[t], tokens);
  }
}

}  // namespace

void add_memory_diff(CLI::App& memory) {
  CLI::App* command =
      memory.add_subcommand("diff", "The rows that changed most from A to B, and who reads them");
  auto arguments = std::make_shared<DiffArguments>();
  command->add_option("before", arguments->before, "A: a model as it was")->required();
  add_model(*command, *arguments);
  add_corpus(*command, *arguments);
  command->add_option("--top", arguments->top, "Rows to list")->capture_default_str();
  command->add_flag("--no-contexts", arguments->no_contexts,
                    "Compare the tables alone: no corpus is read");
  add_json(*command, *arguments);
  command->callback([=] { memory_diff(*arguments); });
}

}  // namespace memengine
