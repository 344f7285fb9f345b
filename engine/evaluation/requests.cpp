// From texts to token requests.
#include "engine/evaluation/requests.h"

#include <algorithm>

#include "engine/evaluation/python/python_text.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::vector<LoglikelihoodRequest> encode_pairs(const EncodeText& encode, std::string_view context,
                                               const std::vector<std::string>& continuations,
                                               int max_length, std::string_view where,
                                               std::string_view key_prefix) {
  const std::string_view stem = python_rstrip(context);
  const std::string_view spaces = context.substr(stem.size());
  const std::vector<std::int32_t> context_ids = encode(stem);
  if (context_ids.empty()) fail_input("{}: the context has no tokens", where);

  std::vector<LoglikelihoodRequest> requests;
  requests.reserve(continuations.size());
  std::string whole;
  for (const std::string& continuation : continuations) {
    whole.assign(stem);
    whole += spaces;
    whole += continuation;
    const std::vector<std::int32_t> ids = encode(whole);
    if (ids.size() <= context_ids.size()) {
      fail_input("{}: the choice \"{}\" adds no token to its context", where, continuation);
    }
    const std::size_t length = ids.size() - context_ids.size();
    if (length > static_cast<std::size_t>(max_length)) {
      fail_input(
          "{}: a choice of {} tokens is longer than the {} that the model reads; raise "
          "{}max_length",
          where, length, max_length, key_prefix);
    }
    const std::size_t room = static_cast<std::size_t>(max_length) + 1 - length;
    const std::size_t kept = std::min(room, context_ids.size());
    requests.push_back(
        {.context = {context_ids.end() - static_cast<std::ptrdiff_t>(kept), context_ids.end()},
         .continuation = {ids.begin() + static_cast<std::ptrdiff_t>(context_ids.size()),
                          ids.end()}});
  }
  return requests;
}

GenerationRequest encode_prompt(const EncodeText& encode, std::string_view prompt,
                                const std::vector<std::string>& until, int max_gen_tokens,
                                int max_length, std::string_view key_prefix) {
  if (max_gen_tokens >= max_length) {
    fail_input(
        "generating {} tokens leaves no room for a prompt: the model reads {}; lower "
        "{}generator.max_gen_len or raise {}max_length",
        max_gen_tokens, max_length, key_prefix, key_prefix);
  }
  GenerationRequest request{encode(prompt), until, max_gen_tokens};
  const auto room = static_cast<std::size_t>(max_length - max_gen_tokens);
  if (request.prompt.size() > room) {
    request.prompt.erase(request.prompt.begin(),
                         request.prompt.end() - static_cast<std::ptrdiff_t>(room));
  }
  return request;
}

}  // namespace memengine
