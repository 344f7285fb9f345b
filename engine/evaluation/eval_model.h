// Evaluation's language model (engine/evaluation/language_model.h) on an InferenceModel.
//
// Log-likelihoods: neighbouring requests with the same context form a group, in which that context
// is computed once: its rows, then each continuation's, which see the context and themselves only.
// Groups are sorted by length and laid one after the other into passes of N rows. Positions start
// again with each group and attention stays inside it, so a request gets the same numbers wherever
// it stands, and no pass carries padding but what is left at its end. Only rows whose next token is
// asked for go through the head. The host waits for the device once per pass.
#pragma once

#include <string>
#include <vector>

#include "engine/evaluation/language_model.h"
#include "engine/inference/generator.h"
#include "engine/inference/inference_model.h"

namespace memengine {

class EvalModel : public LanguageModel {
 public:
  // Both outlive this object. `max_length` is at most model.size().tokens, and generation needs
  // caches of that length.
  // A generated text ends at any of `end_tokens`; without one, at the tokenizer's EOS.
  EvalModel(InferenceModel& model, const Tokenizer& tokenizer, std::int64_t max_length,
            std::vector<std::int32_t> end_tokens = {});

  int max_length() const override { return static_cast<int>(max_length_); }
  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                            const EvalProgress& progress) override;
  std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                    const EvalProgress& progress) override;

  // Settings of generate(); greedy unless set.
  void set_sampling(const SamplingOptions& sampling) { sampling_ = sampling; }

 private:
  InferenceModel& model_;
  const Tokenizer& tokenizer_;
  std::int64_t max_length_;
  std::vector<std::int32_t> end_tokens_;
  SamplingOptions sampling_;
};

}  // namespace memengine
