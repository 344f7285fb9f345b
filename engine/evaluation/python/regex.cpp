// The thin layer over PCRE2.
#include "engine/evaluation/python/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "kernels/runtime/error.h"

namespace memengine {

Regex::Regex(const char* pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code == nullptr) fail_internal("pattern {} does not compile: error {}", pattern, error);
  code_ = std::shared_ptr<const void>(code, [code](const void*) { pcre2_code_free(code); });
}

std::string Regex::replace_all(std::string_view text, std::string_view replacement) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  std::string result(text.size() + text.size() / 2 + 64, '\0');
  constexpr auto options =
      PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_EXTENDED | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
  while (true) {
    PCRE2_SIZE length = result.size();
    const int status = pcre2_substitute(
        code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, options, nullptr, nullptr,
        reinterpret_cast<PCRE2_SPTR>(replacement.data()), replacement.size(),
        reinterpret_cast<PCRE2_UCHAR*>(result.data()), &length);
    if (status >= 0) {
      result.resize(length);
      return result;
    }
    if (status != PCRE2_ERROR_NOMEMORY) {
      fail_internal("replacing a pattern in a text of {} bytes failed: PCRE2 error {}", text.size(),
                    status);
    }
    result.resize(length);
  }
}

}  // namespace memengine
