// A record of the Allen Institute's multiple-choice questions (ARC, OpenBookQA), in the two forms
// in which they are found:
//
//   the original  {"id", "question": {"stem", "choices": [{"text", "label"}, ...]}, "answerKey"}
//   a data set's  {"id", <question>, "choices": {"text": [...], "label": [...]}, "answerKey"}
#pragma once

#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"

namespace memengine {

// The question as it is, its choices and the right one; `question` names its field in the second
// form, which `record` has whatever was read. Input errors: a field missing or of another type, as
// many labels as texts, an empty choice, an answer that is none of the labels.
Document read_ai2_record(const JsonRecord& record, const char* question);

}  // namespace memengine
