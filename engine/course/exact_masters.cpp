// Chapter 6: a weight in two halves of 16 bits, of which the upper one is a BF16 number.
#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "engine/course/answer.h"
#include "engine/course/chapter.h"
#include "kernels/runtime/bfloat16.h"

namespace memengine::course {
namespace exact_masters {
namespace {

std::int32_t signed_lo(SplitFloat split) {
  return static_cast<std::int16_t>(split.lo);
}

std::string split_line(float x) {
  const SplitFloat split = split_float(x);
  const bool exact = join_float(split.hi, split.lo) == x;
  return fmt::format("{:<12.9g} {:08x}   {:04x} {:>7}   {:<12.9g} {}", x,
                     std::bit_cast<std::uint32_t>(x), split.hi, signed_lo(split),
                     join_float(split.hi, 0), exact ? "yes" : "no");
}

// `updates` times + 0.001, kept in FP32, in BF16 alone, and in two halves.
struct Sums {
  float single = 1;
  bfloat16 half = to_bfloat16(1);
  SplitFloat split = split_float(1);

  explicit Sums(int updates) {
    constexpr float update = 0.001F;
    for (int i = 0; i < updates; ++i) {
      single += update;
      half = to_bfloat16(to_float(half) + update);
      split = split_float(join_float(split.hi, split.lo) + update);
    }
  }
};

std::string example() {
  std::string text = "weight       FP32 bits    hi      lo   read (hi)    hi and lo give it back\n";
  for (const float x : {1.0F, 3.14159274F, -0.1F, 1.99999F, 1e-3F}) text += split_line(x) + '\n';
  text +=
      "\n1.0 and then + 0.001 again and again\n\nupdates     FP32    BF16 alone    hi + lo    "
      "read (hi)\n";
  for (const int updates : {1, 3, 4, 100, 1000}) {
    const Sums sums(updates);
    text += fmt::format("{:>7} {:>8.4f} {:>13.4f} {:>10.4f} {:>12.4f}{}", updates, sums.single,
                        to_float(sums.half), join_float(sums.split.hi, sums.split.lo),
                        join_float(sums.split.hi, 0), updates == 1000 ? "" : "\n");
  }
  return text;
}

constexpr float asked = 2.71828175F;  // the FP32 number next to e

std::string question() {
  return fmt::format(
      "The weight {:.9g} has the bits 0x{:08x}. What are hi (hexadecimal, 0x....) and lo\n"
      "(a decimal number with its sign)?",
      asked, std::bit_cast<std::uint32_t>(asked));
}

Verdict check(const std::string& answer) {
  const std::vector<double> given = read_numbers(answer, 2, "hi as 0x...., lo with its sign");
  const SplitFloat split = split_float(asked);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(asked);
  if (given[0] == static_cast<double>(bits >> 16)) {
    return {false, "hi is not cut off but rounded to the nearest BF16: the lower half, 0x" +
                       fmt::format("{:04x}", bits & 0xffffU) +
                       ", is more than half of a step of hi"};
  }
  if (given[0] != static_cast<double>(split.hi)) {
    return {false, "hi is the upper 16 bits of the bits + 0x8000"};
  }
  if (given[1] == static_cast<double>(split.lo)) {
    return {false,
            "hi is right; lo is a signed number, so that (hi << 16) + lo gives the bits back"};
  }
  if (given[1] != signed_lo(split)) {
    return {false, "hi is right; lo is the bits minus (hi << 16)"};
  }
  return {true,
          "hi is one too large for the bits, and the negative lo takes it back: rounded for the "
          "reader, exact for the optimizer."};
}

}  // namespace
}  // namespace exact_masters

Chapter exact_masters_chapter() {
  return {6,
          "06_exact_masters",
          "BF16 with exact masters",
          exact_masters::example,
          exact_masters::question,
          exact_masters::check};
}

}  // namespace memengine::course
