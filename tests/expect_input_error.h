// What every refusal of bad input owes its reader: an input error of one line.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/runtime/error.h"

namespace memengine {

// Runs `what` and expects an input error: one line that contains `part`.
template <typename What>
void expect_input_error(const std::string& part, What&& what) {
  try {
    what();
    ADD_FAILURE() << "no error; expected one about '" << part << "'";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), Error::Kind::input) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

}  // namespace memengine
