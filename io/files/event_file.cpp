#include "io/files/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>

namespace memengine {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

template <typename T>
void put_bytes(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
}

// A field's key: its number and how it is written.
enum Wire { varint = 0, eight_bytes = 1, counted = 2, four_bytes = 5 };
void put_key(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | wire);
}

void put_double(std::string& out, int field, double value) {
  put_key(out, field, eight_bytes);
  put_bytes(out, value);
}

void put_text(std::string& out, int field, std::string_view text) {
  put_key(out, field, counted);
  put_varint(out, text.size());
  out += text;
}

void put_doubles(std::string& out, int field, const std::vector<double>& values) {
  put_key(out, field, counted);
  put_varint(out, 8 * values.size());
  for (const double value : values) put_bytes(out, value);
}

std::string event_of(std::int64_t step, int field, std::string_view content) {
  std::string event;
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  put_double(event, 1, now);
  if (step != 0) {
    put_key(event, 2, varint);
    put_varint(event, static_cast<std::uint64_t>(step));
  }
  put_text(event, field, content);
  return event;
}

void put_scalar(std::string& summary, std::string_view tag, double value) {
  std::string entry;
  put_text(entry, 1, tag);
  put_key(entry, 2, four_bytes);
  put_bytes(entry, static_cast<float>(value));
  put_text(summary, 1, entry);
}

void put_histogram(std::string& summary, const EventHistogram& histogram) {
  std::string content;
  put_double(content, 1, histogram.least);
  put_double(content, 2, histogram.greatest);
  put_double(content, 3, histogram.count);
  put_double(content, 4, histogram.sum);
  put_doubles(content, 6, histogram.limits);
  put_doubles(content, 7, histogram.counts);
  std::string entry;
  put_text(entry, 1, histogram.tag);
  put_text(entry, 5, content);
  put_text(summary, 1, entry);
}

std::string file_name() {
  static std::atomic<int> count{0};
  char host[256] = "host";
  ::gethostname(host, sizeof(host) - 1);
  for (char* c = host; *c != 0; ++c) {
    if (*c == '/') *c = '_';
  }
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  return fmt::format("events.out.tfevents.{}.{}.{}.{}", now, host, ::getpid(), count++);
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) {
    crc = crc_table[(crc ^ static_cast<unsigned char>(c)) & 255] ^ crc >> 8;
  }
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& folder, std::int64_t resumed_step,
                     FileSystem& files)
    : path_(folder / file_name()), files_(files) {
  files.make_folder(folder);
  descriptor_ = files.create(path_);
  try {
    put_frame(event_of(0, 3, "brain.Event:2"));
    // SessionLog { 1 status: START = 1 }
    if (resumed_step >= 0) put_frame(event_of(resumed_step + 1, 7, std::string("\x08\x01", 2)));
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

EventFile::~EventFile() {
  ::close(descriptor_);
}

void EventFile::write(std::int64_t step, std::span<const Metric> metrics,
                      std::span<const EventHistogram> histograms) {
  std::string summary;
  for (const auto& [key, value] : metrics) {
    if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      put_scalar(summary, key, static_cast<double>(*integer));
    } else if (const auto* real = std::get_if<double>(&value)) {
      put_scalar(summary, key, *real);
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      put_scalar(summary, key, *flag ? 1 : 0);
    }
  }
  for (const EventHistogram& histogram : histograms) put_histogram(summary, histogram);
  put_frame(event_of(step, 5, summary));
}

void EventFile::put_frame(std::string_view event) {
  std::string frame;
  put_bytes(frame, static_cast<std::uint64_t>(event.size()));
  put_bytes(frame, masked_crc32c(frame));
  frame += event;
  put_bytes(frame, masked_crc32c(event));
  files_.write(descriptor_, std::as_bytes(std::span(frame)), size_, path_);
  size_ += frame.size();
}

}  // namespace memengine
