// Which of how many: a rank's number among all of a run.
#pragma once

namespace memengine {

struct RankPlace {
  int rank = 0;
  int size = 1;
  bool operator==(const RankPlace&) const = default;
};

}  // namespace memengine
