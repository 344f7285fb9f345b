// See safetensors.h: dtypes, the writer and the header's reader. The reader of whole sets is in
// safetensors_reader.cpp.
#include "io/checkpoints/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <set>

#include "io/files/parallel.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_header_bytes = 32u << 20;
constexpr std::size_t max_rank = 8;

struct DtypeRow {
  FileDtype dtype;
  std::string_view name;
  std::uint64_t bytes;
};
constexpr DtypeRow dtype_rows[] = {{FileDtype::f64, "F64", 8},   {FileDtype::f32, "F32", 4},
                                   {FileDtype::bf16, "BF16", 2}, {FileDtype::f16, "F16", 2},
                                   {FileDtype::i32, "I32", 4},   {FileDtype::i64, "I64", 8},
                                   {FileDtype::u8, "U8", 1},     {FileDtype::u16, "U16", 2}};

const DtypeRow& dtype_row(FileDtype dtype) {
  return dtype_rows[static_cast<std::size_t>(dtype)];
}

// Bytes of an array; false where a dimension is negative or the product overflows.
bool array_bytes(FileDtype dtype, std::span<const std::int64_t> shape, std::uint64_t& bytes) {
  bytes = file_dtype_bytes(dtype);
  for (const std::int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes)) {
      return false;
    }
  }
  return bytes <= INT64_MAX;
}

// The length field and the JSON, padded with spaces so that the data starts at a multiple of 8.
std::string header_text(std::span<const TensorSource> tensors, const Metadata& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    if (header.contains(tensor.name)) fail_internal("tensor {} is written twice", tensor.name);
    const std::uint64_t end = offset + tensor.bytes();
    header[tensor.name] = {{"dtype", file_dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.empty() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

// Memory that a disk can be written from directly.
class AlignedBlock {
 public:
  explicit AlignedBlock(std::size_t size)
      : data_(static_cast<std::byte*>(
            ::operator new(size, std::align_val_t(FileSystem::direct_bytes)))) {}
  std::span<std::byte> bytes(std::size_t size) const { return {data_.get(), size}; }

 private:
  struct Release {
    void operator()(std::byte* data) const {
      ::operator delete(data, std::align_val_t(FileSystem::direct_bytes));
    }
  };
  std::unique_ptr<std::byte, Release> data_;
};

TensorInfo tensor_info(const std::string& file, const std::string& name, const json& entry) {
  const std::string shown = one_line(name);
  const auto fail = [&](std::string_view what) {
    fail_input("{}: tensor '{}' has {}; the file is damaged or of another format", file, shown,
               what);
  };
  if (!entry.is_object()) fail("no description");
  TensorInfo info;
  info.name = name;
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) fail("no dtype");
  const auto row = std::find_if(std::begin(dtype_rows), std::end(dtype_rows), [&](const auto& r) {
    return r.name == dtype->get_ref<const std::string&>();
  });
  if (row == std::end(dtype_rows)) {
    fail_input("{}: tensor '{}' has dtype {}, which cannot be read here", file, shown,
               one_line(dtype->get_ref<const std::string&>(), 20));
  }
  info.dtype = row->dtype;
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array() || shape->size() > max_rank)
    fail("no valid shape");
  for (const json& dim : *shape) {
    if (!dim.is_number_unsigned() || dim.get<std::uint64_t>() > INT64_MAX) fail("no valid shape");
    info.shape.push_back(dim.get<std::int64_t>());
  }
  if (!array_bytes(info.dtype, info.shape, info.bytes)) fail("a shape whose size overflows");
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    fail("no valid data_offsets");
  }
  info.offset = (*offsets)[0].get<std::uint64_t>();
  const auto end = (*offsets)[1].get<std::uint64_t>();
  if (end < info.offset || end - info.offset != info.bytes) {
    fail("data_offsets that do not match its shape");
  }
  return info;
}

}  // namespace

std::uint64_t file_dtype_bytes(FileDtype dtype) {
  return dtype_row(dtype).bytes;
}
std::string_view file_dtype_name(FileDtype dtype) {
  return dtype_row(dtype).name;
}

FileDtype file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return FileDtype::f64;
    case DType::f32:
      return FileDtype::f32;
    case DType::bf16:
      return FileDtype::bf16;
    case DType::i32:
      return FileDtype::i32;
    case DType::u8:
      return FileDtype::u8;
  }
  fail_internal("a dtype without a name in safetensors files");
}

std::uint64_t TensorSource::bytes() const {
  std::uint64_t bytes = 0;
  if (!array_bytes(dtype, shape, bytes)) fail_internal("tensor {}: its size overflows", name);
  return bytes;
}

