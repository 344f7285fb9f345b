// The folder of a prepared source in strangers' hands. An input is a list of edits to the files of
// two real folders, one that is finished and one whose work was stopped: bytes are changed, a file
// is replaced, cut, taken away, or becomes a folder, a FIFO or a link in a circle. Then prepare
// goes on in it, and what stands there at the end is read as training would.
#include <sys/stat.h>

#include <memory>

#include "io/prepare/prepare.h"
#include "io/shards/shard.h"
#include "tests/fuzz/folder_edits.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

namespace fs = std::filesystem;
using namespace memengine;

constexpr const char* names[] = {"prepare.json",
                                 "train_000000.bin",
                                 "train_000000.json",
                                 "val_000000.bin",
                                 ".memengine",
                                 ".prepare/train/journal.json",
                                 ".prepare/train/000.spill",
                                 ".prepare/shards/x"};

PrepareOptions options(const FolderEdits& folders, const fs::path& out) {
  static const auto tokenizer = load_tokenizer("bytes", "");
  PrepareOptions options;
  options.out_dir = out;
  options.sources = {{"s", {folders.folder() / "texts.jsonl"}, {}}};
  options.tokenizer = tokenizer.get();
  options.validation_fraction = 0.2;
  options.threads = 1;
  return options;
}

FolderEdits& folders() {
  static const std::unique_ptr<FolderEdits> edits = [] {
    auto made =
        std::make_unique<FolderEdits>(std::vector<std::string>{names, names + std::size(names)});
    std::string texts;
    for (int i = 0; i < 9; ++i) texts += "{\"text\": \"" + std::string(7 * i + 1, 'a') + "\"}\n";
    made->write("texts.jsonl", texts);
    prepare(options(*made, made->original("finished")));
    PrepareOptions stopped = options(*made, made->original("stopped"));
    // Once all texts are tokenized, before the shards.
    stopped.stop = [path = made->original("stopped") / "s/.prepare/train/journal.json"] {
      return fs::exists(path);
    };
    fuzz_check(prepare(stopped).stopped, "the work was not stopped");
    return made;
  }();
  return *edits;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = {""};
  for (const char* folder : {"finished/s", "stopped/s"}) {
    for (const std::string& seed : folders().seeds(folder)) {
      seeds.push_back((*folder == 'f' ? "f" : "s") + seed);
    }
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text = fuzz_text(bytes, size);
  const bool finished = text.starts_with('f');
  const fs::path out = folders().copy(finished ? "finished" : "stopped");
  folders().apply(text.substr(text.empty() ? 0 : 1), out / "s");
  for (const bool overwrite : {false, true}) {
    PrepareOptions again = options(folders(), out);
    again.overwrite = overwrite;
    fuzz_accepts([&] { prepare(again); });
  }
  fuzz_accepts([&] {
    for (const fs::path& path : find_shards(out / "s", "train")) {
      const Shard shard(path);
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(shard.tokens()));
      shard.read(0, tokens);
      shard.verify_checksum();
    }
  });
  return 0;
}
