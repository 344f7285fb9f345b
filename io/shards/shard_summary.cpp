// One pass over the tokens in pieces of 64 Ki; a document ends where the next one starts.
#include "io/shards/shard_summary.h"

#include <algorithm>
#include <bit>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int64_t piece_tokens = 64 << 10;

void count_document(ShardSummary& summary, std::int64_t length) {
  const auto bin = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(length)) - 1);
  auto& bins = summary.tokens_per_document;
  while (bins.size() <= bin) {
    const std::int64_t from = std::int64_t{1} << bins.size();
    bins.push_back({from, 2 * from, 0});
  }
  ++bins[bin].documents;
  ++summary.documents;
  summary.longest_document = std::max(summary.longest_document, length);
  summary.shortest_document =
      summary.documents == 1 ? length : std::min(summary.shortest_document, length);
}

}  // namespace

ShardSummary summarize_shards(const std::vector<std::filesystem::path>& shards,
                              const ShardSummaryOptions& options) {
  ShardSummary summary;
  std::vector<std::int32_t> piece(piece_tokens);
  bool all_verified = options.verify;
  std::int64_t open_document = 0;  // tokens since the last document start; it may cross shards
  for (const auto& path : shards) {
    const Shard shard(path);
    std::int32_t start = options.document_start;
    if (const auto& info = shard.info()) {
      if (options.tokenizer && info->tokenizer_hash != options.tokenizer->hash()) {
        fail_input("shard {} was made by another tokenizer ({} {}) than the one given",
                   path.string(), info->tokenizer, info->tokenizer_hash);
      }
      summary.tokenizer = info->tokenizer;
      summary.tokenizer_hash = info->tokenizer_hash;
      summary.vocab_size = std::max(summary.vocab_size, info->vocab_size);
      if (start < 0) start = info->bos_id;
      if (start < 0) summary.documents += info->documents;
    }
    summary.token_bytes =
        summary.shards == 0 || summary.token_bytes == shard.token_bytes() ? shard.token_bytes() : 0;
    for (std::int64_t first = 0; first < shard.tokens(); first += piece_tokens) {
      const auto count = std::min(piece_tokens, shard.tokens() - first);
      const std::span<std::int32_t> tokens(piece.data(), static_cast<std::size_t>(count));
      summary.largest_token =
          std::max<std::int64_t>(summary.largest_token, shard.read(first, tokens));
      if (summary.shards == 0 && first == 0) {
        const auto sample = std::min(count, std::max<std::int64_t>(0, options.sample_tokens));
        summary.sample.assign(tokens.begin(), tokens.begin() + sample);
      }
      if (start < 0) continue;
      for (const std::int32_t token : tokens) {
        if (token == start && open_document > 0) {
          count_document(summary, open_document);
          open_document = 0;
        }
        ++open_document;
      }
    }
    if (options.verify) all_verified = shard.verify_checksum() && all_verified;
    summary.tokens += shard.tokens();
    ++summary.shards;
  }
  if (open_document > 0) count_document(summary, open_document);
  summary.verified = all_verified && summary.shards > 0;
  if (options.tokenizer) summary.sample_text = options.tokenizer->decode(summary.sample);
  return summary;
}

}  // namespace memengine
