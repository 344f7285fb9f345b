// memengine prepare INPUT... --tokenizer sp|tiktoken|bytes --out DIR
//
// Turns texts into token shards that train reads. The folder it leaves:
//
//   DIR/tokenizer.model or tokenizer.json  a copy of the tokenizer (not for bytes)
//   DIR/<source>/{train,val}_000000.bin  shards, each with a .json beside it
#include "io/prepare/prepare.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/prepare_progress.h"
#include "cli/terminal.h"
#include "engine/config/memory_plan.h"
#include "engine/run/run_files.h"
#include "io/files/file.h"
#include "io/files/home.h"
#include "io/files/new_folders.h"
#include "io/files/output_folder.h"
#include "io/prepare/prepare_record.h"
#include "io/prepare/source_name.h"
#include "io/shards/shard.h"
#include "io/text/text_files.h"
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct PrepareArguments {
  std::vector<std::string> inputs;   // PATH
  std::vector<std::string> sources;  // NAME=PATH
  std::string name;                  // of the source that `inputs` are; empty: from the first path
  std::vector<std::string> validation_inputs;  // PATH or NAME=PATH
  double validation = 0.01;
  bool validation_given = false;
  std::string tokenizer = "sp", tokenizer_path;
  int train_vocabulary = 0;
  std::string out;
  bool no_bos = false, no_eos = false;
  std::vector<std::string> text_fields;
  PrepareOptions options;
};

// NAME and PATH of "NAME=PATH".
std::pair<std::string, fs::path> split_named(const std::string& option, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    fail_input("{} is '{}': write NAME=PATH", option, text);
  }
  return {text.substr(0, equals), expand_home(text.substr(equals + 1))};
}

std::vector<PrepareSource> collect_sources(const PrepareArguments& arguments) {
  std::vector<PrepareSource> sources;
  const auto source = [&](const std::string& name) -> PrepareSource& {
    for (PrepareSource& known : sources) {
      if (known.name == name) return known;
    }
    return sources.emplace_back(PrepareSource{name, {}, {}});
  };
  if (!arguments.inputs.empty()) {
    PrepareSource& unnamed =
        source(arguments.name.empty() ? source_name(arguments.inputs.front()) : arguments.name);
    unnamed.inputs.assign(arguments.inputs.begin(), arguments.inputs.end());
  }
  for (const std::string& text : arguments.sources) {
    const auto [name, path] = split_named("--source", text);
    source(name).inputs.push_back(path);
  }
  if (sources.empty()) {
    fail_input(
        "prepare: name a text file or folder, '-' for standard input, or sources with --source "
        "NAME=PATH");
  }
  for (const std::string& text : arguments.validation_inputs) {
    if (sources.size() == 1 && text.find('=') == std::string::npos) {
      sources.front().validation_inputs.emplace_back(text);
      continue;
    }
    const auto [name, path] = split_named("--validation-input", text);
    const std::size_t before = sources.size();
    source(name).validation_inputs.push_back(path);
    if (sources.size() > before) fail_input("--validation-input: no source is named '{}'", name);
  }
  std::size_t from_standard_input = 0;
  for (const PrepareSource& one : sources) {
    for (const auto* inputs : {&one.inputs, &one.validation_inputs}) {
      from_standard_input += std::count(inputs->begin(), inputs->end(), fs::path("-"));
    }
  }
  if (from_standard_input > 1) {
    fail_input("standard input ('-') is named twice, and can be read once");
  }
  return sources;
}

// What the source's folders hold and is not read.
void say_left_out(const PrepareSource& source, const TextOptions& text, LiveLine& line) {
  for (const auto* inputs : {&source.inputs, &source.validation_inputs}) {
    if (inputs->empty()) continue;
    const TextSource texts(*inputs, text);
    for (const std::string& notice : texts.left_out()) line.say("note: " + notice);
  }
}

