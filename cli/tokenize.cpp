// memengine tokenize TOKENIZER [--text TEXT] [--ids] [--plain] [--bos] [--eos]
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <string>

#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/model_files/model_source.h"
#include "engine/run/run_data.h"
#include "io/tokenizers/special_tokens.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

struct TokenizeArguments {
  std::string tokenizer, text;
  bool has_text = false, ids_only = false, plain = false, bos = false, eos = false;
};

std::string name_of(const std::vector<SpecialToken>& special, std::int32_t id) {
  for (const SpecialToken& token : special) {
    if (token.id == id) return token.text;
  }
  return {};
}

void show(const TokenizeArguments& arguments, const Tokenizer& tokenizer,
          const SpecialTokenEncoder& encoder, std::string_view text) {
  std::vector<std::int32_t> ids;
  if (arguments.plain) {
    ids = tokenizer.encode(text, arguments.bos, arguments.eos);
  } else {
    ids = encoder.encode(text);
    if (arguments.eos) ids.push_back(tokenizer.eos_id());
  }
  if (arguments.ids_only) {
    print("{}\n", fmt::join(ids, " "));
    return;
  }
  const std::vector<SpecialToken> special = tokenizer.special_tokens();
  for (const std::int32_t id : ids) {
    const std::string bytes = tokenizer.token_bytes(id);
    const std::string name = bytes.empty() ? name_of(special, id) : std::string();
    if (name.empty()) {
      print("{:>8}  '{}'\n", id, printable(bytes));
    } else {
      print("{:>8}  {}\n", id, printable(name));
    }
  }
  print("{}, {}\n", counted(static_cast<std::int64_t>(ids.size()), "token"),
        counted(static_cast<std::int64_t>(text.size()), "byte"));
}

void tokenize(const TokenizeArguments& arguments) {
  std::unique_ptr<Tokenizer> tokenizer;
  SpaceInFront space = SpaceInFront::every_part;
  std::error_code ignored;
  if (std::filesystem::is_directory(arguments.tokenizer, ignored)) {
    const ModelSource source = find_model(arguments.tokenizer);
    tokenizer = open_tokenizer(source);
    space = source.space_in_front;
  } else {
    tokenizer = open_tokenizer(tokenizer_of_file(arguments.tokenizer));
  }
  if (arguments.bos && tokenizer->bos_id() < 0) fail_input("--bos: the tokenizer has no BOS");
  if (arguments.eos && tokenizer->eos_id() < 0) fail_input("--eos: the tokenizer has no EOS");
  const SpecialTokenEncoder encoder(*tokenizer, space, arguments.bos);
  if (arguments.has_text) return show(arguments, *tokenizer, encoder, arguments.text);
  std::string line;
  for (int c = 0; (c = std::getchar()) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    show(arguments, *tokenizer, encoder, line);
    line.clear();
  }
  if (!line.empty()) show(arguments, *tokenizer, encoder, line);
}

}  // namespace

void add_tokenize_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("tokenize", "Show the pieces and ids of a text");
  command->footer(
      "  memengine tokenize SmolLM2/tokenizer.json --text 'The capital of France is'\n"
      "  memengine tokenize runs/laptop --ids < lines.txt        one line of ids for each");
  auto arguments = std::make_shared<TokenizeArguments>();
  command
      ->add_option("tokenizer", arguments->tokenizer,
                   "tokenizer.json, a SentencePiece model, tiktoken ranks, 'bytes', or a model")
      ->required();
  CLI::Option* text = command->add_option("--text", arguments->text,
                                          "The text (default: each line of standard input)");
  command->add_flag("--ids", arguments->ids_only, "Only the ids, on one line for each text");
  command->add_flag("--plain", arguments->plain,
                    "Names of special tokens are plain letters, as they are to prepare");
  command->add_flag("--bos", arguments->bos, "BOS in front");
  command->add_flag("--eos", arguments->eos, "EOS at the end");
  command->callback([=] {
    arguments->has_text = text->count() > 0;
    tokenize(*arguments);
  });
}

}  // namespace memengine
