// SentencePiece models: serialized protocol buffers from strangers, through the library and through
// our own reader, then encoding and decoding with what was accepted.
#include "io/tokenizers/sentencepiece/sentencepiece.h"

#include "tests/fuzz/fuzz_target.h"

namespace {

// A field of wire type 2 (length-delimited) and of type 0 (varint); sizes below 2^14.
std::string varint(unsigned value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}
std::string field(unsigned number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(static_cast<unsigned>(bytes.size())) + bytes;
}
std::string field(unsigned number, unsigned value) {
  return varint(number << 3) + varint(value);
}

// ModelProto.SentencePiece: piece 1, score 2 (float), type 3.
std::string piece(const std::string& text, float score, unsigned type) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return field(1, field(1, text) + varint(2 << 3 | 5) + bits + field(3, type));
}

// Model kind 1 unigram, 2 BPE; with the 256 byte pieces or without.
std::string model(unsigned kind, bool bytes, const std::string& another = "es") {
  std::string proto = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  for (int value = 0; bytes && value < 256; ++value) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(value));
    proto += piece(name, 0, 6);
  }
  float score = 0;
  for (const char* text :
       {"th", "the", "\xe2\x96\x81the", "\xe2\x96\x81", "t", "h", "e", "a", "\xc3\xa9"}) {
    proto += piece(text, score -= 1, 1);
  }
  proto += piece(another, score - 1, 1);
  // trainer_spec 2: model_type 3, vocab_size 4, byte_fallback 35; normalizer_spec 3: name 1.
  proto += field(2, field(3, kind) + field(4, 13) + field(35, bytes ? 1u : 0u));
  return proto + field(3, field(1, std::string("identity")) + field(3, 1u) + field(4, 0u));
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  return {model(2, true), model(2, false), model(1, true), model(1, false),
          // At the second the library threw what nobody caught.
          model(1, false, ""), model(1, false, std::string("\0e", 2)), "", "\x0a\xff\xff"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string file(fuzz_text(bytes, size));
  fuzz_accepts([&] {
    const auto tokenizer = memengine::parse_sentencepiece("model", file);
    for (const std::string text : {" the tea\xc3\xa9 \xf0\x9f\x98\x80 the", "", "\xff\x00t"}) {
      const auto ids = tokenizer->encode(text, true, true);
      for (const std::int32_t id : ids) {
        fuzz_check(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
        (void)tokenizer->token_bytes(id);
      }
      (void)tokenizer->decode(ids);
    }
  });
  return 0;
}
