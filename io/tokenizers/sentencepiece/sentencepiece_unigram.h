// Segmentation by a SentencePiece unigram model: of all ways to cut a text into pieces the one
// whose scores (log probabilities) have the largest sum (Kudo 2018), found by dynamic programming.
//
// It is our own because releases of the library round the sums in different ways and then choose
// differently among ways that are equally good ("ll"+"l" or "l"+"ll"), so that the ids would depend
// on the machine's packages. Here they are those of release 0.2.3 everywhere: sums are floats, and
// start again from zero where they pass 100,000. On 438 documents of novels (5 MB, a vocabulary of
// 1,000) release 0.1.97 cuts one differently; it makes 9.9 MB/s on one core, and this 18.8.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizers/sentencepiece/sentencepiece_normalize.h"

namespace memengine {

class SentencePieceUnigram {
 public:
  // Reads a serialized ModelProto; nullptr when it is of another kind, or has user-defined pieces.
  static std::unique_ptr<SentencePieceUnigram> parse(std::string_view model);

  // Appends the ids of `text`, which must be valid UTF-8. Neighbouring unknown characters become
  // one unknown id, or their bytes where the model has pieces for them.
  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const;

 private:
  // All pieces as a tree: the children of a node stand side by side, sorted by their byte.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint16_t children = 0;
    std::uint8_t byte = 0;
    std::int32_t id = -1;  // of the piece that ends here
  };
  struct Named {
    std::string_view text;
    std::int32_t id = 0;
  };
  bool build_tree(std::vector<Named> pieces);
  const Node* child(const Node& node, char byte) const;

  SentencePieceNormalizer normalizer_;
  std::vector<Node> tree_;
  std::vector<float> score_;            // by id
  std::vector<std::int32_t> byte_ids_;  // empty: no byte pieces
  float unknown_score_ = 0;
  std::int32_t unknown_id_ = -1;
};

}  // namespace memengine
