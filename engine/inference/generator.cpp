// The schedule of passes, and when a text ends.
#include "engine/inference/generator.h"

#include <algorithm>

#include "kernels/runtime/error.h"

namespace memengine {

// A text in the cache.
struct Generator::Text {
  std::size_t index = 0;  // of the prompt
  std::int64_t read = 0;  // tokens in the cache
  std::string bytes;      // of the new tokens, when there are stop strings
  bool active = false;
};

Generator::Generator(InferenceModel& model, const Tokenizer& tokenizer,
                     std::vector<std::int32_t> end_tokens)
    : model_(model), tokenizer_(tokenizer), end_tokens_(std::move(end_tokens)) {
  if (model.size().cache_sequences < 1) fail_internal("generation needs a model with caches");
}

namespace {

// Whether the new bytes complete a stop string.
bool holds_stop_string(const std::string& bytes, std::size_t new_bytes,
                       const std::vector<std::string>& until) {
  return std::any_of(until.begin(), until.end(), [&](const std::string& stop) {
    const std::size_t reach = new_bytes + stop.size();
    return !stop.empty() &&
           bytes.find(stop, bytes.size() > reach ? bytes.size() - reach : 0) != std::string::npos;
  });
}

}  // namespace

std::vector<Generation> Generator::generate(std::span<const GenerationPrompt> prompts,
                                            const SamplingOptions& sampling,
                                            const OnToken& on_token, const OnDone& on_done) {
  check(sampling);
  for (const GenerationPrompt& prompt : prompts) {
    const auto length = static_cast<std::int64_t>(prompt.tokens.size());
    if (length == 0) fail_input("a prompt has no tokens: give it a text, or a tokenizer with BOS");
    if (length > max_length()) {
      fail_input("a prompt has {} tokens, but the model reads at most {}: shorten it", length,
                 max_length());
    }
    if (std::any_of(prompt.until.begin(), prompt.until.end(),
                    [](const std::string& stop) { return stop.empty(); })) {
      fail_input("a stop string is empty: leave it out");
    }
  }
  std::vector<Generation> results(prompts.size());
  std::vector<Text> texts(static_cast<std::size_t>(model_.size().cache_sequences));
  DecodeRows rows;
  std::vector<std::size_t> sampled;  // the text of each wanted row
  std::vector<float> logits;
  std::vector<std::int32_t> best;  // of each wanted row, when decoding is greedy
  const bool greedy = sampling.temperature == 0;
  std::size_t next = 0;
  const auto finish = [&](Text& text, Generation::End end) {
    results[text.index].end = end;
    text.active = false;
    if (on_done) on_done(text.index);
  };

  while (true) {
    for (Text& text : texts) {
      while (!text.active && next < prompts.size()) {
        text = {};
        text.index = next++;
        text.active = true;
        if (prompts[text.index].max_new_tokens < 1) finish(text, Generation::End::max_tokens);
      }
    }
    // One row for each text that is being continued comes first; prompts take the rows left.
    rows.clear();
    sampled.clear();
    std::int64_t room = model_.size().tokens;
    const auto add = [&](std::size_t slot, bool continuing) {
      Text& text = texts[slot];
      const std::vector<std::int32_t>& prompt = prompts[text.index].tokens;
      const std::vector<std::int32_t>& made = results[text.index].tokens;
      if (!text.active || continuing == made.empty()) return;
      const auto prompt_length = static_cast<std::int64_t>(prompt.size());
      const std::int64_t known = prompt_length + static_cast<std::int64_t>(made.size());
      const std::int64_t count = std::min(known - text.read, room);
      for (std::int64_t i = 0; i < count; ++i, ++text.read) {
        rows.tokens.push_back(text.read < prompt_length
                                  ? prompt[static_cast<std::size_t>(text.read)]
                                  : made[static_cast<std::size_t>(text.read - prompt_length)]);
        rows.sequences.push_back(static_cast<std::int32_t>(slot));
        rows.positions.push_back(static_cast<std::int32_t>(text.read));
      }
      room -= count;
      if (count > 0 && text.read == known) {
        rows.wanted.push_back(static_cast<std::int32_t>(rows.size() - 1));
        sampled.push_back(slot);
      }
    };
    // Prompts that are partly read come before those that begin (InferenceModel::cache_layout).
    for (std::size_t slot = 0; slot < texts.size(); ++slot) add(slot, true);
    for (const bool begun : {true, false}) {
      for (std::size_t slot = 0; slot < texts.size(); ++slot) {
        if ((texts[slot].read > 0) == begun) add(slot, false);
      }
    }
    if (rows.size() == 0) return results;
    if (sampled.empty()) rows.wanted.push_back(0);  // a pass that only reads prompts
    if (greedy) {
      model_.decode_greedy(rows, best);
    } else {
      model_.decode(rows, logits);
    }

    const auto vocabulary = static_cast<std::size_t>(model_.config().vocab_size);
    for (std::size_t i = 0; i < sampled.size(); ++i) {
      Text& text = texts[sampled[i]];
      const GenerationPrompt& prompt = prompts[text.index];
      std::vector<std::int32_t>& made = results[text.index].tokens;
      const std::int32_t token =
          greedy ? best[i]
                 : sampler_.draw(std::span(logits).subspan(i * vocabulary, vocabulary), sampling,
                                 text.index, made.size());
      if (std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end()) {
        finish(text, Generation::End::end_of_sequence);
        continue;
      }
      made.push_back(token);
      const bool go_on = !on_token || on_token(text.index, token);
      bool stopped = false;
      if (!prompt.until.empty() && token < tokenizer_.vocab_size()) {
        const std::string bytes = tokenizer_.token_bytes(token);
        text.bytes += bytes;
        stopped = holds_stop_string(text.bytes, bytes.size(), prompt.until);
      }
      if (stopped) {
        finish(text, Generation::End::stop_string);
      } else if (!go_on) {
        finish(text, Generation::End::interrupted);
      } else if (static_cast<std::int64_t>(made.size()) >= prompt.max_new_tokens) {
        finish(text, Generation::End::max_tokens);
      } else if (text.read >= max_length()) {
        finish(text, Generation::End::context_full);
      }
    }
  }
}

}  // namespace memengine
