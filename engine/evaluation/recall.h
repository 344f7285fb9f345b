// How many facts of the synthetic biographies a model has stored.
//
// Each question is a training sentence up to its value; the model continues it greedily, and the
// fact counts as recalled when what it says before the next "." is exactly the value. This is the
// measure of knowledge capacity in "Physics of Language Models: Part 3" (Allen-Zhu and Li, 2023).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/evaluation/language_model.h"
#include "engine/evaluation/requests.h"

namespace memengine {

struct RecallItem {
  std::string prompt;     // "Anya Briar Forger was born in"
  std::string answer;     // " Princeton"
  std::string attribute;  // "birth_city"
  std::string where;      // "file:line"
};

struct RecallScore {
  std::string attribute;
  std::int64_t recalled = 0;
  std::int64_t asked = 0;
  double share() const {
    return asked == 0 ? 0.0 : static_cast<double>(recalled) / static_cast<double>(asked);
  }
};

struct RecallResult {
  RecallScore all;                        // attribute "all"
  std::vector<RecallScore> by_attribute;  // in order of first appearance
  std::vector<std::string> completions;   // one per item: the text before the first "."
};

// Reads recall questions: JSON lines {"prompt", "answer", "attribute"}; at most `limit` of them
// unless it is 0. Input errors name file and line.
std::vector<RecallItem> load_recall_questions(const std::filesystem::path& file,
                                              std::size_t limit = 0);

// Asks the model. Answers get as many tokens as the longest needs, and a few to spare.
RecallResult evaluate_recall(LanguageModel& model, const EncodeText& encode,
                             const std::vector<RecallItem>& items,
                             const EvalProgress& progress = {});

// A small table: attribute, share recalled, questions.
std::string recall_table(const RecallResult& result);

}  // namespace memengine
