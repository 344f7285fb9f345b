// memengine generate MODEL [--prompt TEXT] ...
//
// One-shot with --prompt; without it, each line typed (or read from a pipe) is continued. Text
// appears as it is made, whole characters at a time.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/inference/generator.h"
#include "io/text/utf8.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

struct GenerateArguments {
  std::string model, tokenizer;
  std::optional<std::string> prompt;
  std::vector<std::string> until;
  std::int64_t max_tokens = 256;
  std::int64_t rows = 1024;  // of one pass
  SamplingOptions sampling;
  std::string device = "auto";
  bool fp32 = false;
};

// Prints tokens as text: an unfinished character waits for its other bytes, and the space that
// SentencePiece puts in front of a text is not shown at its beginning.
class Stream {
 public:
  // `prompt` is shown with the first token: nothing of a prompt that is refused.
  Stream(const Tokenizer& tokenizer, std::string prompt)
      : tokenizer_(tokenizer), starts_text_(prompt.empty()), prompt_(std::move(prompt)) {}

  void show(std::int32_t token) {
    show_prompt();
    if (token >= tokenizer_.vocab_size()) return;
    pending_ += tokenizer_.token_bytes(token);
    if (starts_text_ && !pending_.empty()) {
      if (tokenizer_.name() == "sp" && pending_.front() == ' ') pending_.erase(0, 1);
      starts_text_ = false;
    }
    print(complete_utf8_prefix(pending_));
  }
  void finish() {
    show_prompt();
    print(pending_.size());
    print_text("\n");
    std::fflush(stdout);
  }

 private:
  void show_prompt() {
    print_text(prompt_);
    prompt_.clear();
  }
  void print(std::size_t bytes) {
    const std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, bytes));
    pending_.erase(0, bytes);
    print_text(text);
    std::fflush(stdout);
  }

  const Tokenizer& tokenizer_;
  bool starts_text_;
  std::string prompt_, pending_;
};

const char* why_it_ended(Generation::End end) {
  switch (end) {
    case Generation::End::context_full:
      return "the model's context is full";
    case Generation::End::max_tokens:
      return "--max-tokens reached";
    case Generation::End::end_of_sequence:
      return "end of sequence";
    case Generation::End::stop_string:
      return "stop string";
    case Generation::End::interrupted:
      return "interrupted";
  }
  return "";
}

void generate(const GenerateArguments& arguments) {
  check(arguments.sampling);
  const ModelSource source = find_model(arguments.model, arguments.tokenizer);
  for (const std::string& notice : source.notices)
    fmt::print(stderr, "note: {}\n", printable(notice));
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(source);
  Runtime runtime(choose_device(arguments.device));
  if (runtime.context().device == Device::cpu && !source.half_precision.empty() &&
      !arguments.fp32) {
    fmt::print(stderr, "note: the weights are {}: the CPU computes in FP32\n",
               source.half_precision);
  }
  InferenceSize size;
  size.bf16 = !arguments.fp32;
  size.cache_sequences = 1;
  size.cache_length = source.model.max_seqlen;
  size.tokens = std::min(arguments.rows, size.cache_length);
  InferenceModel model(source.model, size, runtime);
  model.load(source);
  Generator generator(model, *tokenizer, end_tokens(source, *tokenizer));
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  catch_stop_signals("stopping; Ctrl-C once more ends at once");

  const auto continue_text = [&](const std::string& text, SamplingOptions sampling) {
    const bool bos = source.add_bos && tokenizer->bos_id() >= 0;
    // A tokenizer.json reads the names of special tokens in a prompt, "<|im_start|>user".
    const std::vector<std::int32_t> ids =
        tokenizer->reads_special_tokens()
            ? SpecialTokenEncoder(*tokenizer, source.space_in_front, bos).encode(text)
            : tokenizer->encode(text, bos, false);
    GenerationPrompt prompt{ids, arguments.max_tokens, arguments.until};
    Stream stream(*tokenizer, text);
    const auto on_token = [&](std::size_t, std::int32_t token) {
      stream.show(token);
      return !stop_requested();
    };
    const Generation made = generator.generate({&prompt, 1}, sampling, on_token).front();
    stream.finish();
    if (terminal && made.end != Generation::End::end_of_sequence) {
      print("[{} tokens; {}]\n", made.tokens.size(), why_it_ended(made.end));
    } else if (made.end == Generation::End::context_full) {
      // Elsewhere stdout is the text alone.
      fmt::print(stderr,
                 "note: {} of at most {} new tokens: the model reads {}, and they are full\n",
                 made.tokens.size(), arguments.max_tokens, source.model.max_seqlen);
    }
  };
  if (arguments.prompt) {
    continue_text(*arguments.prompt, arguments.sampling);
    return;
  }
  const bool typed = isatty(STDIN_FILENO) != 0;
  if (typed) print("Type the beginning of a text; an empty line or Ctrl-D ends.\n");
  SamplingOptions sampling = arguments.sampling;
  std::string line;
  while (!stop_requested()) {
    if (typed) {
      print("> ");
      std::fflush(stdout);
    }
    if (!std::getline(std::cin, line) || (typed && line.empty())) break;
    try {
      continue_text(line, sampling);
    } catch (const Error& error) {
      if (!typed || error.kind() != Error::Kind::input) throw;
      fmt::print(stderr, "{}\n", error.what());  // and ask again
    }
    ++sampling.seed;  // the same line again gives another text
  }
}

}  // namespace

void add_generate_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("generate", "Continue texts with a model");
  command->footer(
      "  memengine generate runs/laptop --prompt \"Once upon a time\" --temperature 0.8 --top-p "
      "0.9\n"
      "  memengine generate runs/laptop          (interactive)");
  auto arguments = std::make_shared<GenerateArguments>();
  command
      ->add_option("model", arguments->model,
                   "A checkpoint, a run's folder, an exported model or a Hugging Face Llama folder")
      ->required();
  command->add_option("--prompt", arguments->prompt,
                      "Text to continue; without it lines are read from the terminal");
  command->add_option("--max-tokens", arguments->max_tokens, "Most new tokens")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--temperature", arguments->sampling.temperature, "0: the most likely token")
      ->capture_default_str();
  command->add_option("--top-p", arguments->sampling.top_p,
                      "Keep the tokens that make up this share");
  command->add_option("--top-k", arguments->sampling.top_k, "Keep so many of the likeliest tokens");
  command->add_option("--seed", arguments->sampling.seed, "Of the draws")
      ->check(at_least(0))
      ->capture_default_str();
  command->add_option("--stop", arguments->until, "Stop once this text appears (repeatable)")
      ->check([](const std::string& text) {
        return text.empty() ? std::string("an empty text would stop everywhere") : std::string();
      });
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "Tokenizer file (or 'bytes') in place of the model's own")
      ->transform(home_path());
  command->add_option("--device", arguments->device, "Where to run")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command->add_flag("--fp32", arguments->fp32, "Compute in FP32 on a GPU, not in BF16");
  command->callback([=] { generate(*arguments); });
}

}  // namespace memengine
