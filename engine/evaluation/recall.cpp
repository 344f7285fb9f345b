// Recall of the synthetic biographies' facts.
//
// The leading space is compared after stripping: some tokenizers drop it when they decode a
// continuation alone.
#include "engine/evaluation/recall.h"

#include <algorithm>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/scoring.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::vector<RecallItem> load_recall_questions(const std::filesystem::path& file,
                                              std::size_t limit) {
  std::vector<RecallItem> items;
  read_json_lines(file, [&](const JsonRecord& record) {
    if (limit > 0 && items.size() == limit) return;
    items.push_back(
        {record.text("prompt"), record.text("answer"), record.text("attribute"), record.where()});
    if (items.back().prompt.empty() || python_strip(items.back().answer).empty()) {
      fail_input("{}: a recall question needs a prompt and an answer", record.where());
    }
  });
  if (items.empty()) fail_input("{}: the file has no questions", file.string());
  return items;
}

RecallResult evaluate_recall(LanguageModel& model, const EncodeText& encode,
                             const std::vector<RecallItem>& items, const EvalProgress& progress) {
  constexpr std::size_t spare_tokens = 4;
  const std::vector<std::string> until = {"."};
  std::vector<GenerationRequest> requests;
  requests.reserve(items.size());
  std::size_t longest = 0;
  for (const RecallItem& item : items) {
    GenerationRequest& request = requests.emplace_back();
    request.prompt = encode(item.prompt);
    request.until = until;
    const std::size_t whole = encode(item.prompt + item.answer + ".").size();
    longest = std::max(longest, whole - std::min(whole, request.prompt.size()));
    if (request.prompt.empty()) fail_input("{}: the prompt has no tokens", item.where);
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    requests[i].max_gen_tokens = static_cast<int>(longest + spare_tokens);
    const std::size_t needed = requests[i].prompt.size() + longest + spare_tokens;
    if (needed > static_cast<std::size_t>(model.max_length())) {
      fail_input("{}: question and answer are {} tokens, but the model reads only {}",
                 items[i].where, needed, model.max_length());
    }
  }
  const std::vector<std::string> texts = model.generate(requests, progress);
  if (texts.size() != items.size()) {
    fail_internal("the model answered {} of {} requests", texts.size(), items.size());
  }

  RecallResult result;
  result.all.attribute = "all";
  for (std::size_t i = 0; i < items.size(); ++i) {
    result.completions.push_back(cut_at_stop_strings(texts[i], until));
    auto score = std::find_if(result.by_attribute.begin(), result.by_attribute.end(),
                              [&](const auto& s) { return s.attribute == items[i].attribute; });
    if (score == result.by_attribute.end()) {
      score = result.by_attribute.insert(score, {.attribute = items[i].attribute});
    }
    // A completion without its full stop did not end where the value ends.
    const bool ended = texts[i].find('.') != std::string::npos;
    const bool recalled =
        ended && python_strip(result.completions[i]) == python_strip(items[i].answer);
    for (RecallScore* counted : {&*score, &result.all}) {
      counted->asked += 1;
      counted->recalled += recalled ? 1 : 0;
    }
  }
  return result;
}

std::string recall_table(const RecallResult& result) {
  std::string table = fmt::format("{:<12} {:>9} {:>10}\n", "attribute", "recalled", "questions");
  const auto add = [&](const RecallScore& score) {
    table +=
        fmt::format("{:<12} {:>8.2f}% {:>10}\n", score.attribute, 100 * score.share(), score.asked);
  };
  for (const RecallScore& score : result.by_attribute) add(score);
  add(result.all);
  return table;
}

}  // namespace memengine
