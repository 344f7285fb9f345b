// Text, questions, tokenizer, shards. All of it takes seconds and is deterministic, so a demo that
// goes on makes a file only where it is missing.
#include "engine/demo/demo_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "engine/run/run_files.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/prepare/prepare.h"
#include "io/synthetic/biographies.h"
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr const char* source_name = "biographies";
constexpr double held_out = 0.02;  // of the passages

void write_text(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  if (is_there(path)) return;
  std::ostringstream text;
  write(text);
  write_file_atomically(FileSystem::real(), path, text.str());
}

// All passages, the first of every person first: the tokenizer has seen every name and value early.
NextText passages_of(const BiographyCorpus& corpus) {
  return [&corpus, person = std::int64_t{0}, passage = 0](std::string& text) mutable {
    if (passage == corpus.passages()) return false;
    text = corpus.passage(corpus.person(person), person, passage);
    if (++person == corpus.people()) {
      person = 0;
      ++passage;
    }
    return true;
  };
}

}  // namespace

RunConfig demo_run_config(const DemoOptions& options, const std::string& model) {
  const fs::path data = options.out / "data";
  std::vector<std::string> overrides = options.overrides;
  overrides.push_back("data.root_dir=" + data.string());
  overrides.push_back("data.tokenizer.name=sp");
  overrides.push_back("data.tokenizer.path=" + (data / "tokenizer.model").string());
  overrides.push_back("dump_dir=" + (options.out / model).string());
  overrides.push_back("name=demo_" + model);
  RunConfig config = load_run_config(options.config.string(), overrides);
  if (!config.model.productkey_args.is_enabled) {
    fail_input(
        "{}: model.productkey_args.is_enabled is false; the demo compares a model with "
        "memory to its dense twin, so enable it",
        options.config.string());
  }
  if (model == "dense") config.model.productkey_args.is_enabled = false;
  config.data.sources = {{source_name, 1.0}};
  if (config.validation.every == 0)
    config.validation.every = config.steps;  // opens the held-out set
  if (config.checkpoint.dump.every == 0)
    config.checkpoint.dump.every = std::max<std::int64_t>(config.steps, 1);  // what is questioned
  return config;
}

bool prepare_demo_data(const DemoOptions& options, const RunConfig& config, DemoCorpus& corpus,
                       DemoListener& listener, const std::function<bool()>& stop) {
  const auto seed = static_cast<std::uint64_t>(config.seed);
  const BiographyCorpus biographies(seed, options.people, options.passages);
  const fs::path data = options.out / "data";
  const fs::path text = data / "biographies.jsonl", questions = data / "questions.jsonl";
  const fs::path tokenizer_path = *config.data.tokenizer.path;
  FileSystem::real().make_folder(data);
  write_text(text, [&](std::ostream& out) { biographies.write_corpus(out); });
  write_text(questions, [&](std::ostream& out) { biographies.write_questions(out); });

  if (!is_there(tokenizer_path)) {
    listener.progress("training a tokenizer");
    SentencePieceTraining training;
    training.vocab_size = options.vocabulary;
    training.max_bytes = 1 << 20;
    train_sentencepiece_file(passages_of(biographies), training, tokenizer_path);
  }
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer("sp", tokenizer_path);

  PrepareOptions prepared;
  prepared.out_dir = data;
  prepared.sources = {{source_name, {text}, {}}};
  prepared.tokenizer = tokenizer.get();
  prepared.seed = seed;
  prepared.validation_fraction = held_out;
  prepared.stop = stop;
  const PrepareResult shards = prepare(prepared);
  if (shards.stopped || stop()) return false;

  corpus.people = options.people;
  corpus.passages = options.passages;
  corpus.train_tokens = shards.sources.front().train_tokens;
  corpus.held_out_tokens = shards.sources.front().val_tokens;
  corpus.vocabulary = tokenizer->vocab_size();
  corpus.example = biographies.passage(biographies.person(0), 0, 0);
  corpus.questions = load_recall_questions(questions);
  listener.said(
      fmt::format("{} tokens of {} pieces, {} held out; {} questions; {:.0f} bits of facts",
                  count_text(static_cast<double>(corpus.train_tokens)), corpus.vocabulary,
                  count_text(static_cast<double>(corpus.held_out_tokens)), corpus.questions.size(),
                  BiographyCorpus::bits_per_person() * static_cast<double>(corpus.people)));
  return true;
}

}  // namespace memengine
