#include "engine/model_files/initial/background_use.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/is_there.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

TensorSource integers(const std::string& name, const std::vector<std::int32_t>& numbers) {
  return {name,
          FileDtype::i32,
          {static_cast<std::int64_t>(numbers.size())},
          [&numbers](std::uint64_t offset, std::span<std::byte> bytes) {
            std::memcpy(bytes.data(), reinterpret_cast<const std::byte*>(numbers.data()) + offset,
                        bytes.size());
          }};
}

// `reader` is a SafetensorsReader or a Checkpoint.
template <typename Reader>
bool read_into(const Context& context, const Reader& reader, const std::string& name,
               const std::string& where, const Tensor& tensor) {
  const TensorInfo* found = reader.find(name);
  if (found == nullptr) return false;
  if (found->dtype != FileDtype::i32 ||
      found->bytes != static_cast<std::uint64_t>(tensor.bytes())) {
    fail_input("{}: tensor '{}' is of {} bytes; this model's table has {} rows of 4 bytes", where,
               name, found->bytes, tensor.size());
  }
  std::vector<std::byte> bytes(found->bytes);
  reader.read(name, 0, bytes);
  copy_bytes(context, tensor.data(), bytes.data(), tensor.bytes());
  return true;
}

template <typename Reader>
bool fill_from(const Context& context, const Reader& reader, const std::string& where,
               const Transformer& transformer) {
  for (const MemoryBank& bank : transformer.banks()) {
    const std::string& table = bank.values().name();
    const BackgroundUse& use = bank.background();
    if (!read_into(context, reader, document_frequency_name(table), where,
                   use.document_frequency) ||
        !read_into(context, reader, background_batches_name(table), where, use.batches)) {
      return false;
    }
    settle_background(context, bank, where);
  }
  return true;
}

}  // namespace

std::string document_frequency_name(const std::string& table) {
  return table + ".document_frequency";
}

std::string background_batches_name(const std::string& table) {
  return table + ".background_batches";
}

void write_document_frequencies(const fs::path& folder,
                                const std::vector<DocumentFrequency>& tables) {
  std::vector<std::vector<std::int32_t>> batches;
  for (const DocumentFrequency& table : tables) batches.push_back({table.batches});
  std::vector<TensorSource> tensors;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    tensors.push_back(integers(document_frequency_name(tables[i].table), tables[i].of_row));
    tensors.push_back(integers(background_batches_name(tables[i].table), batches[i]));
  }
  FileSystem& files = FileSystem::real();
  const fs::path path = folder / document_frequency_file;
  const fs::path part = folder / (std::string(document_frequency_file) + ".part");
  try {
    write_safetensors(files, part, tensors);
    files.rename(part, path);
    files.sync_folder(folder);
  } catch (...) {
    std::error_code ignored;
    fs::remove(part, ignored);
    throw;
  }
}

void load_background(const Context& context, const ModelSource& source,
                     const Transformer& transformer) {
  const fs::path path = source.folder / document_frequency_file;
  const bool file = is_there(path);
  if (file && fill_from(context, SafetensorsReader(path), path.string(), transformer)) return;
  if (!file && source.kind == ModelSource::Kind::checkpoint &&
      fill_from(context, Checkpoint(source.folder), source.folder.string(), transformer)) {
    return;
  }
  fail_input(
      "optim.rows_per_step: how other text uses the rows of this memory was not counted in {}: "
      "`memengine memory count {} --data SHARDS` does it",
      source.folder.string(), source.folder.string());
}

void settle_background(const Context& context, const MemoryBank& bank, const std::string& where) {
  const BackgroundUse& use = bank.background();
  std::int32_t batches = 0;
  std::vector<std::int32_t> frequency(static_cast<std::size_t>(use.document_frequency.size()));
  copy_bytes(context, &batches, use.batches.data(), use.batches.bytes());
  copy_bytes(context, frequency.data(), use.document_frequency.data(),
             use.document_frequency.bytes());
  const auto [low, high] = std::minmax_element(frequency.begin(), frequency.end());
  if (batches < 1 || batches > most_background_batches || *low < 0 || *high > batches) {
    fail_input(
        "{}: rows of {} are read by {} to {} of {} background batches: the counts are damaged",
        where, bank.values().name(), *low, *high, batches);
  }
  std::vector<float> rarity(static_cast<std::size_t>(use.rarity.size()));
  rarity_of(rarity, batches);
  copy_bytes(context, use.rarity.data(), rarity.data(), use.rarity.bytes());
}

}  // namespace memengine
