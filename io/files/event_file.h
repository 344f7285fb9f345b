// TensorBoard's event files, written by hand: TFRecord frames around protocol buffers of a few
// fields, so no library of either is needed.
//
//   frame    u64 length, u32 crc(length), bytes, u32 crc(bytes)      little-endian; crc is CRC-32C
//            (Castagnoli), masked: rotated right by 15, plus 0xa282ead8
//   Event    1 wall_time double, 2 step int64, 3 file_version string, 5 Summary, 7 SessionLog
//   Summary  1 Value { 1 tag string, 2 simple_value float, 5 HistogramProto }
//   HistogramProto  1 min, 2 max, 3 num, 4 sum, 6 bucket_limit[], 7 bucket[]
//
// Source: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/{util/event,framework/summary}
// .proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/file.h"
#include "io/files/metrics.h"

namespace memengine {

// How many values lie in (limits[i-1], limits[i]]; limits ascend.
struct EventHistogram {
  std::string tag;
  double least = 0, greatest = 0, count = 0, sum = 0;  // of the values
  std::vector<double> limits, counts;
};

class EventFile {
 public:
  // A new file "events.out.tfevents.<time>.<host>.<process>.<n>" in the folder, which is made. With
  // resumed_step >= 0 it tells TensorBoard to forget what other files of the folder say of later
  // steps. Input error where it cannot be written.
  EventFile(const std::filesystem::path& folder, std::int64_t resumed_step,
            FileSystem& files = FileSystem::real());
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // The numbers among the metrics (texts are left out; true is 1) and histograms as one event of
  // now. Input error where it cannot be written; the next event then takes its place.
  void write(std::int64_t step, std::span<const Metric> metrics,
             std::span<const EventHistogram> histograms = {});

  const std::filesystem::path& path() const { return path_; }

 private:
  void put_frame(std::string_view event);

  std::filesystem::path path_;
  FileSystem& files_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// CRC-32C as TFRecord masks it.
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace memengine
