// A language model whose requests are dealt out to the ranks of a run, each of which has the whole
// model; what they answer comes together on all of them.
//
// Neighbouring requests with the same context stay together, since that context is computed once
// for all of them. An answer does not depend on which others a rank has to give (eval_model.h), so
// they are one rank's to the digit.
#pragma once

#include "engine/evaluation/language_model.h"
#include "kernels/runtime/communicator.h"

namespace memengine {

class DealtModel : public LanguageModel {
 public:
  // Both outlive this object. All ranks call its functions together, with the same requests.
  DealtModel(LanguageModel& own, Communicator& ranks) : own_(own), ranks_(ranks) {}

  int max_length() const override { return own_.max_length(); }
  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                            const EvalProgress& progress) override;
  std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                    const EvalProgress& progress) override;

 private:
  LanguageModel& own_;
  Communicator& ranks_;
};

}  // namespace memengine
