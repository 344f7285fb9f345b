// The shard reader: the first two bytes say how long the sidecar at the end is (0: none).
#include "io/shards/shard.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "io/shards/shard_summary.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/io/temporary_folder.h"

namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string shard_bytes(std::int32_t magic, std::int32_t version, std::int32_t tokens, int width) {
  std::string bytes(memengine::shard_header_bytes, '\0');
  const std::int32_t header[3] = {magic, version, tokens};
  std::memcpy(bytes.data(), header, sizeof header);
  for (int i = 0; i < tokens; ++i) {
    const std::int32_t token = i % 5 == 0 ? 1 : 7 * i;
    bytes.append(reinterpret_cast<const char*>(&token), static_cast<std::size_t>(width));
  }
  return bytes;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  const std::string narrow = shard_bytes(20240520, 1, 37, 2), wide = shard_bytes(20240801, 7, 9, 4);
  const auto with = [](const std::string& shard, const std::string& sidecar) {
    const char size[2] = {static_cast<char>(sidecar.size()),
                          static_cast<char>(sidecar.size() >> 8)};
    return std::string(size, 2) + shard + sidecar;
  };
  const std::string sidecar =
      R"({"tokenizer":"sp","tokenizer_hash":"a","vocab_size":300,"bos_id":1,"eos_id":2,)"
      R"("documents":8,"tokens":37,"xxh3":"0123456789abcdef"})";
  return {with(narrow, ""), with(wide, ""), with(narrow, sidecar), with(wide, sidecar)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view input = fuzz_text(bytes + 2, size - 2);
  const std::size_t sidecar = std::min<std::size_t>(bytes[0] | bytes[1] << 8, input.size());
  static const memengine::TemporaryFolder folder;
  const fs::path path = folder / "x.bin", beside = folder / "x.json";
  write(path, input.substr(0, input.size() - sidecar));
  std::error_code ignored;
  fs::remove(beside, ignored);
  if (sidecar > 0) write(beside, input.substr(input.size() - sidecar));
  for (const bool verify : {false, true}) {
    fuzz_accepts([&] {
      memengine::ShardSummaryOptions options;
      options.verify = verify;
      const auto summary = memengine::summarize_shards({path}, options);
      fuzz_check(summary.tokens > 0, "a shard without tokens was accepted");
    });
  }
  return 0;
}
