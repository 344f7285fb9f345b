// What evaluation asks of a model, so that its rules know nothing of devices, batches or caches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace memengine {

// Called while requests are being answered, with how many of them are done.
using EvalProgress = std::function<void(std::size_t done, std::size_t total)>;

// log p(continuation | context). Neither part is empty, and together they are at most
// max_length() + 1 tokens: the model reads all but the last. Requests about one document stand next
// to each other and mostly share their context, which an implementation may compute once.
struct LoglikelihoodRequest {
  std::vector<std::int32_t> context;
  std::vector<std::int32_t> continuation;
};

struct Loglikelihood {
  double sum = 0;          // natural logarithm, summed over the continuation's tokens
  bool is_greedy = false;  // every token of the continuation was the most likely one
};

// A greedy continuation of at most max_gen_tokens tokens. The prompt is not empty and leaves room
// for them within max_length(). Generation ends early at the end-of-sequence token, or once the
// text holds one of the stop strings.
struct GenerationRequest {
  std::vector<std::int32_t> prompt;
  std::vector<std::string> until;
  int max_gen_tokens = 0;
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // The longest sequence that the model reads, in tokens.
  virtual int max_length() const = 0;

  // One answer a request, in the requests' order, whatever order they are computed in.
  virtual std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                                    const EvalProgress& progress) = 0;

  // The generated text alone, control tokens left out; a stop string and what came after it in the
  // last token may still be there.
  virtual std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                            const EvalProgress& progress) = 0;
};

}  // namespace memengine
