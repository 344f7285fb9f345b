// Safetensors files (github.com/huggingface/safetensors): named arrays after a JSON header.
//
//   8 bytes little-endian header length | JSON: name -> {dtype, shape, data_offsets} | the data
//
// The writer streams: offsets follow from shapes, so the header is known before the first byte of
// data, and tensors are asked for block by block; a table of 100 GB is never held twice. The reader
// trusts nothing: lengths, JSON, dtypes, shapes (their products may overflow) and offsets (which
// must tile the data without gap or overlap) are checked before use. Errors are input errors of one
// line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/tensor.h"

namespace memengine {

enum class FileDtype : std::uint8_t { f64, f32, bf16, f16, i32, i64, u8, u16 };

std::uint64_t file_dtype_bytes(FileDtype dtype);
// As in the header: "F32", "BF16", ...
std::string_view file_dtype_name(FileDtype dtype);
FileDtype file_dtype(DType dtype);

// A tensor in a file; `offset` counts from the start of the file's data.
struct TensorInfo {
  std::string name;
  FileDtype dtype = FileDtype::f32;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

// A tensor to be written. `read(offset, block)` fills a block with the tensor's bytes from a byte
// offset on; it is called with rising offsets (but see SafetensorsWriting), each byte once.
struct TensorSource {
  std::string name;
  FileDtype dtype = FileDtype::f32;
  std::vector<std::int64_t> shape;
  std::function<void(std::uint64_t, std::span<std::byte>)> read;

  std::uint64_t bytes() const;  // input error where the shape's product overflows
};

using Metadata = std::map<std::string, std::string>;

// Size of the file that write_safetensors makes.
std::uint64_t safetensors_bytes(std::span<const TensorSource> tensors, const Metadata& metadata);

struct SafetensorsWriting {
  std::size_t block_bytes = 8u << 20;
  // Blocks are put together, shown and written side by side by so many threads. With more than one,
  // TensorSource::read is called from several threads at once and not in order.
  std::size_t threads = 1;
  // Is shown every block of the file (the last may be shorter) with its number.
  std::function<void(std::size_t, std::span<const std::byte>)> on_block;
};

// Writes tensors in the order given, syncs and closes. Takes the disk space before the first byte,
// and `threads` blocks of memory. Names must differ.
void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorSource> tensors, const Metadata& metadata = {},
                       const SafetensorsWriting& writing = {});

// A header as read and checked. Tensors are in the order of their data.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  Metadata metadata;
  std::uint64_t data_start = 0;  // of the data, from the start of the file
};

// Reads a header through `read(offset, bytes)` from a file of `file_bytes`; `name` is for messages.
SafetensorsHeader read_safetensors_header(
    const std::string& name, std::uint64_t file_bytes,
    const std::function<void(std::uint64_t, std::span<std::byte>)>& read);

// The checksums of files in their folder, as write_state gives them: exported models have it.
inline constexpr std::string_view checksums_name = "memengine_checksums.json";

// One file, or several named by `model.safetensors.index.json`. Safe to read from several threads.
class SafetensorsReader {
 public:
  // `path`: a .safetensors file, an index, or a folder that holds either (the file, where
  // both are there). Where checksums stand beside a file, each block that is read is verified.
  explicit SafetensorsReader(const std::filesystem::path& path);
  ~SafetensorsReader();
  SafetensorsReader(SafetensorsReader&&) noexcept;

  // All tensors, sorted by name.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  // Null when absent.
  const TensorInfo* find(std::string_view name) const;
  // Fills `bytes` from a byte offset within the tensor; input error when absent or out of range.
  void read(std::string_view name, std::uint64_t offset, std::span<std::byte> bytes) const;
  // Reads everything against its checksums; false where there are none.
  bool verify() const;

 private:
  struct Part;
  void open_index(const std::filesystem::path& path);

  std::vector<Part> parts_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::size_t> part_of_;  // beside tensors_
  Metadata metadata_;
};

}  // namespace memengine
