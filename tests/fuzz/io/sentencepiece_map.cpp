// The map of characters in a SentencePiece model, alone in a model that is sound else: a fuzzer
// that damages whole models seldom comes so far. What is accepted goes through the library's
// normalizer and through ours, and both must give the same tokens.
#include <sentencepiece_processor.h>

#include "io/tokenizers/sentencepiece/sentencepiece.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/io/tokenizers/sentencepiece_testing.h"

using memengine::testing_io::sentencepiece_model;

std::vector<std::string> fuzz_seeds() {
  auto map = memengine::testing_io::small_map();
  std::vector<std::string> seeds = {map.bytes(), "", std::string("\x04\0\0\0\xff\xff\xff\xff", 8)};
  map.units[0x100 ^ 'a'] = memengine::testing_io::CharacterMap::node(0x61, 'a', false);
  seeds.push_back(map.bytes());
  map.replacements = std::string("\xc3\xa9\0 \0", 5);
  seeds.push_back(map.bytes());
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string map(fuzz_text(bytes, size));
  for (const unsigned kind : {1u, 2u}) {
    const std::string model = sentencepiece_model(kind, map, kind == 1 ? map : "");
    fuzz_accepts([&] {
      const auto tokenizer = memengine::parse_sentencepiece("model", model);
      sentencepiece::SentencePieceProcessor library;
      fuzz_check(library.LoadFromSerializedProto(model).ok(), "the library refuses it");
      for (const std::string text : {"A", " aA  Ab\xc3\xa9",
                                     "AAAA\xe2\x96\x81"
                                     "bc ",
                                     ""}) {
        const auto ids = tokenizer->encode(text, false, false);
        std::vector<int> expected;
        fuzz_check(library.Encode(text, &expected).ok(), "the library does not encode");
        fuzz_check(ids == expected, "other tokens than the library's");
        (void)tokenizer->decode(ids);
      }
    });
  }
  return 0;
}
