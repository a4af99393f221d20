# Makes plain imported targets of libtorch.
#
# find_package(Torch) of the PyPI package wants a CUDA toolkit and switches the CUDA language on. The
# runner needs neither, because it calls ATen operators, which dispatch to CUDA at run time where
# libtorch_cuda.so is present. So the libraries are linked directly, and a program of the CPU flavour
# needs no driver.
#
# KVTUNE_TORCH_ROOT (the scripts pass it) is looked at first, then Torch_DIR (-D or environment).
if(NOT KVTUNE_TORCH_ROOT)
  if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
    set(Torch_DIR "$ENV{Torch_DIR}")
  endif()
  if(Torch_DIR)
    get_filename_component(KVTUNE_TORCH_ROOT "${Torch_DIR}/../../.." ABSOLUTE)
  endif()
endif()
if(NOT EXISTS "${KVTUNE_TORCH_ROOT}/include/ATen/ATen.h")
  message(FATAL_ERROR "libtorch: found no include/ATen/ATen.h under '${KVTUNE_TORCH_ROOT}'. "
    "Run scripts/setup.sh, or give -DKVTUNE_TORCH_ROOT=DIR or -DTorch_DIR=DIR/share/cmake/Torch, "
    "or -DKVTUNE_WITH_TORCH=OFF to build the libraries that do without.")
endif()
message(STATUS "libtorch: ${KVTUNE_TORCH_ROOT}")

foreach(library c10 torch_cpu)
  add_library(torch::${library} SHARED IMPORTED)
  set_target_properties(torch::${library} PROPERTIES
    IMPORTED_LOCATION "${KVTUNE_TORCH_ROOT}/lib/lib${library}.so"
    INTERFACE_INCLUDE_DIRECTORIES "${KVTUNE_TORCH_ROOT}/include"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${KVTUNE_TORCH_ROOT}/include")
endforeach()
add_library(kvtune_torch INTERFACE)
target_link_libraries(kvtune_torch INTERFACE torch::torch_cpu torch::c10)

# The pip package puts NVIDIA's libraries beside torch/. libtorch_cpu.so finds them through its own
# RPATH at run time, but the linker needs to be told.
file(GLOB KVTUNE_NVIDIA_LIBRARY_DIRS "${KVTUNE_TORCH_ROOT}/../nvidia/*/lib")
foreach(directory ${KVTUNE_NVIDIA_LIBRARY_DIRS})
  target_link_options(kvtune_torch INTERFACE "LINKER:-rpath-link,${directory}")
endforeach()
# Shared libraries that libtorch leaves to the toolkit's own folder resolve at run time.
target_link_options(kvtune_torch INTERFACE "LINKER:--allow-shlib-undefined")

# Nothing of ours names a symbol of libtorch_cuda.so, whose operators register themselves when it is
# loaded. So the CUDA flavour must link it although it looks unused. The slim CPU set of packages has
# that file too, but not the libraries that it needs.
set(KVTUNE_CUDA "auto" CACHE STRING "Link libtorch's CUDA backend: auto, on, off")
set(KVTUNE_CUDNN_LIBRARIES "")
file(GLOB KVTUNE_CUDNN_LIBRARIES "${KVTUNE_TORCH_ROOT}/../nvidia/cudnn/lib/libcudnn.so*")
if(KVTUNE_CUDA STREQUAL "auto")
  set(KVTUNE_LINK_CUDA OFF)
  if(KVTUNE_CUDNN_LIBRARIES AND EXISTS "${KVTUNE_TORCH_ROOT}/lib/libtorch_cuda.so")
    set(KVTUNE_LINK_CUDA ON)
  endif()
else()
  set(KVTUNE_LINK_CUDA "${KVTUNE_CUDA}")
endif()
if(KVTUNE_LINK_CUDA)
  target_link_options(kvtune_torch INTERFACE
    "LINKER:--push-state,--no-as-needed"
    "${KVTUNE_TORCH_ROOT}/lib/libtorch_cuda.so" "${KVTUNE_TORCH_ROOT}/lib/libc10_cuda.so"
    "LINKER:--pop-state")
endif()
message(STATUS "libtorch CUDA backend: ${KVTUNE_LINK_CUDA}")

# Kernels of our own need nvcc, so only -DKVTUNE_CUDA=ON asks for them. The CUDA language is switched on
# here, in the top directory's scope, because every program that links the kernels needs it.
set(KVTUNE_CUDA_KERNELS OFF)
if(KVTUNE_LINK_CUDA AND NOT KVTUNE_CUDA STREQUAL "auto")
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)  # with PTX, which newer devices compile
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    # CMake 3.25 does not know that nvcc 13 has this dialect.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(KVTUNE_CUDA_KERNELS ON)
endif()
message(STATUS "CUDA kernels: ${KVTUNE_CUDA_KERNELS}")
