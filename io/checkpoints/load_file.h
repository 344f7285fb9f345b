// Reads a verified file into many places, each block once, on several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/checkpoints/verified_file.h"
#include "io/files/parallel.h"

namespace memengine {

// A sink's place in a file.
struct LoadTarget {
  std::uint64_t begin, end;
  const std::function<void(std::uint64_t, std::span<const std::byte>)>* write;
};

// Hands every block of a file that some target overlaps to those targets.
inline void load_file(const VerifiedFile& file, std::vector<LoadTarget> targets,
                      std::size_t threads) {
  std::erase_if(targets, [](const LoadTarget& target) { return target.begin == target.end; });
  std::sort(targets.begin(), targets.end(),
            [](const LoadTarget& a, const LoadTarget& b) { return a.begin < b.begin; });
  std::vector<std::size_t> blocks;  // those with a target
  for (const LoadTarget& target : targets) {
    for (std::size_t block = file.block_of(target.begin); block <= file.block_of(target.end - 1);
         ++block) {
      if (blocks.empty() || blocks.back() < block) blocks.push_back(block);
    }
  }
  parallel_for(blocks.size(), threads, [&] {
    return [&, buffer = std::vector<std::byte>()](std::size_t i) mutable {
      buffer.resize(file.block_size(blocks[i]));
      file.read_block(blocks[i], buffer);
      const std::uint64_t begin = file.block_begin(blocks[i]);
      const std::uint64_t end = begin + buffer.size();
      auto target =
          std::upper_bound(targets.begin(), targets.end(), begin,
                           [](std::uint64_t at, const LoadTarget& t) { return at < t.end; });
      for (; target != targets.end() && target->begin < end; ++target) {
        const std::uint64_t from = std::max(begin, target->begin);
        const std::uint64_t to = std::min(end, target->end);
        (*target->write)(from - target->begin, std::span(buffer).subspan(from - begin, to - from));
      }
    };
  });
}

}  // namespace memengine
