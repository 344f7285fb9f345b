#include "engine/report/curve.h"

#include <cmath>

namespace memengine {
namespace {

void join(CurvePart& part, const CurvePart& next) {
  const auto a = static_cast<double>(part.count), b = static_cast<double>(next.count);
  if (b > 0) part.mean = a > 0 ? (part.mean * a + next.mean * b) / (a + b) : next.mean;
  part.count += next.count;
  part.place = next.place;
}

}  // namespace

void Curve::add(const RunPlace& place, double value) {
  const bool finite = std::isfinite(value);
  ++lines_;
  last_ = finite ? value : nothing;
  if (!finite) ++not_finite_;
  if (finite && !(least_ <= value)) least_ = value;
  const CurvePart part{place, last_, finite ? 1 : 0};
  if (parts_.empty() || in_last_ >= lines_per_part_) {
    if (parts_.size() >= most_) halve();
    if (parts_.empty() || in_last_ >= lines_per_part_) {
      parts_.push_back(part);
      in_last_ = 1;
      return;
    }
  }
  join(parts_.back(), part);
  ++in_last_;
}

void Curve::halve() {
  const std::size_t pairs = parts_.size() / 2;
  const bool odd = parts_.size() % 2 != 0;
  for (std::size_t i = 0; i < pairs; ++i) {
    CurvePart part = parts_[2 * i];
    join(part, parts_[2 * i + 1]);
    parts_[i] = part;
  }
  if (odd) parts_[pairs] = parts_.back();
  parts_.resize(pairs + (odd ? 1 : 0));
  in_last_ = odd ? lines_per_part_ : 2 * lines_per_part_;
  lines_per_part_ *= 2;
}

}  // namespace memengine
