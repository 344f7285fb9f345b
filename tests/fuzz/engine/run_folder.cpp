// A run's folder in strangers' hands: edits (tests/fuzz/folder_edits.h) to a real one of four
// steps. A training goes on in it to the sixth, and it is read as a model. Whatever the edits, what
// was never of the run stays.
#include <memory>

#include "engine/model_files/model_source.h"
#include "engine/run/run_files.h"
#include "engine/training/trainer.h"
#include "io/shards/shard_writer.h"
#include "tests/fuzz/folder_edits.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

namespace fs = std::filesystem;
using namespace memengine;

constexpr const char* names[] = {".memengine",
                                 "config.yaml",
                                 "train.log",
                                 "metrics.jsonl",
                                 "checkpoints/.memengine",
                                 "checkpoints/0000000004/state.json",
                                 "checkpoints/0000000004/model.safetensors",
                                 "checkpoints/0000000004/optimizer.safetensors",
                                 "checkpoints/0000000002/state.json",
                                 "checkpoints/0000000006",
                                 "checkpoints/.replaced-0000000004",
                                 "lock"};

RunConfig config(const FolderEdits& folders, const fs::path& run, int steps, bool skip_damaged) {
  return parse_run_config(
      "{name: r, device: cpu, model: {dim: 8, n_layers: 2, n_heads: 2, multiple_of: 8, "
      "productkey_args: {is_enabled: true, layers: \"1\", mem_n_keys: 4, mem_heads: 1, mem_knn: 2, "
      "mem_k_dim: 8}}, distributed: {model_dtype: fp32}, data: {batch_size: 1, seq_len: 8, "
      "load_async: false, tokenizer: {name: bytes}}, checkpoint: {dump: {every: 2, keep: 2}}, "
      "logging: {freq: 1}}",
      "config",
      std::vector<std::string>{
          "dump_dir=" + run.string(), "data.root_dir=" + (folders.folder() / "data").string(),
          "steps=" + std::to_string(steps),
          std::string("checkpoint.skip_damaged=") + (skip_damaged ? "true" : "false")});
}

void train(const RunConfig& config) {
  RunFiles files;
  Trainer(config, {&files}).run([] { return false; });
}

FolderEdits& folders() {
  static const std::unique_ptr<FolderEdits> edits = [] {
    auto made =
        std::make_unique<FolderEdits>(std::vector<std::string>{names, names + std::size(names)});
    ShardInfo info;
    info.tokenizer = "bytes";
    info.tokenizer_hash = load_tokenizer("bytes", "")->hash();
    info.vocab_size = 258;
    fs::create_directories(made->folder() / "data");
    ShardWriter writer(made->folder() / "data/train_000000.bin", info);
    const std::vector<std::int32_t> tokens(200, 7);
    writer.append(tokens);
    writer.add_document();
    writer.finish();
    train(config(*made, made->original("run"), 4, false));
    return made;
  }();
  return *edits;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = {""};
  for (const std::string& seed : folders().seeds("run")) seeds.push_back(seed);
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const fs::path run = folders().copy("run");
  folders().apply(fuzz_text(bytes, size), run);
  const fs::path kept[] = {run / "checkpoints/.saving-notes", run / "checkpoints/0000000001/notes"};
  for (const fs::path& path : kept) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "mine";
  }
  fuzz_accepts([&] { find_model(run); });
  for (const bool skip_damaged : {false, true}) {
    fuzz_accepts([&] { train(config(folders(), run, 6, skip_damaged)); });
  }
  for (const fs::path& path : kept) {
    fuzz_check(file_bytes(path) == "mine", "a file that was never the run's is gone");
  }
  return 0;
}
