// What of a SentencePiece model file segmentation depends on (sentencepiece_model.proto).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace memengine {

inline constexpr std::string_view sentencepiece_space = "\xE2\x96\x81";  // U+2581

struct SentencePieceProto {
  enum PieceType : std::uint64_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte_piece = 6
  };
  struct Piece {
    std::string_view text;  // in the file's bytes
    float score = 0;
    std::uint64_t type = normal;
  };
  enum ModelType : std::uint64_t { unigram = 1, bpe = 2 };

  std::vector<Piece> pieces;  // by id
  std::uint64_t model_type = unigram;
  bool byte_fallback = false;
  bool space_as_suffix = false;
  std::string_view character_map;  // of the normalization; empty: none
  std::string_view decoding_map;   // the same, for decoded texts
  bool space_in_front = true;      // one space before every text
  bool trims = true;               // no space at the ends, and one where there are several
  bool escapes = true;             // U+2581 for each space

  // The ids of the pieces <0x00> to <0xFF>; none unless all are there.
  std::optional<std::vector<std::int32_t>> byte_ids() const;
};

// Reads a serialized ModelProto, whose bytes must outlive the result; none when it is malformed.
std::optional<SentencePieceProto> parse_sentencepiece_proto(std::string_view model);

}  // namespace memengine
