// Copies and products of favourable sizes.
#include "engine/bench/ceilings.h"

#include <algorithm>

#include "engine/bench/ops/workbench.h"
#include "kernels/linear/linear.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/step_graph.h"

namespace memengine::bench {
namespace {

constexpr std::int64_t mebibyte = std::int64_t{1} << 20;

double copy_rate(Workbench& bench, std::int64_t bytes) {
  const Tensor from = bench.normal(DType::f32, {bytes / 4});
  const Tensor to = bench.zeros(DType::f32, {bytes / 4});
  const double seconds =
      bench.seconds([&] { copy_bytes(bench.context(), to.data(), from.data(), bytes); });
  bench.clear();
  return 2.0 * static_cast<double>(bytes) / seconds;
}

// What lies in the L2 cache, read by everyone.
double l2_rate(Workbench& bench) {
  if constexpr (cuda_build) {
    constexpr std::int64_t bytes = 8 * mebibyte;
    constexpr int times = 64;
    const Tensor data = bench.normal(DType::f32, {bytes / 4});
    const Tensor out = bench.zeros(DType::f32, {1});
    const double seconds = bench.seconds([&] {
      cuda::read_repeatedly(bench.context(), out.as<float>(), data.data(), bytes, times);
    });
    bench.clear();
    return static_cast<double>(bytes) * times / seconds;
  }
  return 0;
}

double product_rate(Workbench& bench, DType dtype, std::int64_t size) {
  const Tensor x = bench.normal(dtype, {size, size});
  const Tensor weight = bench.normal(dtype, {size, size});
  const Tensor out = bench.zeros(dtype, {size, size});
  const double seconds =
      bench.seconds([&] { linear_forward(bench.context(), out, x, weight, {}); });
  bench.clear();
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / seconds;
}

// Both directions at once, on two streams; the sum of both.
double two_way_rate(Workbench& bench, std::byte* host, void* device, std::int64_t bytes) {
  Runtime other(Device::cuda);
  const std::int64_t half = bytes / 2;
  auto* on_device = static_cast<std::byte*>(device);
  std::vector<double> seconds;
  for (int repetition = 0; repetition < 7; ++repetition) {
    bench.runtime().synchronize();
    other.synchronize();
    const double begin = now_seconds();
    copy_bytes(bench.context(), on_device, host, half);
    copy_bytes(other.context(), host + half, on_device + half, half);
    bench.runtime().synchronize();
    other.synchronize();
    seconds.push_back(now_seconds() - begin);
  }
  return 2.0 * static_cast<double>(half) / median(std::move(seconds));
}

}  // namespace

Ceilings measure_ceilings(Runtime& runtime, const TimingOptions& timing,
                          const CeilingOptions& options, const OnCeiling& on_result) {
  const bool gpu = runtime.context().on_cuda();
  Workbench bench(runtime, timing);
  Ceilings ceilings;
  const auto tell = [&](const std::string& name, double value, double unit_value,
                        const char* unit) {
    on_result({name, value / unit_value, unit});
  };

  const std::int64_t copied = mebibyte * (gpu ? (options.quick ? 512 : 2048) : 128);
  ceilings.memory = copy_rate(bench, copied);
  tell(gpu ? "device memory copy, read + write" : "memory copy, read + write", ceilings.memory, 1e9,
       "GB/s");

  if (gpu) {
    ceilings.l2 = l2_rate(bench);
    tell("L2 cache, 8 MiB read again and again", ceilings.l2, 1e9, "GB/s");
  }

  const std::int64_t size_f32 = gpu ? (options.quick ? 2048 : 4096) : (options.quick ? 512 : 1024);
  ceilings.matrix_f32 = product_rate(bench, DType::f32, size_f32);
  tell(format_text("f32 product of {} x {}", size_f32, size_f32), ceilings.matrix_f32,
       gpu ? 1e12 : 1e9, gpu ? "TFLOP/s" : "GFLOP/s");
  if (gpu) {
    const std::int64_t size_bf16 = options.quick ? 4096 : 8192;
    ceilings.matrix_bf16 = product_rate(bench, DType::bf16, size_bf16);
    tell(format_text("bf16 product of {} x {}", size_bf16, size_bf16), ceilings.matrix_bf16, 1e12,
         "TFLOP/s");

    const std::int64_t bytes = mebibyte * (options.quick ? 128 : 512);
    const HostBlock host(bytes, true, "the benchmark's copies");
    const Tensor device = bench.zeros(DType::u8, {bytes});
    const auto rate = [&](void* to, const void* from) {
      const double seconds = bench.seconds([&] { copy_bytes(bench.context(), to, from, bytes); });
      return static_cast<double>(bytes) / seconds;
    };
    ceilings.link_read = rate(device.data(), host.data());
    tell("page-locked copy, host to device", ceilings.link_read, 1e9, "GB/s");
    ceilings.link_write = rate(host.data(), device.data());
    tell("page-locked copy, device to host", ceilings.link_write, 1e9, "GB/s");
    ceilings.link_both = two_way_rate(bench, host.data(), device.data(), bytes);
    tell("both at once, sum", ceilings.link_both, 1e9, "GB/s");
  }
  return ceilings;
}

}  // namespace memengine::bench
