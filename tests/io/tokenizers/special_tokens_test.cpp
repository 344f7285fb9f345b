// Special tokens in texts, against Hugging Face's tokenizers.
//
// The ids are those of transformers 5.24.0 (tokenizers 0.23.3), AutoTokenizer on a folder with
// config.json, the tokenizer.model named below, and a tokenizer_config.json: none at all, or
// {"tokenizer_class": "LlamaTokenizer"} with legacy true or false.
#include "io/tokenizers/special_tokens.h"

#include <gtest/gtest.h>

#include "tests/data.h"

namespace memengine {
namespace {

using Ids = std::vector<std::int32_t>;

struct Case {
  const char* text;
  Ids without_config, legacy, llama;  // without BOS
};

TEST(SpecialTokens, AreReadAsTransformersReadsThem) {
  MEMENGINE_REQUIRE_DATA();
  const auto tokenizer =
      load_tokenizer("sp", test_data_folder() / "checkpoints/stories260K/hf/tokenizer.model");
  const Case cases[] = {
      {"Once upon", {403, 407}, {403, 407}, {403, 407}},
      {"hello </s> world",
       {281, 306, 414, 410, 2, 410, 263, 304, 341},
       {281, 306, 414, 410, 2, 263, 304, 341},
       {281, 306, 414, 410, 2, 263, 304, 341}},
      {"a<s>b", {261, 1, 268}, {261, 1, 268}, {261, 1, 430}},
      {" </s>x", {410, 410, 2, 410, 444}, {410, 2, 410, 444}, {410, 2, 444}},
      {"</s> x", {2, 410, 410, 444}, {2, 410, 444}, {2, 410, 444}},
      {"  two", {410, 410, 259, 424, 414}, {410, 259, 424, 414}, {410, 259, 424, 414}},
      {"a  </s>  b",
       {261, 410, 410, 2, 410, 410, 268},
       {261, 410, 410, 2, 410, 268},
       {261, 410, 410, 2, 410, 268}},
      {"<unk>z", {0, 410, 451}, {0, 410, 451}, {0, 451}},
      {"a\n</s>\nb", {261, 13, 2, 410, 13, 430}, {261, 13, 2, 410, 13, 430}, {261, 13, 2, 13, 430}},
      {"<s>", {1}, {1}, {1}},
  };
  for (const Case& one : cases) {
    const auto encode = [&](SpaceInFront space, bool bos) {
      return SpecialTokenEncoder(*tokenizer, space, bos).encode(one.text);
    };
    EXPECT_EQ(encode(SpaceInFront::every_part, false), one.without_config) << one.text;
    EXPECT_EQ(encode(SpaceInFront::unless_a_space, false), one.legacy) << one.text;
    EXPECT_EQ(encode(SpaceInFront::first_unless_a_space, false), one.llama) << one.text;
    // BOS comes in front, unless the text spells it itself (the harness's rule).
    Ids with_bos = one.llama;
    if (with_bos.front() != 1) with_bos.insert(with_bos.begin(), 1);
    EXPECT_EQ(encode(SpaceInFront::first_unless_a_space, true), with_bos) << one.text;
  }
}

TEST(SpecialTokens, Llama2) {
  MEMENGINE_REQUIRE_DATA();
  const auto tokenizer = load_tokenizer("sp", test_data_folder() / "tokenizers/llama2.model");
  const SpecialTokenEncoder encoder(*tokenizer, SpaceInFront::first_unless_a_space, true);
  EXPECT_EQ(encoder.encode("hello </s> world"), (Ids{1, 22172, 29871, 2, 3186}));
  EXPECT_EQ(encoder.encode("\n x"), (Ids{1, 29871, 13, 921}));
  // To training they are letters.
  const Ids letters = tokenizer->encode("</s>", false, false);
  EXPECT_GT(letters.size(), 1u);
  EXPECT_EQ(tokenizer->decode(letters), "</s>");
}

TEST(SpecialTokens, Llama3AndBytes) {
  MEMENGINE_REQUIRE_DATA();
  const auto llama3 = load_tokenizer("tiktoken", test_data_folder() / "tokenizers/llama3.tiktoken");
  const auto special = llama3->special_tokens();
  ASSERT_EQ(special.size(), 256u);
  EXPECT_EQ(special[9].text, "<|eot_id|>");
  EXPECT_EQ(special[9].id, 128009);
  EXPECT_EQ(special[255].text, "<|reserved_special_token_250|>");
  EXPECT_EQ(special[255].id, 128255);
  const SpecialTokenEncoder encoder(*llama3, SpaceInFront::every_part, true);
  EXPECT_EQ(encoder.encode("a<|eot_id|>b"), (Ids{128000, 64, 128009, 65}));
  EXPECT_EQ(encoder.encode("<|begin_of_text|>a"), (Ids{128000, 64}));
  // The longest of the names that begin at a place.
  EXPECT_EQ(encoder.encode("<|reserved_special_token_25|>"), (Ids{128000, 128030}));
  const auto byte_tokenizer = load_tokenizer("bytes", "");
  EXPECT_EQ(SpecialTokenEncoder(*byte_tokenizer, SpaceInFront::every_part, true).encode("a<eos>"),
            (Ids{256, 'a', 257}));
}

}  // namespace
}  // namespace memengine
