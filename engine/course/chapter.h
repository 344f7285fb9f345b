// The course (docs/course): what a chapter has the program do beside its text.
//
// Every chapter works an example in numbers that can be followed by hand, and asks a question about
// other numbers. Both are computed by the engine's own operations when they are asked for, so that
// neither can differ from the code that the chapter explains. A wrong answer is told what mistake
// would lead to it.
#pragma once

#include <string>
#include <vector>

namespace memengine::course {

struct Verdict {
  bool right = false;
  std::string words;  // why the answer is right, or a hint
};

struct Chapter {
  int number;
  const char* page;  // docs/course/<page>.md
  const char* title;
  std::string (*example)();   // several lines, without the last line's end
  std::string (*question)();  // the same
  // Errors: input, for an answer that is not what was asked for (answer.h).
  Verdict (*check)(const std::string& answer);
};

// In the order in which they are read.
const std::vector<Chapter>& chapters();
// Errors: input, naming those that there are.
const Chapter& find_chapter(int number);

// One file each.
Chapter feed_forward_chapter();
Chapter product_keys_chapter();
Chapter six_picks_chapter();
Chapter lazy_decay_chapter();
Chapter row_life_chapter();
Chapter exact_masters_chapter();
Chapter step_streams_chapter();
Chapter step_record_chapter();
Chapter attention_tiles_chapter();
Chapter row_owners_chapter();
Chapter fair_comparison_chapter();

}  // namespace memengine::course
