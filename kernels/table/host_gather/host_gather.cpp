// The processor's part of the gather, and the order in which both parts are enqueued.
#include "kernels/table/host_gather/host_gather.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <thread>

#include <omp.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/runtime.h"
#include "kernels/runtime/runtime_cuda.h"
#include "kernels/table/host_gather/host_gather_chunks.h"

namespace memengine {
namespace {

constexpr std::size_t lane_count = 2;

std::int64_t chunk_rows(std::int64_t capacity) {
  return capacity / gather_chunks + 1;
}
std::int64_t list_bytes(std::int64_t capacity) {
  return ((2 + capacity) * 4 + 255) / 256 * 256;
}
std::int64_t buffer_bytes(std::int64_t capacity, std::int64_t v_dim) {
  return (chunk_rows(capacity) * v_dim * 2 + 255) / 256 * 256;
}

// What the driver's thread is given to gather one chunk.
struct ChunkTask {
  const std::int32_t* list;  // count, split, rows
  const std::uint16_t* hi;
  std::int64_t v_dim;
  std::int64_t chunk;
  std::uint16_t* buffer;
};

// The buffer is not read here again: where rows allow it, they are written past the caches.
void copy_row(void* to, const void* from, std::size_t bytes) {
#ifdef __AVX2__
  if (bytes % 32 == 0 && reinterpret_cast<std::uintptr_t>(to) % 32 == 0) {
    const auto* source = static_cast<const __m256i*>(from);
    auto* destination = static_cast<__m256i*>(to);
    for (std::size_t i = 0; i < bytes / 32; ++i) {
      _mm256_stream_si256(destination + i, _mm256_loadu_si256(source + i));
    }
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

// Before another thread, or the GPU, reads what copy_row() wrote.
void finish_copies() {
#ifdef __AVX2__
  _mm_sfence();
#endif
}

// While rows are gathered the main thread and the driver's want cores of their own: a thread that
// loses its core for some milliseconds holds up a chunk of 0.1 ms.
int gathering_threads() {
  const int threads = omp_get_max_threads();
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores >= 8 && threads >= cores ? cores - 2 : threads;
}

void gather_chunk(void* argument) {
  const auto& task = *static_cast<const ChunkTask*>(argument);
  const std::int64_t count = task.list[0];
  const std::int64_t split = task.list[1];
  const std::int32_t* rows = task.list + 2;
  const std::int64_t begin = gather_chunk_begin(split, count, task.chunk);
  const std::int64_t end = gather_chunk_begin(split, count, task.chunk + 1);
  const auto row_bytes = static_cast<std::size_t>(2 * task.v_dim);
  constexpr std::int64_t ahead = 16;  // rows under way for each thread
#pragma omp parallel if (end - begin > 256) num_threads(gathering_threads())
  {
#pragma omp for schedule(static)
    for (std::int64_t u = begin; u < end; ++u) {
      if (u + ahead < end) {
        const auto* next = reinterpret_cast<const char*>(task.hi + rows[u + ahead] * task.v_dim);
        for (std::size_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(next + line);
      }
      copy_row(task.buffer + (u - begin) * task.v_dim, task.hi + rows[u] * task.v_dim, row_bytes);
    }
    finish_copies();
  }
}

template <typename T>
void unpack(T* out, const std::uint16_t* buffer, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = join_float(buffer[i], 0);
}

}  // namespace

struct HostGather::Parts {
  Device device;
  std::int64_t bytes;
  void* memory = nullptr;
  void* split_memory = nullptr;
  cuda::HostGatherList list{};
  std::array<std::uint16_t*, lane_count> buffers{};
  std::array<Context, lane_count> lanes;
  // A recorded graph keeps the addresses of the tasks, so each table has its own for good.
  std::map<const std::uint16_t*, std::array<ChunkTask, gather_chunks>> tasks;

  Parts(Device where, std::int64_t capacity, std::int64_t v_dim)
      : device(where), bytes(planned_bytes(capacity, v_dim)) {
    memory = device == Device::cuda ? allocate_pinned(static_cast<std::size_t>(bytes))
                                    : allocate_memory(device, bytes);
    split_memory = allocate_memory(device, 256);
    if (memory == nullptr || split_memory == nullptr) {
      fail_input("the gather's buffers need {} bytes of memory that are not there", bytes);
    }
    list.host = static_cast<std::int32_t*>(memory);
    list.split = static_cast<std::int32_t*>(split_memory);
    auto* next = static_cast<std::byte*>(memory) + list_bytes(capacity);
    for (std::uint16_t*& buffer : buffers) {
      buffer = reinterpret_cast<std::uint16_t*>(next);
      next += buffer_bytes(capacity, v_dim);
    }
    for (Context& lane : lanes) {
      lane.device = device;
      if constexpr (cuda_build) {
        if (device == Device::cuda) cuda::open_lane(lane);
      }
    }
  }
  ~Parts() {
    if constexpr (cuda_build) {
      if (device == Device::cuda) {
        for (Context& lane : lanes) cuda::close_lane(lane);
        free_pinned(memory);
        free_memory(device, split_memory, 256);
        return;
      }
    }
    free_memory(device, memory, bytes);
    free_memory(device, split_memory, 256);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  std::array<ChunkTask, gather_chunks>& tasks_of(const ValueRows& table) {
    const auto [found, added] = tasks.try_emplace(table.hi);
    if (added) {
      for (std::int64_t chunk = 0; chunk < gather_chunks; ++chunk) {
        found->second[static_cast<std::size_t>(chunk)] = {
            list.host, table.hi, table.v_dim(), chunk,
            buffers[static_cast<std::size_t>(chunk) % lane_count]};
      }
    }
    return found->second;
  }

  // --- Each step of the work, on a GPU or at once ------------------------------------------------

  void write_list(const Context& context, const UniqueRows& unique, Tensor begin) const {
    if constexpr (cuda_build) {
      if (context.on_cuda()) {
        cuda::write_gather_list(context, list, unique, begin);
        return;
      }
    }
    const std::int32_t first = begin.empty() ? 0 : *begin.as<std::int32_t>();
    const std::int32_t count = *unique.count.as<std::int32_t>() - first;
    list.host[0] = count;
    list.host[1] = static_cast<std::int32_t>(gather_split(count, list.gpu_share));
    *list.split = first + list.host[1];
    std::copy_n(unique.rows.as<std::int32_t>() + first, count, list.host + 2);
  }
  static void call(const Context& lane, ChunkTask& task) {
    if constexpr (cuda_build) {
      if (lane.on_cuda()) {
        cuda::call_host(lane, gather_chunk, &task);
        return;
      }
    }
    gather_chunk(&task);
  }
  void unpack_chunk(const Context& lane, Tensor out, const ChunkTask& task,
                    const UniqueRows& unique, Tensor list_begin) const {
    if constexpr (cuda_build) {
      if (lane.on_cuda()) {
        cuda::unpack_gathered(lane, out, task.buffer, list, unique, list_begin, task.chunk);
        return;
      }
    }
    const std::int64_t first = *list.split - list.host[1];
    const std::int64_t begin = first + gather_chunk_begin(list.host[1], list.host[0], task.chunk);
    const std::int64_t end = first + gather_chunk_begin(list.host[1], list.host[0], task.chunk + 1);
    const std::int64_t v_dim = out.dim(1);
    if (out.dtype() == DType::bf16)
      std::copy_n(task.buffer, (end - begin) * v_dim,
                  static_cast<std::uint16_t*>(out.data()) + begin * v_dim);
    else if (out.dtype() == DType::f64)
      unpack(out.as<double>() + begin * v_dim, task.buffer, (end - begin) * v_dim);
    else
      unpack(out.as<float>() + begin * v_dim, task.buffer, (end - begin) * v_dim);
  }
};

HostGather::HostGather(Device device, std::int64_t capacity, std::int64_t v_dim)
    : parts_(std::make_unique<Parts>(device, capacity, v_dim)) {}

HostGather::~HostGather() = default;

std::int64_t HostGather::planned_bytes(std::int64_t capacity, std::int64_t v_dim) {
  return list_bytes(capacity) +
         static_cast<std::int64_t>(lane_count) * buffer_bytes(capacity, v_dim);
}

void HostGather::set_gpu_share(double share) {
  parts_->list.gpu_share = static_cast<std::int64_t>(std::clamp(share, 0.0, 1.0) * 1024);
}

void HostGather::gather(const Context& context, Tensor out, const ValueRows& table,
                        const UniqueRows& unique, Tensor begin) {
  Parts& parts = *parts_;
  parts.write_list(context, unique, begin);
  for (const Context& lane : parts.lanes) wait_for(lane, context);
  std::array<ChunkTask, gather_chunks>& tasks = parts.tasks_of(table);
  for (std::size_t chunk = 0; chunk < tasks.size(); ++chunk) {
    const Context& lane = parts.lanes[chunk % lane_count];
    Parts::call(lane, tasks[chunk]);
    parts.unpack_chunk(lane, out, tasks[chunk], unique, begin);
  }
  UniqueRows first = unique;
  first.count = Tensor(parts.list.split, DType::i32, {1});
  gather_rows(context, out, table, first, ValuePrecision::bf16, {}, {}, begin);
  for (const Context& lane : parts.lanes) wait_for(context, lane);
}

}  // namespace memengine
