// The Python file that an exported model has beside it: how its tensors are used, with NumPy alone.
#pragma once

#include <string_view>

namespace memengine {

inline constexpr const char* python_reader_name = "read_model.py";
std::string_view python_reader();

}  // namespace memengine