// Held-out files that lie in a folder of training texts are not trained on.
void hold_out(PrepareSource& source, const TextOptions& text, LiveLine& line) {
  if (source.validation_inputs.empty()) return;
  const std::vector<fs::path> held_out = TextSource(source.validation_inputs, text).files();
  std::vector<fs::path> kept;
  const TextSource inputs(source.inputs, text);
  for (const fs::path& file : inputs.files()) {
    const bool held = std::any_of(held_out.begin(), held_out.end(), [&](const fs::path& other) {
      return !is_standard_input(file) && !is_standard_input(other) && fs::equivalent(file, other);
    });
    if (held) line.say(fmt::format("held out for validation: {}", file.string()));
    if (!held) kept.push_back(file);
  }
  if (kept.empty()) fail_input("source '{}': every input is held out", source.name);
  source.inputs = std::move(kept);
}

void train_tokenizer(const PrepareArguments& arguments, const std::vector<PrepareSource>& sources,
                     const fs::path& path, LiveLine& line) {
  SentencePieceTraining training;
  training.vocab_size = arguments.train_vocabulary;
  TextOptions options = arguments.options.text;
  options.keep_standard_input = true;
  std::vector<std::unique_ptr<TextSource>> texts;
  for (const PrepareSource& source : sources) {
    texts.push_back(std::make_unique<TextSource>(source.inputs, options));
  }
  line.say(fmt::format("training a SentencePiece tokenizer of {} pieces on the first {} of text",
                       grouped(training.vocab_size), bytes_text(training.max_bytes)));
  TrainingDisplay display(line, training);
  training.progress = [&](const SentencePieceProgress& now) { display.show(now); };
  std::size_t turn = 0;  // sources give a document each in turn
  train_sentencepiece_file(
      [&](std::string& text) {
        for (std::size_t tried = 0; tried < texts.size(); ++tried) {
          if (texts[turn++ % texts.size()]->next(text)) return true;
        }
        return false;
      },
      training, path);
  const std::int64_t pieces = load_tokenizer("sp", path)->vocab_size();
  if (pieces < training.vocab_size) {
    line.say(fmt::format("note: the tokenizer has {} pieces, not {}: the text holds no more",
                         grouped(pieces), grouped(training.vocab_size)));
  }
}

// Whether a folder below `out` has shards: they need the tokenizer that made them.
bool has_prepared_source(const fs::path& out) {
  for (const auto& entry : fs::directory_iterator(out)) {
    if (entry.is_directory() &&
        (has_split(entry.path(), "train") || has_split(entry.path(), "val"))) {
      return true;
    }
  }
  return false;
}

// Versions without a mark left the records of the sources alone.
bool is_older_data(const fs::path& out) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(out, error)) {
    try {
      if (read_prepare_record(entry.path() / "prepare.json")) return true;
    } catch (const Error&) {
    }
  }
  return false;
}

// Opens the tokenizer and puts a copy where configs look for it; a data folder has only one.
std::unique_ptr<Tokenizer> place_tokenizer(const PrepareArguments& arguments,
                                           const std::vector<PrepareSource>& sources,
                                           LiveLine& line) {
  if (arguments.train_vocabulary > 0 &&
      (arguments.tokenizer != "sp" || !arguments.tokenizer_path.empty())) {
    fail_input(
        "--train-tokenizer makes a SentencePiece model: give neither another --tokenizer "
        "nor --tokenizer-path");
  }
  if (arguments.tokenizer == "bytes") {
    if (!arguments.tokenizer_path.empty()) fail_input("--tokenizer bytes has no --tokenizer-path");
    return load_tokenizer("bytes", {});
  }
  const fs::path out = arguments.out, placed = out / tokenizer_file_name(arguments.tokenizer);
  fs::path given = arguments.tokenizer_path;
  std::error_code error;
  if (arguments.train_vocabulary > 0) {
    given = out / "tokenizer.model.trained";
    train_tokenizer(arguments, sources, given, line);
  } else if (given.empty()) {
    fail_input(
        "--tokenizer {} needs its model file: give --tokenizer-path{}", arguments.tokenizer,
        arguments.tokenizer == "sp" ? ", or make one with --train-tokenizer VOCABULARY" : "");
  }
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(arguments.tokenizer, given);
  const std::vector<TokenizerFile> files = tokenizer_files(arguments.tokenizer, given);
  if (arguments.train_vocabulary > 0) fs::remove(given, error);
  if (fs::exists(placed, error) && !arguments.options.overwrite && has_prepared_source(out)) {
    if (tokenizer_file_hash(read_tokenizer_file(placed)) == tokenizer->hash()) return tokenizer;
    fail_input("{} is another tokenizer: choose another --out, or replace all with --overwrite",
               placed.string());
  }
  for (const TokenizerFile& file : files) {
    write_file_atomically(FileSystem::real(), out / file.name, file.bytes);
  }
  return tokenizer;
}

