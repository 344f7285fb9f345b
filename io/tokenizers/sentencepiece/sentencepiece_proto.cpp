// A reader of the few protobuf fields that matter.
#include "io/tokenizers/sentencepiece/sentencepiece_proto.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <string>

namespace memengine {
namespace {

// Walks over the fields of one protobuf message. Anything malformed ends it with `good` false.
struct Fields {
  std::string_view rest = {};
  bool good = true;
  std::uint32_t number = 0;  // of the current field
  std::uint64_t value = 0;   // varint, or the bits of a fixed-size field
  std::string_view bytes;    // length-delimited

  bool next() {
    if (rest.empty() || !good) return false;
    const std::uint64_t tag = varint();
    number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        value = fixed(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        value = fixed(4);
        break;
      default:
        good = false;
    }
    return good;
  }

 private:
  std::uint64_t varint() {
    std::uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest.empty()) break;
      const auto byte = static_cast<unsigned char>(rest.front());
      rest.remove_prefix(1);
      result |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return result;
    }
    good = false;
    return 0;
  }

  std::string_view take(std::uint64_t count) {
    if (count > rest.size()) {
      good = false;
      return {};
    }
    const auto taken = rest.substr(0, count);
    rest.remove_prefix(count);
    return taken;
  }

  std::uint64_t fixed(std::size_t size) {
    const auto taken = take(size);
    std::uint64_t bits = 0;
    if (!taken.empty()) std::memcpy(&bits, taken.data(), taken.size());
    return bits;
  }
};

SentencePieceProto::Piece read_piece(Fields fields) {
  SentencePieceProto::Piece piece;
  while (fields.next()) {
    if (fields.number == 1) piece.text = fields.bytes;
    if (fields.number == 2) {
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(fields.value));
    }
    if (fields.number == 3) piece.type = fields.value;
  }
  return piece;
}

}  // namespace

std::optional<SentencePieceProto> parse_sentencepiece_proto(std::string_view model) {
  SentencePieceProto proto;
  Fields fields;
  fields.rest = model;
  while (fields.next()) {
    Fields inner;
    inner.rest = fields.bytes;
    if (fields.number == 1) {
      proto.pieces.push_back(read_piece(inner));
    } else if (fields.number == 2) {  // trainer_spec
      while (inner.next()) {
        if (inner.number == 3) proto.model_type = inner.value;
        if (inner.number == 24) proto.space_as_suffix = inner.value != 0;
        if (inner.number == 35) proto.byte_fallback = inner.value != 0;
      }
    } else if (fields.number == 3) {  // normalizer_spec
      while (inner.next()) {
        if (inner.number == 2) proto.character_map = inner.bytes;
        if (inner.number == 3) proto.space_in_front = inner.value != 0;
        if (inner.number == 4) proto.trims = inner.value != 0;
        if (inner.number == 5) proto.escapes = inner.value != 0;
      }
    }
    if (fields.number == 5) {  // denormalizer_spec
      while (inner.next()) {
        if (inner.number == 2) proto.decoding_map = inner.bytes;
      }
    }
    if (!inner.good) return std::nullopt;
  }
  if (!fields.good) return std::nullopt;
  return proto;
}

std::optional<std::vector<std::int32_t>> SentencePieceProto::byte_ids() const {
  std::vector<std::int32_t> ids(256, -1);
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type != byte_piece) continue;
    unsigned value = 0;
    if (std::sscanf(std::string(pieces[id].text).c_str(), "<0x%2X>", &value) != 1) {
      return std::nullopt;
    }
    ids[value & 0xFF] = static_cast<std::int32_t>(id);
  }
  if (std::count(ids.begin(), ids.end(), -1) > 0) return std::nullopt;
  return ids;
}

}  // namespace memengine
