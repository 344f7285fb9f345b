// One test case, every device: fixture and helpers for op tests.
//
// A test draws its inputs as vectors of double, puts them on the device in the dtype under test,
// runs the op on poisoned outputs, reads the result back as double, and compares it with a
// reference computed in double from the same (rounded) inputs. Instantiate with
//
//     INSTANTIATE_TEST_SUITE_P(Devices, MyOp, op_test_devices(), op_test_name);
//
// which gives CPU f64, CPU f32 and, where the build and the machine have a GPU, CUDA f32 and bf16.
//
// Inputs are other ones in every run (fresh_seed.h).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/runtime.h"
#include "tests/support/fresh_seed.h"

namespace memengine {

struct OpTestDevice {
  Device device;
  DType dtype;  // of activations
};

inline auto op_test_devices() {
  std::vector<OpTestDevice> devices = {{Device::cpu, DType::f64}, {Device::cpu, DType::f32}};
  if (choose_device("auto") == Device::cuda) {
    devices.push_back({Device::cuda, DType::f32});
    devices.push_back({Device::cuda, DType::bf16});
  }
  return testing::ValuesIn(devices);
}

inline std::string op_test_name(const testing::TestParamInfo<OpTestDevice>& info) {
  return std::string(info.param.device == Device::cpu ? "cpu_" : "cuda_") +
         dtype_name(info.param.dtype);
}

class OpTest : public testing::TestWithParam<OpTestDevice> {
 protected:
  OpTest() : runtime_(GetParam().device) {
    random_.seed(seed_.value);
    runtime_.reserve_scratch(std::int64_t{64} << 20);
  }

  Context& context() { return runtime_.context(); }
  DType dtype() const { return GetParam().dtype; }
  // The dtype of statistics and parameter gradients beside activations of dtype().
  DType accumulator() const { return dtype() == DType::f64 ? DType::f64 : DType::f32; }
  void reserve_scratch(std::int64_t bytes) { runtime_.reserve_scratch(bytes); }

  // Relative error that the dtype under test may show.
  double tolerance() const {
    switch (dtype()) {
      case DType::f64:
        return 1e-12;
      case DType::bf16:
        return 1e-2;
      default:
        return 1e-5;
    }
  }

  std::vector<double> normal(std::int64_t count, double deviation = 1.0) {
    std::normal_distribution<double> draw(0.0, deviation);
    std::vector<double> values(static_cast<std::size_t>(count));
    for (double& value : values) value = draw(random_);
    return values;
  }
  std::int64_t integer(std::int64_t low, std::int64_t high) {  // inclusive
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }

  // Memory on the device for the length of the test, filled with NaN (or 0x7f bytes).
  Tensor poisoned(DType dtype, std::initializer_list<std::int64_t> shape) {
    Tensor planned = Arena().allocate("test", dtype, shape);
    arenas_.push_back(std::make_unique<Arena>(GetParam().device, planned.bytes() + 256));
    Tensor tensor = arenas_.back()->allocate("test", dtype, shape);
    const int poison = dtype == DType::i32 || dtype == DType::u8 ? 0x7f : 0xff;
    const std::vector<unsigned char> bytes(static_cast<std::size_t>(tensor.bytes()),
                                           static_cast<unsigned char>(poison));
    copy_bytes(context(), tensor.data(), bytes.data(), tensor.bytes());
    runtime_.synchronize();
    return tensor;
  }
  Tensor zeros(DType dtype, std::initializer_list<std::int64_t> shape) {
    Tensor tensor = poisoned(dtype, shape);
    fill_zero(context(), tensor);
    return tensor;
  }

  // A device tensor with these values. `values` is rounded in place to what the dtype can hold, so
  // that a reference computed from it sees the same inputs.
  Tensor upload(DType dtype, std::initializer_list<std::int64_t> shape,
                std::vector<double>& values) {
    Tensor tensor = poisoned(dtype, shape);
    EXPECT_EQ(tensor.size(), static_cast<std::int64_t>(values.size()));
    std::vector<unsigned char> bytes(static_cast<std::size_t>(tensor.bytes()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      switch (dtype) {
        case DType::f64:
          store(bytes, i, values[i]);
          break;
        case DType::f32:
          store(bytes, i, static_cast<float>(values[i]));
          break;
        case DType::bf16:
          store(bytes, i, to_bfloat16(static_cast<float>(values[i])));
          break;
        case DType::i32:
          store(bytes, i, static_cast<std::int32_t>(values[i]));
          break;
        case DType::u8:
          store(bytes, i, static_cast<std::uint8_t>(values[i]));
          break;
      }
    }
    copy_bytes(context(), tensor.data(), bytes.data(), tensor.bytes());
    runtime_.synchronize();
    values = download(tensor);
    return tensor;
  }
  Tensor upload(DType dtype, std::initializer_list<std::int64_t> shape,
                const std::vector<std::int32_t>& values) {
    std::vector<double> doubles(values.begin(), values.end());
    return upload(dtype, shape, doubles);
  }

  // The tensor's elements, after waiting for the device.
  std::vector<double> download(Tensor tensor) {
    std::vector<unsigned char> bytes(static_cast<std::size_t>(tensor.bytes()));
    copy_bytes(context(), bytes.data(), tensor.data(), tensor.bytes());
    runtime_.synchronize();
    std::vector<double> values(static_cast<std::size_t>(tensor.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      switch (tensor.dtype()) {
        case DType::f64:
          values[i] = load<double>(bytes, i);
          break;
        case DType::f32:
          values[i] = load<float>(bytes, i);
          break;
        case DType::bf16:
          values[i] = to_float(load<bfloat16>(bytes, i));
          break;
        case DType::i32:
          values[i] = load<std::int32_t>(bytes, i);
          break;
        case DType::u8:
          values[i] = load<std::uint8_t>(bytes, i);
          break;
      }
    }
    return values;
  }
  std::vector<std::int32_t> download_integers(Tensor tensor) {
    const std::vector<double> values = download(tensor);
    return {values.begin(), values.end()};
  }

  // ||actual - expected|| / ||expected|| is at most `bound` (tolerance() when not given).
  void expect_close(const std::vector<double>& actual, const std::vector<double>& expected,
                    double bound = -1) {
    ASSERT_EQ(actual.size(), expected.size());
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
    const double error = std::sqrt(difference / std::max(norm, 1e-300));
    EXPECT_LE(error, bound < 0 ? tolerance() : bound) << "relative error";  // NaN fails too
  }

  Runtime runtime_;
  std::mt19937_64 random_;

 private:
  template <typename T>
  static void store(std::vector<unsigned char>& bytes, std::size_t i, T value) {
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  template <typename T>
  static T load(const std::vector<unsigned char>& bytes, std::size_t i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  }

  FreshSeed seed_;
  std::deque<std::unique_ptr<Arena>> arenas_;
};

// d(scalar)/d(x) by central differences in double, for checking a backward pass: relative error of
// the analytic gradient must be at most 1e-6.
template <typename Scalar>
std::vector<double> finite_differences(std::vector<double> x, Scalar&& scalar, double step = 1e-5) {
  std::vector<double> gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + step;
    const double above = scalar(x);
    x[i] = kept - step;
    const double below = scalar(x);
    x[i] = kept;
    gradient[i] = (above - below) / (2 * step);
  }
  return gradient;
}

}  // namespace memengine
