// Rows of an increment over a tensor of its base.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/checkpoints/safetensors.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {

class RowPatch {
 public:
  // `whole` [rows, ...] of the base, `part` [K, ...] of the increment, `list` the K rows it
  // replaces. Input error (`where` names the checkpoint) unless they fit.
  RowPatch(const std::string& where, const TensorInfo& whole, const TensorInfo& part,
           std::shared_ptr<const std::vector<std::int32_t>> list)
      : list_(std::move(list)) {
    bool fits = whole.dtype == part.dtype && !whole.shape.empty() &&
                whole.shape.size() == part.shape.size() &&
                std::equal(whole.shape.begin() + 1, whole.shape.end(), part.shape.begin() + 1) &&
                part.shape[0] == static_cast<std::int64_t>(list_->size());
    if (fits && !list_->empty()) {
      fits =
          list_->front() >= 0 && list_->back() < whole.shape[0] &&
          std::adjacent_find(list_->begin(), list_->end(), std::greater_equal<>()) == list_->end();
    }
    if (!fits) {
      fail_input("{}: the rows of tensor '{}' do not fit the base's", where, one_line(part.name));
    }
    if (whole.shape[0] > 0) row_bytes_ = whole.bytes / static_cast<std::uint64_t>(whole.shape[0]);
  }

  // Replaces what `bytes`, which stand at `offset` in the whole tensor, hold of patched rows.
  // read(offset in the part, piece) fetches.
  template <typename Read>
  void apply(std::uint64_t offset, std::span<std::byte> bytes, Read&& read) const {
    if (bytes.empty() || row_bytes_ == 0) return;
    const std::uint64_t end = offset + bytes.size();
    auto at = std::lower_bound(list_->begin(), list_->end(),
                               static_cast<std::int64_t>(offset / row_bytes_));
    for (; at != list_->end(); ++at) {
      const std::uint64_t row = static_cast<std::uint64_t>(*at) * row_bytes_;
      if (row >= end) break;
      const std::uint64_t from = std::max(row, offset);
      const std::uint64_t to = std::min(row + row_bytes_, end);
      const auto place = static_cast<std::uint64_t>(at - list_->begin()) * row_bytes_;
      read(place + from - row, bytes.subspan(from - offset, to - from));
    }
  }

  // Hands a piece of the part, at `offset` in it, to the places of its rows in the whole tensor.
  void scatter(std::uint64_t offset, std::span<const std::byte> bytes,
               const std::function<void(std::uint64_t, std::span<const std::byte>)>& write) const {
    while (!bytes.empty()) {
      const std::uint64_t k = offset / row_bytes_;
      const std::uint64_t within = offset % row_bytes_;
      const std::size_t piece = std::min<std::uint64_t>(bytes.size(), row_bytes_ - within);
      write(static_cast<std::uint64_t>((*list_)[k]) * row_bytes_ + within, bytes.first(piece));
      bytes = bytes.subspan(piece);
      offset += piece;
    }
  }

 private:
  std::shared_ptr<const std::vector<std::int32_t>> list_;
  std::uint64_t row_bytes_ = 0;
};

}  // namespace memengine
