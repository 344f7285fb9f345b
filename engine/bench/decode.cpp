// One model per shape, so that each has the memory that it needs and no more.
#include "engine/bench/decode.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "engine/inference/generator.h"
#include "engine/inference/inference_model.h"
#include "kernels/runtime/memory/device_memory.h"
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

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Bytes/s that all threads together read of a block far larger than the caches: the best of a few.
double memory_rate(bool quick) {
  typedef std::uint64_t Line __attribute__((vector_size(64)));
  constexpr std::int64_t apart = 8;  // sums that do not wait for each other
  const std::int64_t bytes = std::int64_t{quick ? 256 : 512} << 20;
  const HostBlock block(bytes, false, "the measured memory");
  std::memset(block.data(), 1, static_cast<std::size_t>(bytes));
  const auto* lines = reinterpret_cast<const Line*>(block.data());
  const std::int64_t groups = bytes / static_cast<std::int64_t>(sizeof(Line)) / apart;
  double best = 0;
  for (int i = 0; i < (quick ? 2 : 5); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t all = 0;
#pragma omp parallel
    {
      Line sums[apart] = {};
      const std::int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
      for (std::int64_t g = groups * thread / threads; g < groups * (thread + 1) / threads; ++g) {
        for (std::int64_t s = 0; s < apart; ++s) sums[s] += lines[g * apart + s];
      }
      std::uint64_t sum = 0;
      for (const Line& line : sums) {
        for (int lane = 0; lane < 8; ++lane) sum += line[lane];
      }
#pragma omp critical
      all += sum;
    }
    best = std::max(best, static_cast<double>(bytes) / seconds_since(begin));
    if (all != static_cast<std::uint64_t>(bytes / 8) * 0x0101010101010101U) {
      fail_internal("bench: the memory was not read wholly");
    }
  }
  return best;
}

// In the CPU's FP32: all weights but the embedding, of which a token reads one row (a tied head
// reads it all), and the rows of the value tables that a token picks.
std::int64_t bytes_per_token(Transformer& transformer, const ModelConfig& config) {
  std::int64_t count = transformer.parameters().parameter_count();
  if (!config.weight_tying) count -= (config.vocab_size - 1) * config.dim;
  const ProductKeyConfig& args = config.productkey_args;
  const std::int64_t picks = args.mem_heads * args.mem_knn * (args.peer_variant ? 2 : 1);
  count += static_cast<std::int64_t>(transformer.memories().size()) * picks * config.value_dim();
  return count * static_cast<std::int64_t>(sizeof(float));
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
    seconds.push_back(seconds_since(begin));
  }
  seconds.erase(seconds.begin());
  std::ranges::nth_element(seconds,
                           seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  result.seconds = seconds[seconds.size() / 2];
  if (device == Device::cpu && shape.sequences == 1 && shape.new_tokens > 1) {
    result.bytes_per_token = bytes_per_token(model.transformer(), bench_case.config.model);
    result.memory_rate = memory_rate(repetitions == 1);
  }
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
