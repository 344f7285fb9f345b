// What a reader types for an answer, and how it is compared.
#pragma once

#include <string>
#include <vector>

namespace memengine::course {

// The numbers of "1 0 2", "[1, 0, 2]" or "0x4049, -12": whole ones, decimals or hexadecimal ones,
// with anything between them that is no letter and no digit. Errors: input, when there are not
// `count` of them, or there is something else; `what` says what was asked for.
std::vector<double> read_numbers(const std::string& answer, std::size_t count,
                                 const std::string& what);

// Whether two numbers agree to three significant digits, which is what a reader works with.
bool agree(double answered, double expected);
bool agree(const std::vector<double>& answered, const std::vector<double>& expected);

}  // namespace memengine::course
