# Where CUDA's headers are, and how a .cu file is compiled.
#
# TETRARCH_CUDA  ON        by nvcc, linked with CUDA's libraries
#                EMULATED  by the C++ compiler, linked with tests/emulated
# SPDX-License-Identifier: Apache-2.0
add_library(tetrarch_cuda_headers INTERFACE)
add_library(tetrarch::cuda_headers ALIAS tetrarch_cuda_headers)
if(TETRARCH_CUDA STREQUAL "ON")
  find_package(CUDAToolkit REQUIRED)
  target_include_directories(tetrarch_cuda_headers SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
else()
  find_program(TETRARCH_NVCC nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(TETRARCH_NVCC)
  cmake_path(GET TETRARCH_NVCC PARENT_PATH nvcc_folder)
  find_path(TETRARCH_CUDA_INCLUDE_DIR cuda_runtime_api.h REQUIRED
    HINTS ${nvcc_folder}/../include ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda
    PATH_SUFFIXES include
    DOC "The folder of cuda_runtime_api.h, cublasLt.h and cuda_bf16.h")
  target_include_directories(tetrarch_cuda_headers SYSTEM INTERFACE ${TETRARCH_CUDA_INCLUDE_DIR})
endif()

# tetrarch_cuda_sources(TARGET FILE.cu...) adds kernels to a target.
function(tetrarch_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  if(TETRARCH_CUDA STREQUAL "ON")
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CUDA)
    # CMake 3.25 does not know that nvcc 13 has C++20, so the option is written out.
    # No contraction of a * b + c: as the C++ compiler of the CPU backend is told.
    target_compile_options(${target} PRIVATE
      "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;-fmad=false>")
    return()
  endif()
  # LANGUAGE CXX also tells the compiler to take the file for C++ (-x c++).
  # Loads of 16 bytes read arrays through pointers of other types, which nvcc allows.
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
    "-include;emulated/device.hpp;-fno-strict-aliasing;-ffp-contract=off")
  target_link_libraries(${target} PRIVATE tetrarch::emulated_device)
endfunction()
