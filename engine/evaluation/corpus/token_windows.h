// Windows of consecutive tokens to measure a loss on, from token shards or from texts.
//
// They are validation's windows: T tokens and the next one, one after the other, so each token but
// the first of all is a target once. Shards give whole windows; the last of a text may be shorter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "io/tokenizers/tokenizer.h"
#include "model/model_config.h"

namespace memengine {

struct TokenWindow {
  std::vector<std::int32_t> tokens;  // 2 to T + 1: all but the last are read
  // Ascending from 0: what is read from here to the next sees nothing before here (0 alone, unless
  // model.document_mask).
  std::vector<std::size_t> starts;
};

class TokenWindows {
 public:
  virtual ~TokenWindows() = default;
  // Overwrites; false at the end.
  virtual bool next(TokenWindow& window) = 0;
  virtual std::int64_t count() const = 0;
  // Of the text that the tokens stand for; 0: not known.
  virtual std::int64_t text_bytes() const { return 0; }
};

struct WindowSettings {
  const Tokenizer* tokenizer = nullptr;  // the model's; outlives the windows
  ModelConfig model;
  std::int64_t length = 0;              // T
  bool add_bos = true, add_eos = true;  // around each text, where the tokenizer has them
  std::string key;                      // where a user names the path, for messages
  std::string model_name;               // for messages
  const DataConfig* run = nullptr;      // of the model's run; none: it has none
};

// `path`: a folder of shards (their held-out part where there is one), or of such folders; one
// shard (.bin); texts as `prepare` reads them (io/text/text_source.h), which are tokenized at once
// and held in memory, four bytes per token; empty: the held-out part of the run's data. Input
// errors: nothing there, neither shards nor texts, another tokenizer's shards, too short.
std::unique_ptr<TokenWindows> open_token_windows(const WindowSettings& settings,
                                                 const std::string& path);

}  // namespace memengine