std::uint64_t safetensors_bytes(std::span<const TensorSource> tensors, const Metadata& metadata) {
  std::uint64_t bytes = header_text(tensors, metadata).size();
  for (const TensorSource& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorSource> tensors, const Metadata& metadata,
                       const SafetensorsWriting& writing) {
  const std::string header = header_text(tensors, metadata);
  std::vector<std::uint64_t> begins;  // of the tensors, from the start of the file; then its end
  begins.push_back(header.size());
  for (const TensorSource& tensor : tensors) begins.push_back(begins.back() + tensor.bytes());
  const std::uint64_t total = begins.back();

  const auto fill = [&](std::uint64_t offset, std::span<std::byte> block) {
    if (offset < header.size()) {
      const std::size_t part = std::min<std::uint64_t>(block.size(), header.size() - offset);
      std::memcpy(block.data(), header.data() + offset, part);
      offset += part;
      block = block.subspan(part);
    }
    auto at = static_cast<std::size_t>(std::upper_bound(begins.begin(), begins.end(), offset) -
                                       begins.begin());
    while (!block.empty()) {
      const std::size_t part = std::min<std::uint64_t>(block.size(), begins[at] - offset);
      if (part > 0) tensors[at - 1].read(offset - begins[at - 1], block.first(part));
      offset += part;
      block = block.subspan(part);
      ++at;
    }
  };

  OutputFile file(files, path, total);
  const std::size_t block_bytes = writing.block_bytes;
  const std::size_t blocks = (total + block_bytes - 1) / block_bytes;
  parallel_for(blocks, writing.threads, [&] {
    return [&, block = AlignedBlock(std::min<std::uint64_t>(block_bytes, total))](std::size_t i) {
      const std::uint64_t offset = i * std::uint64_t{block_bytes};
      const std::span bytes = block.bytes(std::min<std::uint64_t>(block_bytes, total - offset));
      fill(offset, bytes);
      if (writing.on_block) writing.on_block(i, bytes);
      file.write_at(bytes, offset);
    };
  });
  file.finish();
}

SafetensorsHeader read_safetensors_header(
    const std::string& name, std::uint64_t file_bytes,
    const std::function<void(std::uint64_t, std::span<std::byte>)>& read) {
  if (file_bytes < 8) {
    fail_input("{}: {} bytes is too short for a safetensors file", name, file_bytes);
  }
  unsigned char length_bytes[8];
  read(0, std::as_writable_bytes(std::span(length_bytes)));
  std::uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(length_bytes[i]) << (8 * i);
  if (length > max_header_bytes || length > file_bytes - 8) {
    fail_input("{}: its header would take {} bytes; the file is damaged or not safetensors", name,
               length);
  }
  std::string text(length, '\0');
  read(8, std::as_writable_bytes(std::span(text)));

  std::set<std::string> names;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > 4) fail_input("{}: the header is nested too deeply", name);
    if (event == json::parse_event_t::key && depth == 1 &&
        !names.insert(parsed.get<std::string>()).second) {
      fail_input("{}: tensor '{}' is described twice", name, one_line(parsed.get<std::string>()));
    }
    return true;
  };
  json header;
  try {
    header = json::parse(text, watch);
  } catch (const json::exception& error) {
    fail_input("{}: the header is not valid JSON; the file is damaged or not safetensors", name);
  }
  if (!header.is_object()) fail_input("{}: the header is not a JSON object", name);

  SafetensorsHeader result;
  result.data_start = 8 + length;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") {
      for (const auto& [field, value] : entry.items()) {
        if (value.is_string()) result.metadata[field] = value.get<std::string>();
      }
    } else {
      result.tensors.push_back(tensor_info(name, key, entry));
    }
  }
  std::sort(result.tensors.begin(), result.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.bytes) < std::tie(b.offset, b.bytes);
  });
  std::uint64_t end = 0;
  for (const TensorInfo& tensor : result.tensors) {
    if (tensor.offset != end) {
      fail_input("{}: tensor '{}' starts at byte {} of the data, not at {}; the file is damaged",
                 name, one_line(tensor.name), tensor.offset, end);
    }
    if (__builtin_add_overflow(end, tensor.bytes, &end)) {
      fail_input("{}: the tensors' sizes overflow; the file is damaged", name);
    }
  }
  if (end != file_bytes - result.data_start) {
    fail_input("{}: holds {} bytes of data where its header says {}; the file is cut or damaged",
               name, file_bytes - result.data_start, end);
  }
  return result;
}

}  // namespace memengine
