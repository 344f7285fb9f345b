// Generation: the cache against full recomputation, ragged batches, sampling, and where texts end.
#include "engine/inference/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/engine/inference/inference_testing.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

using Ids = std::vector<std::int32_t>;

// The greedy continuation without a cache: the whole text goes through score() for every token.
Ids recompute_greedily(InferenceModel& model, const Ids& prompt, int count) {
  Ids text = prompt;
  ScoreRows rows;
  std::vector<double> scores;
  Ids best;
  for (int made = 0; made < count; ++made) {
    rows.clear();
    rows.tokens = text;
    rows.targets.assign(text.size(), -1);
    rows.targets.back() = 0;
    rows.document_start.assign(text.size(), 0);
    for (std::size_t i = 0; i < text.size(); ++i) {
      rows.positions.push_back(static_cast<std::int32_t>(i));
    }
    model.score(rows, scores, best);
    text.push_back(best.back());
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

class GeneratorVariants : public testing::TestWithParam<const char*> {};

TEST_P(GeneratorVariants, CachedGreedyDecodingEqualsFullRecomputation) {
  const ModelConfig config = tiny_model(GetParam());
  ServedModel cached(config, inference_rows(19, 2));
  ServedModel full(config, inference_rows(256));
  const EndlessTokenizer tokenizer(258);
  std::mt19937 random(1);
  const Ids prompt = random_tokens(random, 41, 258);
  Generator generator(cached.model, tokenizer);
  const GenerationPrompt request{prompt, 200, {}};
  const Generation made = generator.generate({&request, 1}, {}).front();
  EXPECT_EQ(made.end, Generation::End::max_tokens);
  EXPECT_EQ(made.tokens, recompute_greedily(full.model, prompt, 200));
}

INSTANTIATE_TEST_SUITE_P(Memory, GeneratorVariants,
                         testing::Values("none", "plain", "shared", "batchnorm", "peer"),
                         [](const auto& info) { return std::string(info.param); });

// On every device; only the ids are copied.
TEST(Generator, TheGreedyChoiceIsTheLargestLogit) {
  std::vector<Device> devices = {Device::cpu};
  if (choose_device("auto") == Device::cuda) devices.push_back(Device::cuda);
  for (const Device device : devices) {
    Runtime runtime(device);
    InferenceModel model(tiny_model("shared"), inference_rows(99, 5, 64), runtime);
    model.initialize(7);
    std::mt19937 random(8);
    DecodeRows rows;
    for (std::int32_t sequence = 0; sequence < 5; ++sequence) {
      const Ids text = random_tokens(random, 19, 258);
      for (std::size_t i = 0; i < text.size(); ++i) {
        rows.tokens.push_back(text[i]);
        rows.sequences.push_back(sequence);
        rows.positions.push_back(static_cast<std::int32_t>(i));
      }
      if (sequence != 2) rows.wanted.push_back(static_cast<std::int32_t>(rows.size()) - 1);
    }
    std::vector<float> logits;
    std::vector<std::int32_t> best(1, -1), expected;
    model.decode(rows, logits);
    for (std::size_t i = 0; i < rows.wanted.size(); ++i) {
      expected.push_back(most_likely(std::span(logits).subspan(i * 258, 258)));
    }
    model.decode_greedy(rows, best);
    EXPECT_EQ(best, expected);
  }
}

// A pass that only continues texts is recorded at its second turn and replayed from the third on.
// The same rows in a pass that wants fewer logits than it has rows run plainly: the same numbers,
// but for sums that a library orders by the number of rows.
TEST(Generator, RecordedPassesChangeNothing) {
  if (choose_device("auto") != Device::cuda) GTEST_SKIP() << "passes are recorded on a GPU only";
  for (const bool in_host_memory : {false, true}) {
    ModelConfig config = tiny_model("shared");
    config.productkey_args.zero_copy = in_host_memory;
    Runtime runtime(Device::cuda), other_runtime(Device::cuda);
    InferenceModel recorded(config, inference_rows(8, 3, 64), runtime);
    InferenceModel plain(config, inference_rows(8, 4, 64), other_runtime);
    recorded.initialize(7);
    plain.initialize(7);
    std::mt19937 random(8);
    for (std::int32_t position = 0; position < 12; ++position) {
      DecodeRows rows;
      rows.tokens = random_tokens(random, 3, 258);
      rows.sequences = {2, 0, 1};
      rows.positions = {position, position, position};
      rows.wanted = {0, 1, 2};
      DecodeRows more = rows;
      more.tokens.push_back(5);
      more.sequences.push_back(3);
      more.positions.push_back(position);
      std::vector<float> logits, expected;
      recorded.decode(rows, logits);
      plain.decode(more, expected);
      ASSERT_EQ(logits.size(), expected.size());
      for (std::size_t i = 0; i < logits.size(); ++i) {
        ASSERT_NEAR(logits[i], expected[i], 1e-5) << "position " << position << ", logit " << i;
      }
      std::vector<std::int32_t> best, expected_best;
      recorded.decode_greedy(rows, best);
      plain.decode_greedy(more, expected_best);
      EXPECT_EQ(best, expected_best) << "position " << position;
    }
  }
}

// Two prompts beside a text that goes on: read whole in one pass, or in pieces that look back into
// the cache.
TEST(Generator, PromptsMayBeReadAtOnceOrInPieces) {
  std::vector<Device> devices = {Device::cpu};
  if (choose_device("auto") == Device::cuda) devices.push_back(Device::cuda);
  for (const Device device : devices) {
    for (const std::int64_t window : {0, 7}) {
      ModelConfig config = tiny_model("shared");
      if (window > 0) config.sliding_window = window;
      Runtime runtime(device), other_runtime(device);
      InferenceModel at_once(config, inference_rows(99, 3, 64), runtime);
      InferenceModel in_pieces(config, inference_rows(99, 3, 64), other_runtime);
      at_once.initialize(7);
      in_pieces.initialize(7);
      std::mt19937 random(9);
      const Ids texts[] = {random_tokens(random, 33, 258), random_tokens(random, 41, 258),
                           random_tokens(random, 19, 258)};
      const auto add = [&](DecodeRows& rows, std::int32_t text, std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) {
          rows.tokens.push_back(texts[text][i]);
          rows.sequences.push_back(text);
          rows.positions.push_back(static_cast<std::int32_t>(i));
        }
        rows.wanted.push_back(static_cast<std::int32_t>(rows.size()) - 1);
      };
      std::vector<float> logits, expected, part;
      for (InferenceModel* model : {&at_once, &in_pieces}) {
        DecodeRows first;
        add(first, 0, 0, 32);
        model->decode(first, part);
      }
      DecodeRows all;
      add(all, 0, 32, 33);
      add(all, 1, 0, 41);
      add(all, 2, 0, 19);
      at_once.decode(all, logits);
      for (const auto& [text, cut] : {std::pair{0, 32}, {1, 13}, {2, 18}}) {
        DecodeRows rows;
        if (text > 0) {
          add(rows, text, 0, static_cast<std::size_t>(cut));
          in_pieces.decode(rows, part);
          rows.clear();
        }
        add(rows, text, static_cast<std::size_t>(cut), texts[text].size());
        in_pieces.decode(rows, part);
        expected.insert(expected.end(), part.begin(), part.end());
      }
      ASSERT_EQ(logits.size(), expected.size());
      for (std::size_t i = 0; i < logits.size(); ++i) {
        ASSERT_NEAR(logits[i], expected[i], 2e-5) << "window " << window << ", logit " << i;
      }
    }
  }
}

TEST(Generator, SlidingWindowIsTheSameWithAndWithoutACache) {
  ModelConfig config = tiny_model();
  config.sliding_window = 19;
  ServedModel cached(config, inference_rows(8, 1));
  ServedModel full(config, inference_rows(256));
  const EndlessTokenizer tokenizer(258);
  std::mt19937 random(2);
  const Ids prompt = random_tokens(random, 33, 258);
  Generator generator(cached.model, tokenizer);
  const GenerationPrompt request{prompt, 60, {}};
  EXPECT_EQ(generator.generate({&request, 1}, {}).front().tokens,
            recompute_greedily(full.model, prompt, 60));
}

// More prompts than cache sequences, of very different lengths, in passes shorter than some.
TEST(Generator, ATextDoesNotDependOnItsBatch) {
  const ModelConfig config = tiny_model("shared");
  ServedModel many(config, inference_rows(19, 5));
  const EndlessTokenizer tokenizer(258);
  std::mt19937 random(3);
  std::vector<GenerationPrompt> prompts;
  for (const std::size_t length : {1, 99, 19, 3, 200, 7, 50, 1, 30}) {
    prompts.push_back({random_tokens(random, length, 258), 5 + static_cast<int>(length) % 23, {}});
  }
  prompts.push_back({{5}, 0, {}});
  SamplingOptions sampling;
  sampling.temperature = 0.9;
  sampling.seed = 11;
  std::vector<std::size_t> done;
  Generator generator(many.model, tokenizer);
  const auto together =
      generator.generate(prompts, sampling, {}, [&](std::size_t index) { done.push_back(index); });
  EXPECT_EQ(done.size(), prompts.size());
  ServedModel other(config, inference_rows(64, 10));
  Generator other_generator(other.model, tokenizer);
  const auto otherwise = other_generator.generate(prompts, sampling);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together[i].tokens.size(), static_cast<std::size_t>(prompts[i].max_new_tokens));
    EXPECT_EQ(together[i].tokens, otherwise[i].tokens) << "prompt " << i;
  }
}

