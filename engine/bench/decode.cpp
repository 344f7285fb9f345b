// One model per shape, so that each has the memory that it needs and no more.
#include "engine/bench/decode.h"

#include <algorithm>
#include <chrono>

#include "engine/inference/generator.h"
#include "engine/inference/inference_model.h"
#include "kernels/runtime/philox.h"

namespace memengine::bench {
namespace {

constexpr std::uint64_t seed = 1;

std::vector<GenerationPrompt> random_prompts(const DecodeShape& shape, std::int64_t vocabulary) {
  std::vector<GenerationPrompt> prompts(static_cast<std::size_t>(shape.sequences));
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    prompts[p].max_new_tokens = shape.new_tokens;
    for (std::int64_t t = 0; t < shape.prompt; ++t) {
      const Philox4 random = philox(seed, p, static_cast<std::uint64_t>(t));
      prompts[p].tokens.push_back(
          static_cast<std::int32_t>(random.word[0] % static_cast<std::uint64_t>(vocabulary)));
    }
  }
  return prompts;
}

DecodeResult measure(const BenchCase& bench_case, Device device, const DecodeShape& shape,
                     int repetitions) {
  DecodeResult result;
  result.bench_case = bench_case.name;
  result.sequences = shape.sequences;
  result.prompt = shape.prompt;
  result.new_tokens = shape.new_tokens;
  InferenceSize size;
  size.tokens = std::max(
      shape.sequences, std::min<std::int64_t>(shape.prompt * shape.sequences, std::int64_t{8192}));
  size.cache_sequences = shape.sequences;
  size.cache_length = shape.prompt + shape.new_tokens;
  size.bf16 = bench_case.config.distributed.model_dtype == ModelDtype::bf16;
  Runtime runtime(device);
  InferenceModel model(bench_case.config.model, size, runtime);
  model.initialize(seed);
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer("bytes", "");
  Generator generator(model, *tokenizer, {});  // nothing ends a text early
  const std::vector<GenerationPrompt> prompts =
      random_prompts(shape, bench_case.config.model.vocab_size);
  std::vector<double> seconds;
  for (int i = 0; i <= repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    generator.generate(prompts, {});
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  seconds.erase(seconds.begin());
  std::ranges::nth_element(seconds,
                           seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  result.seconds = seconds[seconds.size() / 2];
  return result;
}

}  // namespace

std::vector<DecodeShape> decode_shapes(Device device, bool quick) {
  if (quick) return {{1, 8, 16}, {4, 8, 16}, {1, 128, 1}};
  if (device == Device::cpu) return {{1, 32, 128}, {8, 32, 128}, {1, 1024, 1}};
  return {{1, 32, 128}, {8, 32, 128}, {64, 32, 128}, {1, 8192, 1}};
}

std::vector<DecodeResult> bench_decode(const BenchCase& bench_case, Device device,
                                       const std::vector<DecodeShape>& shapes, int repetitions) {
  std::vector<DecodeResult> results;
  for (const DecodeShape& shape : shapes) {
    try {
      results.push_back(measure(bench_case, device, shape, repetitions));
    } catch (const Error& error) {
      if (error.kind() != Error::Kind::input) throw;
      DecodeResult failed;
      failed.bench_case = bench_case.name;
      failed.failure = error.what();
      results.push_back(failed);
    }
  }
  return results;
}

}  // namespace memengine::bench
