// memengine synth --people N --out DIR
//
// Writes the synthetic biographies and their recall questions (io/synthetic/biographies.h), and on
// request a tokenizer made for them.
#include <fmt/core.h>

#include <filesystem>
#include <functional>
#include <ostream>
#include <streambuf>
#include <string_view>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/config/memory_plan.h"
#include "io/files/file.h"
#include "io/files/output_folder.h"
#include "io/synthetic/biographies.h"
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"
#include "io/tokenizers/tokenizer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct SynthArguments {
  std::int64_t people = 1000;
  int passages = 5;
  std::uint64_t seed = 42;
  std::int64_t questions = 0;  // 0: all
  int vocabulary = 0;
  std::string out;
};

// A stream into a file whose errors are thrown, with the system's reason, as they happen.
class FileBuffer : public std::streambuf {
 public:
  explicit FileBuffer(OutputFile& file) : file_(file), bytes_(256 << 10) {
    setp(bytes_.data(), bytes_.data() + bytes_.size());
  }

 protected:
  int_type overflow(int_type next) override {
    sync();
    if (next != traits_type::eof()) sputc(static_cast<char>(next));
    return 0;
  }
  int sync() override {
    file_.append(std::string_view(pbase(), static_cast<std::size_t>(pptr() - pbase())));
    setp(bytes_.data(), bytes_.data() + bytes_.size());
    return 0;
  }

 private:
  OutputFile& file_;
  std::vector<char> bytes_;
};

// The file appears as a whole or not at all.
void write_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const fs::path partial = path.string() + ".partial";
  FileSystem& files = FileSystem::real();
  try {
    OutputFile file(files, partial);
    FileBuffer buffer(file);
    std::ostream stream(&buffer);
    stream.exceptions(std::ios::badbit);
    write(stream);
    stream.flush();
    file.finish();
    files.rename(partial, path);
  } catch (...) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw;
  }
}

// The model file of a tokenizer of so many pieces. It takes the first passage of every person
// first, and so sees every name and value early.
std::string trained_tokenizer(const BiographyCorpus& corpus, int vocabulary) {
  std::int64_t person = 0;
  int passage = 0;
  const NextText next = [&](std::string& document) {
    if (passage == corpus.passages()) return false;
    document = corpus.passage(corpus.person(person), person, passage);
    if (++person == corpus.people()) {
      person = 0;
      ++passage;
    }
    return true;
  };
  SentencePieceTraining training;
  training.vocab_size = vocabulary;
  return train_sentencepiece(next, training);
}

void synthesize(const SynthArguments& arguments) {
  const BiographyCorpus corpus(arguments.seed, arguments.people, arguments.passages);
  const fs::path out = arguments.out;
  const OutputFolder folder(out, "synthetic corpus");
  // Before anything is written: a vocabulary may be too small for the texts.
  const std::string tokenizer =
      arguments.vocabulary > 0 ? trained_tokenizer(corpus, arguments.vocabulary) : "";

  const fs::path text = out / "biographies.jsonl", questions = out / "questions.jsonl";
  write_file(text, [&](std::ostream& file) { corpus.write_corpus(file); });
  std::int64_t asked = 0;
  write_file(questions, [&](std::ostream& file) {
    asked = corpus.write_questions(file, arguments.questions);
  });
  print("{:<28} {} of {}, {}\n", text.string(), counted(arguments.passages, "passage"),
        arguments.people == 1 ? "1 person" : grouped(arguments.people) + " people",
        bytes_text(static_cast<std::int64_t>(fs::file_size(text))));
  print("{:<28} {}\n", questions.string(), counted(asked, "question"));
  print("{:<28} {:.1f} bits per person, {} in all\n", "knowledge",
        BiographyCorpus::bits_per_person(),
        bytes_text(static_cast<std::int64_t>(BiographyCorpus::bits_per_person() *
                                             static_cast<double>(arguments.people) / 8)));

  if (!tokenizer.empty()) {
    const fs::path path = out / "tokenizer.model";
    write_file_atomically(FileSystem::real(), path, tokenizer);
    const std::int64_t pieces = load_tokenizer("sp", path)->vocab_size();
    print("{:<28} SentencePiece, {} pieces{}\n", path.string(), grouped(pieces),
          pieces < arguments.vocabulary ? ": the texts hold no more" : "");
  }
  const Biography first = corpus.person(0);
  const RecallQuestion question = corpus.questions(first, 0).front();
  print("\nthe first passage:\n  {}\na question about it:\n  {} ...{}\n",
        corpus.passage(first, 0, 0), question.prompt, question.answer);
  print("\nnext: memengine prepare {} --out {}{}\n", text.string(), (out / "shards").string(),
        arguments.vocabulary > 0
            ? " --tokenizer sp --tokenizer-path " + (out / "tokenizer.model").string()
            : " --train-tokenizer 1024");
}

}  // namespace

void add_synth_command(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("synth", "Write synthetic biographies and questions about them");
  command->footer(
      "Every person has a unique name and six attributes, told in several paraphrases: a corpus\n"
      "whose facts can be counted, to measure how much a model stores.\n\n"
      "  memengine synth --people 20000 --passages 8 --vocab 1024 --out data/bio");
  auto arguments = std::make_shared<SynthArguments>();
  command->add_option("--out", arguments->out, "Folder to write to")
      ->transform(home_path())
      ->required();
  command->add_option("--people", arguments->people, "How many")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--passages", arguments->passages, "Paraphrases of each")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "Of all that is drawn")
      ->check(at_least(0))
      ->capture_default_str();
  command
      ->add_option("--questions", arguments->questions,
                   "How many, six about each person in turn; 0: all")
      ->check(at_least(0))
      ->capture_default_str();
  command
      ->add_option("--vocab", arguments->vocabulary,
                   "Also train a SentencePiece tokenizer of so many pieces")
      ->check(at_least(1));
  command->callback([=] { synthesize(*arguments); });
}

}  // namespace memengine
