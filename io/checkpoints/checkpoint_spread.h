// A tensor whose rows are spread over files: part p of P holds rows p, p + P, p + 2 P, ...
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoints/safetensors.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {

class SpreadTensor {
 public:
  // `parts` [rows of part p, ...], one a file. Input error (`where` names the checkpoint) unless
  // they are parts of one tensor.
  SpreadTensor(const std::string& where, const std::vector<const TensorInfo*>& parts)
      : parts_(static_cast<std::int64_t>(parts.size())), whole_(*parts.front()) {
    std::int64_t rows = 0;
    bool fits = !whole_.shape.empty();
    for (const TensorInfo* part : parts) {
      fits = fits && part->dtype == whole_.dtype && part->shape.size() == whole_.shape.size() &&
             std::equal(whole_.shape.begin() + 1, whole_.shape.end(), part->shape.begin() + 1) &&
             !__builtin_add_overflow(rows, part->shape[0], &rows);
    }
    for (std::int64_t p = 0; p < parts_ && fits; ++p) {
      fits = parts[static_cast<std::size_t>(p)]->shape[0] == (rows - p + parts_ - 1) / parts_;
    }
    whole_.bytes = 0;
    for (const TensorInfo* part : parts) {
      fits = fits && !__builtin_add_overflow(whole_.bytes, part->bytes, &whole_.bytes);
    }
    if (!fits) {
      fail_input("{}: the parts of tensor '{}' do not make one tensor", where,
                 one_line(whole_.name));
    }
    whole_.shape[0] = rows;
    if (rows > 0) row_bytes_ = whole_.bytes / static_cast<std::uint64_t>(rows);
  }

  const TensorInfo& whole() const { return whole_; }

  // Fills `bytes`, which stand at `offset` in the whole, by read(part, offset in it, piece).
  template <typename Read>
  void read(std::uint64_t offset, std::span<std::byte> bytes, Read&& read) const {
    while (!bytes.empty()) {
      const std::uint64_t row = offset / row_bytes_;
      const std::uint64_t within = offset % row_bytes_;
      const std::size_t piece = std::min<std::uint64_t>(bytes.size(), row_bytes_ - within);
      const auto parts = static_cast<std::uint64_t>(parts_);
      read(row % parts, row / parts * row_bytes_ + within, bytes.first(piece));
      bytes = bytes.subspan(piece);
      offset += piece;
    }
  }

  // Hands a piece of a part, at `offset` in it, to the places of its rows in the whole.
  void scatter(std::int64_t part, std::uint64_t offset, std::span<const std::byte> bytes,
               const std::function<void(std::uint64_t, std::span<const std::byte>)>& write) const {
    while (!bytes.empty()) {
      const std::uint64_t row = offset / row_bytes_;
      const std::uint64_t within = offset % row_bytes_;
      const std::size_t piece = std::min<std::uint64_t>(bytes.size(), row_bytes_ - within);
      const std::uint64_t place =
          row * static_cast<std::uint64_t>(parts_) + static_cast<std::uint64_t>(part);
      write(place * row_bytes_ + within, bytes.first(piece));
      bytes = bytes.subspan(piece);
      offset += piece;
    }
  }

  // Whether a part has any of the rows with row modulo `ranks` = `rank`.
  bool concerns(std::int64_t part, std::int64_t rank, std::int64_t ranks) const {
    return (part - rank) % std::gcd(parts_, ranks) == 0;
  }

 private:
  std::int64_t parts_;
  TensorInfo whole_;  // its offset means nothing
  std::uint64_t row_bytes_ = 0;
};

}  // namespace memengine