void print_summary(const PrepareArguments& arguments, const PreparedSource& done) {
  print("{}/{}{}\n", arguments.out, done.name,
        done.already_done ? ": made before from the same inputs, nothing to do" : "");
  print("  train  {:>12} documents  {:>14} tokens  {}\n", grouped(done.train_documents),
        grouped(done.train_tokens), counted(done.train_shards, "shard"));
  print("  val    {:>12} documents  {:>14} tokens  {}\n", grouped(done.val_documents),
        grouped(done.val_tokens), counted(done.val_shards, "shard"));
  const std::int64_t tokens = done.train_tokens + done.val_tokens;
  print("  {} of text, {:.2f} bytes per token\n", bytes_text(done.text_bytes),
        static_cast<double>(done.text_bytes) /
            static_cast<double>(std::max<std::int64_t>(tokens, 1)));
  for (const std::string& notice : done.notices) print("  {}\n", notice);
  if (done.bad_lines == 0) return;
  print("  {} skipped\n", counted(done.bad_lines, "bad line"));
  constexpr std::size_t shown = 10;
  for (std::size_t i = 0; i < std::min(shown, done.problems.size()); ++i) {
    print("    {}\n", done.problems[i]);
  }
  if (done.problems.size() > shown) print("    ...\n");
}

void print_hint(const PrepareArguments& arguments, const Tokenizer& tokenizer) {
  std::string weights;
  for (const PrepareSource& source : arguments.options.sources) {
    weights += (weights.empty() ? "" : ", ") + source.name + ": 1";
  }
  print("to train on it: data.root_dir={} 'data.sources={{{}}}' data.tokenizer.name={}",
        arguments.out, weights, tokenizer.name());
  if (arguments.tokenizer != "bytes") {
    print(" data.tokenizer.path={}",
          (fs::path(arguments.out) / tokenizer_file_name(arguments.tokenizer)).string());
  }
  print("\n");
}

// What there is to read, in files and bytes as stored.
void say_inputs(const PrepareOptions& options, LiveLine& line) {
  for (const PrepareSource& source : options.sources) {
    const TextSource texts(source.inputs, options.text);
    if (texts.reads_standard_input()) {
      line.say(fmt::format("{}: standard input", source.name));
    } else {
      line.say(fmt::format("{}: {}, {}", source.name,
                           counted(static_cast<std::int64_t>(texts.files().size()), "file"),
                           bytes_text(texts.bytes_total())));
    }
  }
}

void run_prepare(PrepareArguments arguments) {
  LiveLine line;
  PrepareOptions& options = arguments.options;
  if (!arguments.text_fields.empty()) options.text.fields = arguments.text_fields;
  if (arguments.out.empty()) fail_input("--out is empty: name a folder for the shards");
  options.sources = collect_sources(arguments);
  const bool explicit_validation = !arguments.validation_inputs.empty();
  if (explicit_validation && arguments.validation_given) {
    fail_input("give either --validation or --validation-input");
  }
  options.validation_fraction = explicit_validation ? 0 : arguments.validation;
  const NewFolders made(arguments.out);
  for (PrepareSource& source : options.sources) {
    say_left_out(source, options.text, line);
    hold_out(source, options.text, line);
  }
  say_inputs(options, line);
  const OutputFolder folder(arguments.out, "data", [&] { return is_older_data(arguments.out); });
  const std::unique_ptr<Tokenizer> tokenizer = place_tokenizer(arguments, options.sources, line);
  catch_stop_signals("stopping; Ctrl-C once more ends at once");
  options.tokenizer = tokenizer.get();
  options.out_dir = arguments.out;
  options.add_bos = !arguments.no_bos;
  options.add_eos = !arguments.no_eos;
  options.progress_seconds = 0.2;
  PrepareDisplay progress(line);
  options.progress = [&](const PrepareProgress& now) { progress.report(now); };
  options.stop = options.text.stop = stop_requested;
  const bool from_pipe =
      std::any_of(options.sources.begin(), options.sources.end(),
                  [](const PrepareSource& source) { return reads_standard_input(source); });
  const PrepareResult result = prepare(options);
  line.clear();
  for (const PreparedSource& done : result.sources) print_summary(arguments, done);
  if (result.stopped) {
    line.say(from_pipe ? "stopped; nothing is kept of what came from standard input"
                       : "stopped; the same command goes on where it stopped");
    throw Stopped{stop_signal()};
  }
  print_hint(arguments, *tokenizer);
}

}  // namespace

