// The GPU's part of the processor's gather: it writes the list into mapped memory, and copies the
// filled buffers from there to where the rows belong.
#include "kernels/table/host_gather/host_gather.h"
#include "kernels/table/host_gather/host_gather_chunks.h"
#include "kernels/table/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr unsigned list_blocks = 32;

__global__ void __launch_bounds__(table_threads)
    list_kernel(HostGatherList list, const std::int32_t* all_rows,
                const std::int32_t* count_pointer, const std::int32_t* begin_pointer) {
  const int begin = begin_pointer == nullptr ? 0 : *begin_pointer;
  const int count = *count_pointer - begin;
  const std::int32_t* rows = all_rows + begin;
  const int split = static_cast<int>(gather_split(count, list.gpu_share));
  const int thread = static_cast<int>(blockIdx.x * table_threads + threadIdx.x);
  if (thread == 0) {
    list.host[0] = count;
    list.host[1] = split;
    *list.split = begin + split;
  }
  for (int u = split + thread; u < count; u += static_cast<int>(gridDim.x * table_threads)) {
    list.host[2 + u] = rows[u];
  }
}

// out [*, v_dim] rows of the chunk = buffer, `width` numbers per thread; pieces = v_dim / width.
template <int width, typename Out>
__global__ void __launch_bounds__(table_threads)
    unpack_kernel(Out* out, const std::uint16_t* buffer, const std::int32_t* split,
                  const std::int32_t* count, const std::int32_t* list_begin, std::int64_t chunk,
                  std::int64_t pieces) {
  const std::int64_t first = list_begin == nullptr ? 0 : *list_begin;
  const std::int64_t begin = first + gather_chunk_begin(*split - first, *count - first, chunk);
  const std::int64_t end = first + gather_chunk_begin(*split - first, *count - first, chunk + 1);
  const std::int64_t size = (end - begin) * pieces;
  Out* out_chunk = out + begin * pieces * width;
  const std::int64_t stride = std::int64_t{gridDim.x} * table_threads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * table_threads + threadIdx.x; i < size;
       i += stride) {
    const Pack<std::uint16_t, width> hi = load<width>(buffer + i * width);
    float x[width];
#pragma unroll
    for (int j = 0; j < width; ++j) x[j] = join_float(hi.element[j], 0);
    store(out_chunk + i * width, x);
  }
}

}  // namespace

void write_gather_list(const Context& context, const HostGatherList& list, const UniqueRows& unique,
                       Tensor begin) {
  list_kernel<<<list_blocks, table_threads, 0, context.stream>>>(
      list, unique.rows.as<std::int32_t>(), unique.count.as<std::int32_t>(),
      begin.empty() ? nullptr : begin.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("host gather");
}

void call_host(const Context& context, void (*function)(void*), void* argument) {
  MEMENGINE_CUDA_CHECK(cudaLaunchHostFunc(context.stream, function, argument));
}

void unpack_gathered(const Context& context, Tensor out, const std::uint16_t* buffer,
                     const HostGatherList& list, const UniqueRows& unique, Tensor begin,
                     std::int64_t chunk) {
  const std::int64_t v_dim = out.dim(1);
  dispatch_storage("host gather", out.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      unpack_kernel<width><<<host_table_blocks, table_threads, 0, context.stream>>>(
          out.as<T>(), buffer, list.split, unique.count.as<std::int32_t>(),
          begin.empty() ? nullptr : begin.as<std::int32_t>(), chunk, v_dim / width);
    };
    if (in_vectors<std::uint16_t>(v_dim, {buffer, out.data()}))
      launch.template operator()<8>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("host gather");
}

}  // namespace memengine::cuda
