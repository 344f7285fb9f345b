// Reads word by word: what stands between separators must be a number to its last letter.
#include "engine/course/answer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/runtime/error.h"

namespace memengine::course {

std::vector<double> read_numbers(const std::string& answer, std::size_t count,
                                 const std::string& what) {
  static const std::string separators = " \t\n,;:()[]{}|";
  std::vector<double> numbers;
  std::size_t first = answer.find_first_not_of(separators);
  while (first != std::string::npos) {
    const std::size_t end = std::min(answer.find_first_of(separators, first), answer.size());
    const std::string word = answer.substr(first, end - first);
    char* stopped = nullptr;
    numbers.push_back(std::strtod(word.c_str(), &stopped));
    if (*stopped != '\0' || !std::isfinite(numbers.back())) {
      fail_input("--answer: '{}' is no number: {}", word, what);
    }
    first = answer.find_first_not_of(separators, end);
  }
  if (numbers.size() != count) {
    fail_input("--answer: {} number{} where {} {} asked for: {}", numbers.size(),
               numbers.size() == 1 ? "" : "s", count, count == 1 ? "is" : "are", what);
  }
  return numbers;
}

bool agree(double answered, double expected) {
  return std::abs(answered - expected) <= 5e-4 * std::abs(expected) + 1e-9;
}

bool agree(const std::vector<double>& answered, const std::vector<double>& expected) {
  return std::equal(answered.begin(), answered.end(), expected.begin(), expected.end(),
                    [](double a, double b) { return agree(a, b); });
}

}  // namespace memengine::course
