// Shards for a person to look at.
#include <fmt/core.h>

#include <algorithm>

#include "cli/inspect/inspect.h"
#include "cli/terminal.h"
#include "io/shards/shard.h"
#include "io/shards/shard_summary.h"
#include "io/tokenizers/tokenizer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> shards;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".bin") shards.push_back(entry.path());
  }
  std::sort(shards.begin(), shards.end());
  return shards;
}

// A set of shards that belong together: one split of one source.
struct ShardSet {
  std::string name;
  std::vector<fs::path> shards;
};

// Shards of one folder by split; those whose name has neither word stand alone.
std::vector<ShardSet> split_sets(const fs::path& folder, const std::string& name) {
  std::vector<ShardSet> sets;
  std::vector<fs::path> rest = shards_in(folder);
  for (const char* split : {"train", "val"}) {
    std::vector<fs::path> shards;
    try {
      shards = find_shards(folder, split);
    } catch (const Error&) {  // none
      continue;
    }
    std::erase_if(rest, [&](const fs::path& path) {
      return std::find(shards.begin(), shards.end(), path) != shards.end();
    });
    sets.push_back({name + ", " + split, std::move(shards)});
  }
  if (!rest.empty()) sets.push_back({name, std::move(rest)});
  return sets;
}

std::vector<ShardSet> find_sets(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {{path.string(), {path}}};
  if (!shards_in(path).empty()) return split_sets(path, path.string());
  std::vector<ShardSet> sets;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.is_directory(error)) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  for (const fs::path& folder : folders) {
    if (shards_in(folder).empty()) continue;
    for (ShardSet& set : split_sets(folder, folder.string())) sets.push_back(std::move(set));
  }
  return sets;
}

// The tokenizer asked for, or the one beside the shards when it is the one that made them.
std::unique_ptr<Tokenizer> find_tokenizer(const InspectArguments& arguments,
                                          const fs::path& shard_path) {
  if (!arguments.tokenizer.empty()) {
    return load_tokenizer(arguments.tokenizer, arguments.tokenizer_path);
  }
  const Shard shard(shard_path);
  if (!shard.info()) {
    if (arguments.tokenizer_path.empty()) return nullptr;
    fail_input("--tokenizer-path: say with --tokenizer of which kind it is");
  }
  const ShardInfo& info = *shard.info();
  if (!arguments.tokenizer_path.empty()) {
    return load_tokenizer(info.tokenizer, arguments.tokenizer_path);
  }
  const fs::path folder = fs::absolute(shard_path).parent_path();
  for (const fs::path& place : {folder, folder.parent_path()}) {
    const fs::path path = place / tokenizer_file_name(info.tokenizer);
    std::error_code error;
    if (info.tokenizer != "bytes" && !fs::exists(path, error)) continue;
    try {
      auto tokenizer = load_tokenizer(info.tokenizer, path);
      if (tokenizer->hash() == info.tokenizer_hash) return tokenizer;
    } catch (const Error&) {  // some other file of that name
    }
  }
  return nullptr;
}

void print_histogram(const ShardSummary& summary) {
  std::int64_t most = 1;
  for (const ShardSummary::Bin& bin : summary.tokens_per_document) {
    most = std::max(most, bin.documents);
  }
  print("  tokens per document: {} to {}, {:.1f} on average\n", grouped(summary.shortest_document),
        grouped(summary.longest_document),
        static_cast<double>(summary.tokens) /
            static_cast<double>(std::max<std::int64_t>(summary.documents, 1)));
  bool begun = false;
  for (const ShardSummary::Bin& bin : summary.tokens_per_document) {
    begun = begun || bin.documents > 0;
    if (!begun) continue;
    const auto width = (40 * bin.documents + most - 1) / most;
    print("    {:>11} to {:<11} {:>12}  {}\n", grouped(bin.from), grouped(bin.to - 1),
          grouped(bin.documents), std::string(static_cast<std::size_t>(width), '#'));
  }
}

// The sample's text as indented lines of at most 88 bytes or so, cut at spaces.
void print_sample(const std::string& text) {
  constexpr std::size_t width = 88;
  std::string line;
  const auto put = [&] {
    print("    {}\n", line);
    line.clear();
  };
  for (const char c : text) {
    if (c == '\n') {
      put();
    } else if (c == ' ' && line.size() >= width) {
      put();
    } else if (static_cast<unsigned char>(c) >= 0x20 || c == '\t') {
      line += c;
    }
  }
  if (!line.empty()) put();
}

void print_set(const InspectArguments& arguments, const ShardSet& set) {
  const std::unique_ptr<Tokenizer> tokenizer = find_tokenizer(arguments, set.shards.front());
  ShardSummaryOptions options;
  options.sample_tokens = arguments.sample_tokens;
  options.verify = !arguments.no_verify;
  options.tokenizer = tokenizer.get();
  const ShardSummary summary = summarize_shards(set.shards, options);
  print("{}: {}", set.name, counted(summary.shards, "shard"));
  print("{}\n", summary.token_bytes > 0 ? fmt::format(" of {}-byte tokens", summary.token_bytes)
                                        : std::string(" of 2-byte and 4-byte tokens"));
  print("  {}", counted(summary.tokens, "token"));
  if (summary.documents > 0) print(" in {}", counted(summary.documents, "document"));
  print(", largest id {}\n", grouped(summary.largest_token));
  if (summary.tokenizer.empty()) {
    print("  no sidecars: the tokenizer is unknown and checksums cannot be verified\n");
  } else {
    print("  tokenizer {} {}, vocabulary {}\n", summary.tokenizer, summary.tokenizer_hash,
          grouped(summary.vocab_size));
    if (!arguments.no_verify) {
      print("  checksums {}\n",
            summary.verified ? "verified" : "verified, but not all shards have one");
    }
  }
  if (!summary.tokens_per_document.empty()) print_histogram(summary);
  if (summary.sample.empty()) return;
  print("  the first {}:\n", counted(static_cast<std::int64_t>(summary.sample.size()), "token"));
  if (tokenizer) {
    print_sample(summary.sample_text);
  } else {
    std::string ids;
    for (const std::int32_t id : summary.sample)
      ids += fmt::format("{} ", static_cast<std::uint32_t>(id));
    print_sample(ids);
  }
}

}  // namespace

bool has_shards(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return !find_sets(path).empty();
  return path.extension() == ".bin";
}

void inspect_shards(const InspectArguments& arguments) {
  bool first = true;
  for (const ShardSet& set : find_sets(arguments.path)) {
    if (!first) print("\n");
    first = false;
    print_set(arguments, set);
  }
}

}  // namespace memengine
