// The header of a safetensors file: what is accepted tiles the file's data exactly.
#include "io/checkpoints/safetensors.h"

#include "tests/fuzz/fuzz_target.h"

namespace {

std::string with_length(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + data;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  return {
      with_length("{}", ""),
      with_length(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})",
                  std::string(24, 'x')),
      with_length(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[3],)"
                  R"("data_offsets":[0,6]},"b":{"dtype":"I32","shape":[],"data_offsets":[6,10]},)"
                  R"("c":{"dtype":"U8","shape":[0,9],"data_offsets":[10,10]}}   )",
                  std::string(10, 'y')),
      with_length(R"({"a":{"dtype":"F64","shape":[4294967296,4294967296,2],)"
                  R"("data_offsets":[0,18446744073709551615]}})",
                  "z"),
      with_length(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  "zzzz"),
      with_length("[[[[[[[[]]]]]]]]", ""),
      with_length("null", ""),
      std::string(8, '\xff'),
      ""};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  fuzz_accepts([&] {
    const memengine::SafetensorsHeader header = memengine::read_safetensors_header(
        "file", size, [&](std::uint64_t offset, std::span<std::byte> part) {
          fuzz_check(offset <= size && part.size() <= size - offset, "a read beyond the file");
          std::memcpy(part.data(), bytes + offset, part.size());
        });
    std::uint64_t end = header.data_start;
    for (const memengine::TensorInfo& tensor : header.tensors) {
      fuzz_check(header.data_start + tensor.offset == end, "a gap between tensors");
      std::uint64_t elements = memengine::file_dtype_bytes(tensor.dtype);
      for (const std::int64_t dim : tensor.shape) elements *= static_cast<std::uint64_t>(dim);
      fuzz_check(elements == tensor.bytes, "a size that is not its shape's");
      end += tensor.bytes;
    }
    fuzz_check(end == size, "data that belongs to no tensor");
  });
  return 0;
}
