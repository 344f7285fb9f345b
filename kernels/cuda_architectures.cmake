# For which GPUs the CUDA sources are compiled -> CMAKE_CUDA_ARCHITECTURES, memengine_hopper_code.
#
#   -DCMAKE_CUDA_ARCHITECTURES=86        what is asked for, in CMake's own words (86-real, 80-virtual)
#   not given, a GPU is here             that GPU
#   not given, no GPU is here            every GPU from Ampere on that this toolkit knows
#
# Kernels that exist for Hopper alone (sm_90a) are added where 9.0 is in the list as machine code.

if(NOT CMAKE_CUDA_ARCHITECTURES)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE gpus ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]+" gpus "${gpus}")
  string(REPLACE "." "" gpus "${gpus}")
  list(REMOVE_DUPLICATES gpus)
  if(gpus)
    set(CMAKE_CUDA_ARCHITECTURES ${gpus})
  else()
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known)
    set(CMAKE_CUDA_ARCHITECTURES 80-real)
    set(newest 80)
    foreach(capability 86 89 90 100 120)
      if(known MATCHES "compute_${capability}\n")
        list(APPEND CMAKE_CUDA_ARCHITECTURES ${capability}-real)
        set(newest ${capability})
      endif()
    endforeach()
    list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)  # for GPUs that are yet to come
  endif()
endif()
# The Hopper kernels have an architecture of their own; all else is compiled for plain 9.0.
list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90a" "90")
set(memengine_hopper_code OFF)
foreach(architecture ${CMAKE_CUDA_ARCHITECTURES})
  if(architecture MATCHES "^90(-real)?$")
    set(memengine_hopper_code ON)
  endif()
endforeach()
list(JOIN CMAKE_CUDA_ARCHITECTURES ", " listed)
message(STATUS "GPU code for ${listed}; Hopper kernels: ${memengine_hopper_code}")