TEST(Generator, EndsAtStopStringsTheContextAndOnRequest) {
  ServedModel test(tiny_model(), inference_rows(64, 2, 50));
  const EndlessTokenizer tokenizer(258);
  Generator generator(test.model, tokenizer);
  const GenerationPrompt plain{{1, 2, 3}, 1000, {}};
  const Generation full = generator.generate({&plain, 1}, {}).front();
  EXPECT_EQ(full.end, Generation::End::context_full);
  EXPECT_EQ(full.tokens.size(), 50U - 3 + 1);  // the last token is never read

  const std::string text = tokenizer.decode(full.tokens);
  GenerationPrompt stopping = plain;
  stopping.until = {"not there", text.substr(10, 3)};
  const Generation stopped = generator.generate({&stopping, 1}, {}).front();
  EXPECT_EQ(stopped.end, Generation::End::stop_string);
  EXPECT_EQ(tokenizer.decode(stopped.tokens), text.substr(0, text.find(stopping.until[1]) + 3));

  int seen = 0;
  const Generation broken =
      generator.generate({&plain, 1}, {}, [&](std::size_t, std::int32_t) { return ++seen < 4; })
          .front();
  EXPECT_EQ(broken.end, Generation::End::interrupted);
  EXPECT_EQ(broken.tokens.size(), 4U);
}