void add_prepare_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("prepare", "Turn texts into token shards");
  command->footer(
      "Inputs are files or folders of .jsonl, .json and .txt, also compressed (gzip, Zstandard), "
      "or\n"
      "'-': standard input, JSON or plain text. Documents are shuffled by the seed; the result "
      "does not depend on the number of threads. Stopped with\n"
      "Ctrl-C or killed, the same command goes on where it stopped.\n\n"
      "  memengine prepare text/novels --train-tokenizer 4096 --out data\n"
      "  memengine prepare --source web=crawl/ --source code=code.jsonl.zst \\\n"
      "      --tokenizer tiktoken --tokenizer-path llama3.tiktoken --out data");
  auto arguments = std::make_shared<PrepareArguments>();
  PrepareOptions& options = arguments->options;
  options.seed = 42;
  command->add_option("input", arguments->inputs, "Text files or folders, or '-': one source");
  command->add_option("--out", arguments->out, "Folder for the shards")
      ->transform(home_path())
      ->required();
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "sp, tiktoken, hf (a tokenizer.json) or bytes")
      ->check(CLI::IsMember({"sp", "tiktoken", "hf", "bytes"}))
      ->capture_default_str();
  command->add_option("--tokenizer-path", arguments->tokenizer_path, "The tokenizer's model file")
      ->transform(home_path());
  command
      ->add_option("--train-tokenizer", arguments->train_vocabulary,
                   "Train a SentencePiece tokenizer of so many pieces on the inputs")
      ->check(at_least(1));
  command->add_option("--name", arguments->name, "Name of the source (default: the input's name)");
  command->add_option("--source", arguments->sources, "NAME=PATH: a source by name; repeatable")
      ->allow_extra_args(false);
  auto* validation =
      command
          ->add_option("--validation", arguments->validation, "Share of the documents to hold out")
          ->capture_default_str();
  command
      ->add_option("--validation-input", arguments->validation_inputs,
                   "PATH or NAME=PATH: hold out these texts instead; repeatable")
      ->allow_extra_args(false);
  command->add_option("--seed", options.seed, "Of the documents' order")
      ->check(at_least(0))
      ->capture_default_str();
  command->add_option("--threads", options.threads, "0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--shard-tokens", options.max_shard_tokens, "Most tokens in one shard")
      ->check(at_least(1))
      ->capture_default_str();
  command
      ->add_option("--text-field", arguments->text_fields,
                   "JSON field that holds the text (default: text, then content); a.b reaches into "
                   "objects")
      ->allow_extra_args(false);
  command->add_flag("--paragraphs", options.text.paragraphs,
                    "A document of a .txt file is a paragraph, not the file");
  command
      ->add_option("--max-bad-lines", options.text.max_bad_lines,
                   "Skip so many lines that are not JSON, have no text or are not UTF-8")
      ->check(at_least(0))
      ->capture_default_str();
  command->add_flag("--no-bos", arguments->no_bos, "No BOS in front of documents");
  command->add_flag("--no-eos", arguments->no_eos, "No EOS after documents");
  command->add_flag("--overwrite", options.overwrite, "Replace shards of other settings or inputs");
  command->callback([=] {
    arguments->validation_given = validation->count() > 0;
    run_prepare(*arguments);
  });
}

}  // namespace memengine
