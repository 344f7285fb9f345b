// Tokenizers trained here: deterministic, lossless, and of the size that was asked for.
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <fstream>
#include <random>

#include "io/synthetic/biographies.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

NextText list(std::vector<std::string> texts) {
  return [texts = std::move(texts), at = std::size_t{0}](std::string& text) mutable {
    if (at == texts.size()) return false;
    text = texts[at++];
    return true;
  };
}

std::vector<std::string> biographies(int people) {
  const BiographyCorpus corpus(1, people, 2);
  std::vector<std::string> texts;
  for (int i = 0; i < people; ++i) {
    for (int p = 0; p < 2; ++p) texts.push_back(corpus.passage(corpus.person(i), i, p));
  }
  return texts;
}

TEST(SentencePieceTrainer, GivesTheSameLosslessModelEveryTime) {
  const auto texts = biographies(300);
  SentencePieceTraining options;
  options.vocab_size = 989;
  const std::string model = train_sentencepiece(list(texts), options);
  EXPECT_EQ(model, train_sentencepiece(list(texts), options));

  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.LoadFromSerializedProto(model).ok());
  EXPECT_EQ(processor.GetPieceSize(), 989);
  EXPECT_EQ(processor.unk_id(), 0);
  EXPECT_EQ(processor.bos_id(), 1);
  EXPECT_EQ(processor.eos_id(), 2);
  std::size_t tokens = 0, characters = 0;
  for (const std::string& text : texts) {
    std::vector<int> ids;
    std::string back;
    ASSERT_TRUE(processor.Encode(text, &ids).ok());
    ASSERT_TRUE(processor.Decode(ids, &back).ok());
    EXPECT_EQ(back, text);
    tokens += ids.size();
    characters += text.size();
  }
  EXPECT_GT(static_cast<double>(characters) / static_cast<double>(tokens), 3.0);
  for (const std::string unseen : {"a  b\nc", "\xe6\x97\xa5\xe6\x9c\xac 12", "tab\there"}) {
    std::vector<int> ids;
    std::string back;
    ASSERT_TRUE(processor.Encode(unseen, &ids).ok());
    ASSERT_TRUE(processor.Decode(ids, &back).ok());
    EXPECT_EQ(back, unseen);
  }
}

TEST(SentencePieceTrainer, TakesLongLinesAndAnyBytes) {
  std::mt19937 random(5);
  std::string words, one_word, noise;
  for (int i = 0; i < 20000; ++i) words += (random() % 5 == 0 ? " " : "ab");
  for (int i = 0; i < 9999; ++i) one_word += "\xc3\xa9";
  for (int i = 0; i < 9999; ++i) noise += static_cast<char>(random() % 256);
  SentencePieceTraining options;
  options.vocab_size = 2000;
  EXPECT_FALSE(train_sentencepiece(list({"", "\n\n", words, one_word, noise}), options).empty());
  options.max_bytes = 100;
  EXPECT_EQ(train_sentencepiece(list({words.substr(0, 99), "xyz", one_word}), options),
            train_sentencepiece(list({words.substr(0, 99), "xyz"}), options));
}

TEST(SentencePieceTrainer, WritesAFile) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("memengine_trainer_" + std::to_string(std::random_device()()) + ".model");
  SentencePieceTraining options;
  options.vocab_size = 400;
  const auto texts = biographies(19);
  train_sentencepiece_file(list(texts), options, path);
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(bytes, train_sentencepiece(list(texts), options));
  std::filesystem::remove(path);
  EXPECT_THROW(train_sentencepiece_file(list(texts), options, "/nowhere/at/all.model"), Error);
}

TEST(SentencePieceTrainer, SaysWhatIsWrong) {
  SentencePieceTraining options;
  EXPECT_THROW(train_sentencepiece(list({}), options), Error);
  EXPECT_THROW(train_sentencepiece(list({"", "\n"}), options), Error);
  options.vocab_size = 259;
  EXPECT_THROW(train_sentencepiece(list({"text"}), options), Error);
  options.vocab_size = 262;
  try {
    train_sentencepiece(list({"many more letters than three"}), options);
    FAIL() << "accepted a vocabulary that cannot hold the letters";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("distinct characters"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
  const NextText broken = [](std::string&) -> bool { fail_input("file.jsonl:3: broken"); };
  options.vocab_size = 400;
  EXPECT_THROW(train_sentencepiece(broken, options), Error);
}

}  // namespace
}  // namespace memengine
