// Vectors as wide as the processor that is compiled for has them, in GCC's and clang's notation.
#pragma once

#include <cstdint>
#include <cstring>

namespace memengine {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif
inline constexpr bool many_vector_registers = vector_bytes == 64;  // 32, not 16

template <typename T>
struct Vector {
  typedef T Type __attribute__((vector_size(vector_bytes)));
  static constexpr int lanes = vector_bytes / sizeof(T);
};

// From memory, however aligned; all lanes, or the first `count` with zeros after them.
template <typename T>
inline void load(typename Vector<T>::Type& vector, const T* from) {
  std::memcpy(&vector, from, sizeof vector);
}
template <typename T>
inline void load(typename Vector<T>::Type& vector, const T* from, std::int64_t count) {
  vector = typename Vector<T>::Type{};
  std::memcpy(&vector, from, static_cast<std::size_t>(count) * sizeof(T));
}

}  // namespace memengine