TEST(Generator, RefusesPromptsThatDoNotFit) {
  ServedModel test(tiny_model(), inference_rows(64, 2, 50));
  const EndlessTokenizer tokenizer(258);
  Generator generator(test.model, tokenizer);
  const GenerationPrompt empty{{}, 5, {}}, longest{Ids(50, 1), 5, {}}, too_long{Ids(51, 1), 5, {}};
  expect_input_error("has no tokens", [&] { generator.generate({&empty, 1}, {}); });
  expect_input_error("51 tokens, but the model reads at most 50", [&] {
    generator.generate({&too_long, 1}, {});
  });
  EXPECT_EQ(generator.generate({&longest, 1}, {}).front().tokens.size(), 1U);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const std::vector<float> logits = {std::log(1.0F), std::log(2.0F), std::log(4.0F),
                                     std::log(3.0F)};
  Sampler sampler;
  SamplingOptions options;
  options.temperature = 1;
  constexpr int draws = 20000;
  std::vector<int> count(4);
  for (int i = 0; i < draws; ++i) ++count[sampler.draw(logits, options, 0, i)];
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(count[i] / static_cast<double>(draws), std::exp(logits[i]) / 10, 0.015) << i;
  }
  EXPECT_EQ(sampler.draw(logits, options, 3, 5), sampler.draw(logits, options, 3, 5));

  const auto possible = [&](const SamplingOptions& chosen) {
    std::vector<bool> seen(4);
    for (int i = 0; i < 2000; ++i) seen[sampler.draw(logits, chosen, 1, i)] = true;
    return std::vector<bool>(seen);
  };
  options.top_k = 2;
  EXPECT_EQ(possible(options), (std::vector<bool>{false, false, true, true}));
  options.top_k.reset();
  options.top_p = 0.75;  // 0.4 + 0.3 + 0.2
  EXPECT_EQ(possible(options), (std::vector<bool>{false, true, true, true}));
  options.top_p = 0.39;
  EXPECT_EQ(possible(options), (std::vector<bool>{false, false, true, false}));
  options = {};
  EXPECT_EQ(possible(options), (std::vector<bool>{false, false, true, false}));
}

// What a text is counted with is what the plan grows by for it, in every dtype there is.
TEST(FittingSequences, CountsCachesAsThePlanDoes) {
  const ModelConfig config = tiny_model();
  for (const bool fp64 : {false, true}) {
    for (const bool bf16 : {false, true}) {
      for (const Device device : {Device::cpu, Device::cuda}) {
        if (device == Device::cuda && (fp64 || !cuda_build)) continue;
        InferenceSize size = inference_rows(512, 64, 256);
        size.fp64 = fp64;
        size.bf16 = bf16;
        const std::int64_t few = InferenceModel::plan(config, size, device).device_bytes();
        size.cache_sequences = 256;
        const std::int64_t many = InferenceModel::plan(config, size, device).device_bytes();
        const auto each = static_cast<double>(decoding_bytes(config, size, device));
        EXPECT_NEAR(static_cast<double>(many - few) / 192, each, 0.01 * each)
            << "fp64 " << fp64 << ", bf16 " << bf16;
      }
    }
  }
  InferenceSize wide = inference_rows(512, 1, 256);
  const std::int64_t single = decoding_bytes(config, wide, Device::cpu);
  wide.fp64 = true;
  EXPECT_EQ(decoding_bytes(config, wide, Device::cpu), 2 * single) << "FP64 takes twice as much";

  // A GPU that is not here cannot be asked, which is no error: a plan for it can be made.
  if (choose_device("auto") == Device::cuda) return;
  EXPECT_EQ(fitting_sequences(config, wide, Device::cuda, 77), 77);
}

}  // namespace
}  // namespace memengine
