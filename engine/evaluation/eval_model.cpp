// Packing of requests into passes, and reading their scores out again.
#include "engine/evaluation/eval_model.h"

#include <algorithm>
#include <numeric>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// What the model reads of a request: all tokens but the last.
std::int64_t read_length(const LoglikelihoodRequest& request) {
  return static_cast<std::int64_t>(request.context.size() + request.continuation.size()) - 1;
}

// Neighbouring requests with the same context, which is laid down once. Its last token is repeated
// with each continuation, because what follows it is asked there.
struct Group {
  std::size_t first = 0, last = 0;  // requests [first, last)
  std::int64_t shared = 0;          // leading tokens of the context that all of them read
  std::int64_t rows = 0;
};

// The requests in groups of at most `most_rows` rows; every request alone fits.
std::vector<Group> group_requests(std::span<const LoglikelihoodRequest> requests,
                                  std::int64_t most_rows, bool share) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const LoglikelihoodRequest& request = requests[i];
    const std::int64_t length = read_length(request);
    const auto context = static_cast<std::int64_t>(request.context.size());
    if (share && !groups.empty() && request.context == requests[groups.back().first].context &&
        groups.back().rows + length - (context - 1) <= most_rows) {
      groups.back().last = i + 1;
      groups.back().shared = context - 1;
      groups.back().rows += length - (context - 1);
    } else {
      groups.push_back({i, i + 1, 0, length});
    }
  }
  return groups;
}

void add_row(ScoreRows& rows, std::int32_t token, std::int32_t target, std::int64_t position,
             std::int64_t document_start, std::int64_t hidden_first, std::int64_t hidden_end) {
  rows.tokens.push_back(token);
  rows.targets.push_back(target);
  rows.positions.push_back(static_cast<std::int32_t>(position));
  rows.document_start.push_back(static_cast<std::int32_t>(document_start));
  rows.hidden.push_back(static_cast<std::int32_t>(hidden_first));
  rows.hidden.push_back(static_cast<std::int32_t>(hidden_end));
}

// The shared tokens first, then what each request reads beyond them; these rows do not see the
// requests between the shared tokens and their own.
void lay_down(ScoreRows& rows, std::span<const LoglikelihoodRequest> requests, const Group& group) {
  const std::int64_t start = rows.size();
  const std::int64_t branch = start + group.shared;
  const std::vector<std::int32_t>& context = requests[group.first].context;
  for (std::int64_t i = 0; i < group.shared; ++i) {
    add_row(rows, context[static_cast<std::size_t>(i)], -1, i, start, branch, branch);
  }
  for (std::size_t r = group.first; r < group.last; ++r) {
    const LoglikelihoodRequest& request = requests[r];
    const auto split = static_cast<std::int64_t>(request.context.size());
    const auto token = [&](std::int64_t i) {
      return i < split ? request.context[static_cast<std::size_t>(i)]
                       : request.continuation[static_cast<std::size_t>(i - split)];
    };
    const std::int64_t own = rows.size();
    for (std::int64_t i = group.shared; i < read_length(request); ++i) {
      add_row(rows, token(i), i + 1 < split ? -1 : token(i + 1), i, start, branch, own);
    }
  }
}

}  // namespace

EvalModel::EvalModel(InferenceModel& model, const Tokenizer& tokenizer, std::int64_t max_length,
                     std::vector<std::int32_t> end_tokens)
    : model_(model),
      tokenizer_(tokenizer),
      max_length_(max_length),
      end_tokens_(std::move(end_tokens)) {
  if (end_tokens_.empty()) end_tokens_.push_back(tokenizer.eos_id());
  if (max_length > model.size().tokens) {
    fail_internal("texts of {} tokens do not fit into passes of {} rows", max_length,
                  model.size().tokens);
  }
}

std::vector<Loglikelihood> EvalModel::loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                                     const EvalProgress& progress) {
  for (const LoglikelihoodRequest& request : requests) {
    if (request.context.empty() || request.continuation.empty() ||
        read_length(request) > max_length_) {
      fail_internal("a request reads {} tokens, at least 1 and at most {} are possible",
                    read_length(request), max_length_);
    }
  }
  // A sliding window counts rows, so there a context stands before each of its continuations.
  const bool share = !model_.config().sliding_window;
  std::vector<Group> groups = group_requests(requests, model_.size().tokens, share);
  // Longest first: memory and time are at their worst at the start, and the estimate of the time
  // left errs on the safe side.
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.rows > b.rows; });

  std::vector<Loglikelihood> answers(requests.size());
  ScoreRows rows;
  std::vector<Group> pass;
  std::vector<double> log_probabilities;
  std::vector<std::int32_t> best;
  std::size_t done = 0;
  const auto flush = [&] {
    if (!share) rows.hidden.clear();
    model_.score(rows, log_probabilities, best);
    std::size_t at = 0;
    for (const Group& group : pass) {
      for (std::size_t r = group.first; r < group.last; ++r) {
        answers[r] = {0, true};
        for (const std::int32_t token : requests[r].continuation) {
          answers[r].sum += log_probabilities[at];
          answers[r].is_greedy = answers[r].is_greedy && best[at] == token;
          ++at;
        }
      }
      done += group.last - group.first;
    }
    rows.clear();
    pass.clear();
    if (progress) progress(done, requests.size());
  };
  for (const Group& group : groups) {
    if (rows.size() + group.rows > model_.size().tokens) flush();
    lay_down(rows, requests, group);
    pass.push_back(group);
  }
  if (!pass.empty()) flush();
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
  Generator generator(model_, tokenizer_, end_tokens_);
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
