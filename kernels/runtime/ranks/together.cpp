#include "kernels/runtime/ranks/together.h"

#include <algorithm>
#include <filesystem>

#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"
#include "kernels/runtime/ranks/rank_watch.h"

namespace memengine {

std::vector<std::string> gather_texts(Communicator& ranks, std::string_view mine) {
  const std::vector<std::uint64_t> sizes = ranks.gather<std::uint64_t>(mine.size());
  std::string padded(mine);
  padded.resize(*std::max_element(sizes.begin(), sizes.end()));
  const std::vector<std::byte> all = ranks.gather_bytes(std::as_bytes(std::span(padded)));
  std::vector<std::string> texts;
  for (std::size_t rank = 0; rank < sizes.size(); ++rank) {
    const auto* begin = reinterpret_cast<const char*>(all.data()) + rank * padded.size();
    texts.emplace_back(begin, begin + sizes[rank]);
  }
  return texts;
}

void do_together(Communicator& ranks, const std::function<void()>& work) {
  if (ranks.size() == 1) return work();
  std::string trouble;  // "i": input, "x": internal; then the message
  try {
    work();
  } catch (const RankEnded&) {
    throw;
  } catch (const Error& error) {
    trouble = (error.kind() == Error::Kind::input ? "i" : "x") + std::string(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    trouble = "i" + printable(error.what());
  } catch (const std::exception& error) {
    trouble = "x" + printable(error.what());
  }
  for (const std::string& of_rank : gather_texts(ranks, trouble)) {
    if (of_rank.empty()) continue;
    throw Error(of_rank[0] == 'i' ? Error::Kind::input : Error::Kind::internal, of_rank.substr(1));
  }
}

}  // namespace memengine
