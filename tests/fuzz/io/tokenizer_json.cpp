// The reader of tokenizer.json, and encoding and decoding with what it accepts. The input is the
// file, and after a zero byte the text.
#include "io/tokenizers/hugging_face/tokenizer_json.h"

#include "tests/fuzz/fuzz_target.h"

std::vector<std::string> fuzz_seeds() {
  using namespace std::string_literals;
  const std::string text = "\0ab <s> a\xC3\xA9\n  12 a\xCC\x81"s;
  return {
      R"({"added_tokens":[{"id":3,"content":"<s>","special":true,"lstrip":true}],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})" +
          text,
      R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},{"type":"NFC"},{"type":"Replace","pattern":{"String":" "},"content":"_"}]},"model":{"unk_token":"?","fuse_unk":true,"byte_fallback":true,"vocab":{"?":0,"a":1,"_":2,"_a":3,"<0xC3>":4,"<0xA9>":5},"merges":[["_","a"]]}})" +
          text,
      R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+|\\s"},"behavior":"MergedWithNext","invert":true},{"type":"Digits","individual_digits":true},{"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a"}},{"Sequence":{"id":"A"}}],"special_tokens":{"a":{"ids":[0]}}},"decoder":{"type":"Metaspace","replacement":"_"},"model":{"vocab":{"a":0,"_":1},"merges":[]}})" +
          text,
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string all(fuzz_text(bytes, size));
  const std::size_t end = all.find('\0');
  const std::string text = end == all.npos ? "ab \xC3\xA9" : all.substr(end + 1);
  fuzz_accepts([&] {
    const auto tokenizer =
        memengine::parse_tokenizer_json("tokenizer.json", all.substr(0, end), "");
    auto ids = tokenizer->encode(text, false, false);
    tokenizer->encode_with_special(text, ids);
    for (const std::int32_t id : ids) {
      fuzz_check(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
    }
    tokenizer->decode(ids);
  });
  return 0;
}
