// An allocation's handle is opened once; addresses within it are told as distances from its begin.
#include "kernels/runtime/ranks/peers/peer_memory.h"

#if MEMENGINE_HAS_CUDA
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr int most_ranks = 16;  // kernels/table/spread/peer_rows.h

using FindRange = decltype(&cuMemGetAddressRange);

// Where the allocation begins that an address is in. The driver's own function, fetched at run
// time, so that the program also starts on machines without one.
std::byte* allocation_of(void* address) {
  static const FindRange find_range = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    MEMENGINE_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &function, 12000,
                                                          cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess) fail_internal("the driver has no address ranges");
    return reinterpret_cast<FindRange>(function);
  }();
  CUdeviceptr begin = 0;
  std::size_t bytes = 0;
  const CUresult result = find_range(&begin, &bytes, reinterpret_cast<CUdeviceptr>(address));
  if (result != CUDA_SUCCESS) fail_internal("an address that is in no GPU memory is to be shared");
  return reinterpret_cast<std::byte*>(begin);
}

struct Shared {
  cudaIpcMemHandle_t handle;
  std::int64_t distance;
};

template <typename T>
std::vector<T> gather_all(const PeerMemory::Gather& gather, const T& mine) {
  const std::vector<std::byte> bytes = gather(std::as_bytes(std::span(&mine, 1)));
  std::vector<T> all(bytes.size() / sizeof(T));
  std::memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

// A host's own as long as it runs.
std::array<char, 40> boot_id() {
  std::array<char, 40> id{};
  std::string text;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
  text.copy(id.data(), id.size() - 1);
  return id;
}

}  // namespace

bool is_wanted(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr || std::string(value) != "0";
}

PeerMemory::PeerMemory(int rank, int size, Gather gather)
    : rank_(rank), size_(size), gather_(std::move(gather)) {
  works_ = try_out();
}

// Every rank makes the same calls of gather_, whatever it finds.
bool PeerMemory::try_out() {
  constexpr std::size_t bytes = std::size_t{2} << 20;
  bool here = size_ <= most_ranks && is_wanted("MEMENGINE_PEERS");
  for (const auto& id : gather_all(gather_, boot_id())) here = here && id == boot_id();
  void* mine = nullptr;
  Shared shared{};
  here = here && cudaMalloc(&mine, bytes) == cudaSuccess &&
         cudaMemcpy(mine, &rank_, sizeof rank_, cudaMemcpyHostToDevice) == cudaSuccess &&
         cudaIpcGetMemHandle(&shared.handle, mine) == cudaSuccess;
  const auto everywhere = [&] {
    const std::vector<int> all = gather_all(gather_, here ? 1 : 0);
    return std::count(all.begin(), all.end(), 1) == size_;
  };
  const std::vector<Shared> all = gather_all(gather_, shared);
  here = everywhere();
  for (int r = 0; r < size_ && here; ++r) {
    if (r == rank_) continue;
    void* theirs = nullptr;
    int found = -1;
    here = cudaIpcOpenMemHandle(&theirs, all[static_cast<std::size_t>(r)].handle,
                                cudaIpcMemLazyEnablePeerAccess) == cudaSuccess &&
           cudaMemcpy(&found, theirs, sizeof found, cudaMemcpyDeviceToHost) == cudaSuccess &&
           found == r;
    if (theirs != nullptr) cudaIpcCloseMemHandle(theirs);
  }
  here = everywhere();
  cudaFree(mine);
  cudaGetLastError();
  return here;
}

std::vector<void*> PeerMemory::find(void* mine) {
  std::byte* begin = allocation_of(mine);
  Shared shared{};
  shared.distance = static_cast<std::byte*>(mine) - begin;
  MEMENGINE_CUDA_CHECK(cudaIpcGetMemHandle(&shared.handle, begin));
  const std::vector<Shared> all = gather_all(gather_, shared);
  std::vector<void*> addresses;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) {
      addresses.push_back(mine);
      continue;
    }
    const Shared& theirs = all[static_cast<std::size_t>(r)];
    const auto bytes = std::as_bytes(std::span(&theirs.handle, 1));
    const std::string key(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    auto known = opened_.find(key);
    if (known == opened_.end()) {
      void* opened = nullptr;
      MEMENGINE_CUDA_CHECK(
          cudaIpcOpenMemHandle(&opened, theirs.handle, cudaIpcMemLazyEnablePeerAccess));
      known = opened_.emplace(key, opened).first;
    }
    addresses.push_back(static_cast<std::byte*>(known->second) + theirs.distance);
  }
  return addresses;
}

void PeerMemory::forget() noexcept {
  for (const auto& [handle, address] : opened_) cudaIpcCloseMemHandle(address);
  opened_.clear();
}

}  // namespace memengine

#endif
