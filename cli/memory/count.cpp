// memengine memory count MODEL [--data SHARDS] [--batches N] [--batch-tokens N]
#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/rows/background.h"
#include "kernels/table/choose_rows.h"

namespace memengine {
namespace {

struct CountArguments : MemoryArguments {
  std::int64_t batches = 1000, batch_tokens = 0;
};

// A batch of the background is as large as one of the run's, unless another size is asked for.
std::int64_t tokens_of_batch(const CountArguments& arguments) {
  if (arguments.batch_tokens > 0) return arguments.batch_tokens;
  const ModelSource source = find_model(arguments.model.model, arguments.model.tokenizer);
  check_memory(source);
  return source.run ? source.run->tokens_per_step() : 8192;
}

void memory_count(CountArguments arguments) {
  arguments.model.rows = tokens_of_batch(arguments);
  ProbeModel model(arguments.model);
  // Batches from all shards alike.
  arguments.corpus.tokens = arguments.batches * arguments.model.rows;
  ReadingLine line("reading");
  Corpus corpus(model, arguments.corpus, line.progress());
  // Whole windows of the shards; as many as asked for, or fewer where the memory is too small.
  const std::int64_t windows =
      std::max<std::int64_t>(model.model().size().tokens / corpus.length(), 1);
  const std::int64_t whole = corpus.tokens() / (windows * corpus.length());
  if (whole < 1) {
    fail_input("{}: {} tokens are less than one batch of {}: lower --batch-tokens", corpus.what(),
               grouped(corpus.tokens()), grouped(windows * corpus.length()));
  }
  const std::int64_t batches = std::min(arguments.batches, whole);
  const std::vector<DocumentFrequency> counts =
      count_document_frequency(model, batches, [&](ScoreRows& rows) { return corpus.next(rows); });
  line.clear();
  write_document_frequencies(model.source().folder, counts);
  print("{} batches of {} tokens of {}\n", grouped(batches), grouped(windows * corpus.length()),
        corpus.what());
  for (const DocumentFrequency& table : counts) {
    std::int64_t never = 0, half = 0, every = 0;
    for (const std::int32_t frequency : table.of_row) {
      never += frequency == 0 ? 1 : 0;
      half += 2 * frequency >= table.batches ? 1 : 0;
      every += frequency == table.batches ? 1 : 0;
    }
    const auto rows = static_cast<std::int64_t>(table.of_row.size());
    print("{}\n  read by none {}, by half of them {}, by all {}\n", table.table,
          share_text(never, rows), share_text(half, rows), share_text(every, rows));
  }
  print("wrote {}\n", (model.source().folder / document_frequency_file).string());
}

}  // namespace

void add_memory_count(CLI::App& memory) {
  CLI::App* command = memory.add_subcommand(
      "count", "In how many batches of other text each row is read, for optim.rows_per_step");
  auto arguments = std::make_shared<CountArguments>();
  add_model(*command, *arguments);
  command->remove_option(command->get_option("--rows-per-pass"));
  add_corpus(*command, *arguments);
  command->remove_option(command->get_option("--tokens"));
  command->add_option("--batches", arguments->batches, "Read so many batches")
      ->check(CLI::Range(std::int64_t{1}, most_background_batches))
      ->capture_default_str();
  command
      ->add_option("--batch-tokens", arguments->batch_tokens,
                   "Tokens of a batch (default: as many as a step of the model's run)")
      ->check(CLI::Range(std::int64_t{1}, most_tokens_of_a_pass));
  command->callback([=] { memory_count(*arguments); });
}

}  // namespace memengine
