// CPU reference of de-duplication: a stable radix sort, then one walk over the sorted picks.
//
// The sort takes the row ids digit by digit from the lowest (LSD), only as many bits as the table
// needs: a table of 2^20 rows is two passes of 10 bits, and one of fewer rows than there are picks
// one pass. The picks are cut into parts, one per thread;
// in each pass every part counts its digits, the counts become first places (by digit, then by
// part, which keeps the sort stable), and every part moves its picks there. Because the sort is
// stable the result does not depend on the number of parts.
#include "kernels/table/deduplicate.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/dispatch.h"

namespace memengine {
namespace {

constexpr int max_digit_bits = 11;                             // 2048 counters stay in the L1 cache
constexpr int max_only_digit_bits = 16;                        // or in the L2 cache, for one pass
constexpr std::int64_t smallest_part = std::int64_t{1} << 13;  // picks worth a thread

struct SortPlan {
  std::int64_t parts;
  int passes;
  int digit_bits;

  SortPlan(std::int64_t picks, std::int64_t table_rows)
      : parts(std::clamp<std::int64_t>(picks / smallest_part, 1, omp_get_max_threads())) {
    const int bits = std::bit_width(static_cast<std::uint64_t>(table_rows - 1));
    const bool at_once = bits <= max_only_digit_bits && parts << bits <= picks;
    passes = at_once ? std::min(bits, 1) : (bits + max_digit_bits - 1) / max_digit_bits;
    digit_bits = passes == 0 ? 0 : (bits + passes - 1) / passes;
  }
  std::int64_t digits() const { return std::int64_t{1} << digit_bits; }
};

// A list of (row, pick) pairs.
struct Pairs {
  std::int32_t* rows;
  std::int32_t* picks;
};

// One pass: `to` = `from` sorted by digit `pass`, equal digits in their old order.
// counts [parts, digits] is working memory.
void sort_by_digit(Pairs to, Pairs from, std::int64_t size, const SortPlan& plan, int pass,
                   std::int32_t* counts) {
  const std::int64_t digits = plan.digits();
  const int shift = pass * plan.digit_bits;
  const auto digit_of = [&](std::int32_t row) { return row >> shift & (digits - 1); };
  const auto part_start = [&](std::int64_t part) { return size * part / plan.parts; };

#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(plan.parts))
  for (std::int64_t part = 0; part < plan.parts; ++part) {
    std::int32_t* count = counts + part * digits;
    std::fill_n(count, digits, 0);
    for (std::int64_t i = part_start(part); i < part_start(part + 1); ++i) {
      ++count[digit_of(from.rows[i])];
    }
  }
  std::int32_t place = 0;
  for (std::int64_t digit = 0; digit < digits; ++digit) {
    for (std::int64_t part = 0; part < plan.parts; ++part) {
      place += std::exchange(counts[part * digits + digit], place);
    }
  }
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(plan.parts))
  for (std::int64_t part = 0; part < plan.parts; ++part) {
    std::int32_t* next = counts + part * digits;
    for (std::int64_t i = part_start(part); i < part_start(part + 1); ++i) {
      const std::int32_t to_place = next[digit_of(from.rows[i])]++;
      to.rows[to_place] = from.rows[i];
      to.picks[to_place] = from.picks[i];
    }
  }
}

// A row begins where the sorted list changes. Every part first counts the rows that begin in it, so
// that it knows the number of its first; then it writes them out.
void number_rows(const UniqueRows& unique, const std::int32_t* sorted_rows,
                 const std::int32_t* order, std::int64_t size, const SortPlan& plan,
                 std::int32_t* first_row) {
  std::int32_t* rows = unique.rows.as<std::int32_t>();
  std::int32_t* offsets = unique.offsets.as<std::int32_t>();
  std::int32_t* inverse = unique.inverse.empty() ? nullptr : unique.inverse.as<std::int32_t>();
  std::int32_t* places = unique.places.empty() ? nullptr : unique.places.as<std::int32_t>();
  const auto begins = [&](std::int64_t i) {
    return i == 0 || sorted_rows[i] != sorted_rows[i - 1];
  };
  const auto part_start = [&](std::int64_t part) { return size * part / plan.parts; };

#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(plan.parts))
  for (std::int64_t part = 0; part < plan.parts; ++part) {
    std::int32_t count = 0;
    for (std::int64_t i = part_start(part); i < part_start(part + 1); ++i) count += begins(i);
    first_row[part] = count;
  }
  std::int32_t total = 0;
  for (std::int64_t part = 0; part < plan.parts; ++part) {
    total += std::exchange(first_row[part], total);
  }
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(plan.parts))
  for (std::int64_t part = 0; part < plan.parts; ++part) {
    std::int32_t u = first_row[part] - 1;
    for (std::int64_t i = part_start(part); i < part_start(part + 1); ++i) {
      if (begins(i)) {
        ++u;
        rows[u] = sorted_rows[i];
        offsets[u] = static_cast<std::int32_t>(i);
      }
      if (inverse != nullptr) inverse[order[i]] = u;
      if (places != nullptr) places[i] = u;
    }
  }
  offsets[total] = static_cast<std::int32_t>(size);
  *unique.count.as<std::int32_t>() = total;
}

}  // namespace

void deduplicate(const Context& context, const UniqueRows& unique, Tensor picks,
                 std::int64_t table_rows) {
  MEMENGINE_ON_CUDA(context, cuda::deduplicate(context, unique, picks, table_rows));
  const std::int64_t size = picks.size();
  const SortPlan plan(size, table_rows);
  Scratch scratch(context);
  Pairs here{scratch.take<std::int32_t>(size), scratch.take<std::int32_t>(size)};
  Pairs there{scratch.take<std::int32_t>(size), unique.order.as<std::int32_t>()};
  std::int32_t* counts = scratch.take<std::int32_t>(plan.parts * plan.digits());

  // The passes alternate between two lists; begin so that the last one writes unique.order.
  if (plan.passes % 2 == 0) std::swap(here, there);
  std::copy_n(picks.as<std::int32_t>(), size, here.rows);
  for (std::int64_t i = 0; i < size; ++i) here.picks[i] = static_cast<std::int32_t>(i);
  for (int pass = 0; pass < plan.passes; ++pass) {
    sort_by_digit(there, here, size, plan, pass, counts);
    std::swap(here, there);
  }
  number_rows(unique, here.rows, here.picks, size, plan, counts);
}

std::int64_t deduplicate_scratch_bytes(Device device, std::int64_t picks, std::int64_t table_rows) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::deduplicate_scratch_bytes(picks, table_rows);
  }
  const SortPlan plan(picks, table_rows);
  return 3 * scratch_part<std::int32_t>(picks) +
         scratch_part<std::int32_t>(std::max(plan.parts << max_digit_bits, picks));
}

}  // namespace memengine
