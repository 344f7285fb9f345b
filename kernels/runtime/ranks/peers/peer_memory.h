// Memory of the GPUs of one host, opened for one another: processes read what lies on each other's
// GPU by its address, over NVLink or PCIe (CUDA's inter-process communication; a process need not
// see the other's GPU).
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace memengine {

// Whether this rank's environment does not switch a way of exchanging off: VARIABLE=0.
bool is_wanted(const char* variable);

class PeerMemory {
 public:
  // Of each rank, in their order: what all hand in, of one length. All ranks call it together.
  using Gather = std::function<std::vector<std::byte>(std::span<const std::byte>)>;

  // All ranks together; tries it out. It does not work where ranks are on several hosts, where they
  // are more than a list of addresses holds, where a GPU cannot read another's memory, and where
  // MEMENGINE_PEERS=0 says that none shall.
  PeerMemory(int rank, int size, Gather gather);
  ~PeerMemory() { forget(); }
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // The same on all ranks.
  bool works() const { return works_; }
  // As Communicator::peers() and forget_peers().
  std::vector<void*> find(void* mine);
  void forget() noexcept;

 private:
  bool try_out();

  int rank_, size_;
  Gather gather_;
  bool works_ = false;
  std::map<std::string, void*> opened_;  // by handle: where an allocation begins here
};

}  // namespace memengine
