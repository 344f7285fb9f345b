// Packing of requests into passes, and reading their scores out again.
#include "engine/eval_model.h"

#include <algorithm>
#include <numeric>

#include "engine/runtime/error.h"

namespace memengine {
namespace {

// The tokens of a request as one sequence.
struct Sequence {
  const LoglikelihoodRequest* request;

  std::int32_t operator[](std::size_t i) const {
    const std::size_t split = request->context.size();
    return i < split ? request->context[i] : request->continuation[i - split];
  }
  // What the model reads: all but the last token.
  std::size_t size() const { return request->context.size() + request->continuation.size() - 1; }
};

// Where a request stands in a pass.
struct Place {
  std::size_t request = 0;
  std::int64_t first = 0;  // row of its first token
};

}  // namespace

EvalModel::EvalModel(InferenceModel& model, const Tokenizer& tokenizer, std::int64_t max_length)
    : model_(model), tokenizer_(tokenizer), max_length_(max_length) {
  if (max_length > model.size().tokens) {
    fail_internal("texts of {} tokens do not fit into passes of {} rows", max_length,
                  model.size().tokens);
  }
}

std::vector<Loglikelihood> EvalModel::loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                                     const EvalProgress& progress) {
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Longest first: memory and time are at their worst at the start, and the estimate of the time
  // left errs on the safe side.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return Sequence{&requests[a]}.size() > Sequence{&requests[b]}.size();
  });

  std::vector<Loglikelihood> answers(requests.size());
  ScoreRows rows;
  std::vector<Place> places;
  std::vector<float> log_probabilities;
  std::vector<std::int32_t> best;
  std::size_t done = 0;
  const auto flush = [&] {
    model_.score(rows, log_probabilities, best);
    for (const Place& place : places) {
      const LoglikelihoodRequest& request = requests[place.request];
      Loglikelihood& answer = answers[place.request];
      answer = {0, true};
      auto row = static_cast<std::size_t>(place.first) + request.context.size() - 1;
      for (const std::int32_t token : request.continuation) {
        answer.sum += static_cast<double>(log_probabilities[row]);
        answer.is_greedy = answer.is_greedy && best[row] == token;
        ++row;
      }
    }
    done += places.size();
    rows.clear();
    places.clear();
    if (progress) progress(done, requests.size());
  };

  for (const std::size_t index : order) {
    const Sequence sequence{&requests[index]};
    const auto length = static_cast<std::int64_t>(sequence.size());
    if (requests[index].context.empty() || requests[index].continuation.empty() ||
        length > max_length_) {
      fail_internal("a request reads {} tokens, at least 1 and at most {} are possible", length,
                    max_length_);
    }
    if (rows.size() + length > model_.size().tokens) flush();
    const std::int64_t start = rows.size();
    places.push_back({index, start});
    for (std::size_t i = 0; i < sequence.size(); ++i) {
      rows.tokens.push_back(sequence[i]);
      rows.targets.push_back(i + 1 < requests[index].context.size() ? -1 : sequence[i + 1]);
      rows.positions.push_back(static_cast<std::int32_t>(i));
      rows.document_start.push_back(static_cast<std::int32_t>(start));
    }
  }
  if (!places.empty()) flush();
  return answers;
}

std::vector<std::string> EvalModel::generate(std::span<const GenerationRequest> requests,
                                             const EvalProgress& progress) {
  // Longest prompts first, so that the last texts to finish are not the longest to read.
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return requests[a].prompt.size() > requests[b].prompt.size();
  });
  std::vector<GenerationPrompt> prompts;
  prompts.reserve(requests.size());
  for (const std::size_t index : order) {
    const GenerationRequest& request = requests[index];
    prompts.push_back({request.prompt, request.max_gen_tokens, request.until});
  }
  Generator generator(model_, tokenizer_);
  std::size_t done = 0;
  const std::vector<Generation> generations =
      generator.generate(prompts, sampling_, {}, [&](std::size_t) {
        if (progress) progress(++done, requests.size());
      });
  std::vector<std::string> texts(requests.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::vector<std::int32_t> tokens = generations[i].tokens;
    // A model may have more ids than its tokenizer has pieces.
    std::erase_if(tokens, [&](std::int32_t id) { return id >= tokenizer_.vocab_size(); });
    texts[order[i]] = tokenizer_.decode(tokens);
  }
  return texts;
}

}  // namespace memengine
