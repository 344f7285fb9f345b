// The course's table of contents.
#include <fmt/format.h>

#include "engine/course/chapter.h"
#include "kernels/runtime/error.h"

namespace memengine::course {

const std::vector<Chapter>& chapters() {
  static const std::vector<Chapter> all = {
      feed_forward_chapter(), product_keys_chapter(),   six_picks_chapter(),
      lazy_decay_chapter(),   row_life_chapter(),       exact_masters_chapter(),
      step_streams_chapter(), step_record_chapter(),    attention_tiles_chapter(),
      row_owners_chapter(),   fair_comparison_chapter()};
  return all;
}

const Chapter& find_chapter(int number) {
  for (const Chapter& chapter : chapters()) {
    if (chapter.number == number) return chapter;
  }
  fail_input("the course has no chapter {}: there are {} to {}", number, chapters().front().number,
             chapters().back().number);
}

}  // namespace memengine::course
