// A metric of a run, thinned while it is read: a file of a million lines and a folder of a thousand
// runs take the memory of what is drawn. Only the picture is thinned: last value, least value and
// the moment at which a value was first reached are those of the lines themselves.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace memengine {

inline constexpr double nothing = std::numeric_limits<double>::quiet_NaN();  // no figure is known

// Where a run stands: the four axes that its metrics can be drawn against.
struct RunPlace {
  double step = 0;
  double tokens = 0;
  double seconds = 0;  // of training: without validation, saving and the time it did not run
  double flops = 0;    // of training, model FLOPs
};

struct CurvePart {
  RunPlace place;  // of its last line
  double mean = 0;
  std::int64_t count = 0;  // finite values
};

class Curve {
 public:
  // Draws at most `most` parts: neighbouring parts become one whenever there are more.
  explicit Curve(std::size_t most = 500) : most_(most < 4 ? 4 : most) {}

  // The mean of a part without any finite value is NaN.
  void add(const RunPlace& place, double value);

  const std::vector<CurvePart>& parts() const { return parts_; }
  std::int64_t lines() const { return lines_; }
  std::int64_t not_finite() const { return not_finite_; }
  double last() const { return last_; }    // NaN where the last one is, or there is none
  double least() const { return least_; }  // of the finite ones; NaN without any

 private:
  void halve();

  std::size_t most_;
  std::int64_t lines_per_part_ = 1, in_last_ = 0;
  std::vector<CurvePart> parts_;
  std::int64_t lines_ = 0, not_finite_ = 0;
  double last_ = nothing;
  double least_ = nothing;
};

}  // namespace memengine
