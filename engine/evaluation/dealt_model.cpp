#include "engine/evaluation/dealt_model.h"

#include <algorithm>
#include <cstring>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/together.h"

namespace memengine {
namespace {

// Who answers each request.
std::vector<int> deal(std::span<const LoglikelihoodRequest> requests, int ranks) {
  std::vector<int> owners;
  std::int64_t group = -1;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (i == 0 || requests[i].context != requests[i - 1].context) ++group;
    owners.push_back(static_cast<int>(group % ranks));
  }
  return owners;
}

template <typename Request>
std::vector<Request> own_of(std::span<const Request> requests, const std::vector<int>& owners,
                            int rank) {
  std::vector<Request> own;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (owners[i] == rank) own.push_back(requests[i]);
  }
  return own;
}

// Of all requests, when so many of ours are done.
EvalProgress progress_of_all(const EvalProgress& progress, std::size_t all) {
  if (!progress) return {};
  return [&progress, all](std::size_t done, std::size_t total) {
    progress(total > 0 ? done * all / total : all, all);
  };
}

}  // namespace

std::vector<Loglikelihood> DealtModel::loglikelihoods(
    std::span<const LoglikelihoodRequest> requests, const EvalProgress& progress) {
  const std::vector<int> owners = deal(requests, ranks_.size());
  constexpr std::size_t packed_bytes = sizeof(double) + 1;
  std::string mine;
  do_together(ranks_, [&] {
    const auto own = own_of(requests, owners, ranks_.rank());
    if (own.empty()) return;
    for (const Loglikelihood& answer :
         own_.loglikelihoods(own, progress_of_all(progress, requests.size()))) {
      mine.append(reinterpret_cast<const char*>(&answer.sum), sizeof(double));
      mine += answer.is_greedy ? '\1' : '\0';
    }
  });
  const std::vector<std::string> texts = gather_texts(ranks_, mine);
  std::vector<std::size_t> at(texts.size(), 0);
  std::vector<Loglikelihood> answers(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto owner = static_cast<std::size_t>(owners[i]);
    if (at[owner] + packed_bytes > texts[owner].size()) {
      fail_internal("rank {} has answered fewer requests than it was given", owner);
    }
    std::memcpy(&answers[i].sum, texts[owner].data() + at[owner], sizeof(double));
    answers[i].is_greedy = texts[owner][at[owner] + sizeof(double)] != 0;
    at[owner] += packed_bytes;
  }
  return answers;
}

std::vector<std::string> DealtModel::generate(std::span<const GenerationRequest> requests,
                                              const EvalProgress& progress) {
  std::vector<int> owners;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    owners.push_back(static_cast<int>(i) % ranks_.size());
  }
  std::string mine;  // each text after its length
  do_together(ranks_, [&] {
    const auto own = own_of(requests, owners, ranks_.rank());
    if (own.empty()) return;
    for (const std::string& text : own_.generate(own, progress_of_all(progress, requests.size()))) {
      const std::uint64_t size = text.size();
      mine.append(reinterpret_cast<const char*>(&size), sizeof(size));
      mine += text;
    }
  });
  const std::vector<std::string> texts = gather_texts(ranks_, mine);
  std::vector<std::size_t> at(texts.size(), 0);
  std::vector<std::string> answers;
  for (const int rank : owners) {
    const auto owner = static_cast<std::size_t>(rank);
    std::uint64_t size = 0;
    if (at[owner] + sizeof(size) > texts[owner].size()) {
      fail_internal("rank {} has answered fewer requests than it was given", owner);
    }
    std::memcpy(&size, texts[owner].data() + at[owner], sizeof(size));
    answers.push_back(texts[owner].substr(at[owner] + sizeof(size), size));
    at[owner] += sizeof(size) + size;
  }
  return answers;
}

}  // namespace memengine
