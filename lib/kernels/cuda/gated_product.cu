// The product runs on the matrix units of Hopper as described in NVIDIA's PTX ISA (wgmma, mbarrier,
// cp.async.bulk.tensor). A block has one warpgroup that copies tiles of both matrices into shared
// memory, several steps ahead, and two that multiply 64 rows of a tile each. The two blocks of a
// cluster take neighbouring rows of the same columns, and each copies half of the weights for both.
#include <cuda.h>

#include <algorithm>

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/gated_product.h"

namespace kvtune {
namespace {

constexpr char kDoing[] = "running a layer";

constexpr int kMultipliers = 2;                 // warpgroups of a block that multiply
constexpr int kOwnRows = 64;                    // of a tile, which one of them multiplies
constexpr int kRows = kOwnRows * kMultipliers;  // of a tile
constexpr int kColumns = 128;                   // of a tile, each with a gate and an up
constexpr int kDepth = 64;                      // channels of a step, 128 bytes
constexpr int kStages = 4;                      // steps in shared memory
constexpr int kCluster = 2;                     // blocks
constexpr int kThreads = 128 * (kMultipliers + 1);
constexpr int kSums = kColumns;    // of a thread: half of them gates, half ups
constexpr int kStoreColumns = 64;  // of one copy to the result, 128 bytes
constexpr int kGroupRows = 8;      // tiles of clusters that go through the columns together

template <typename T>
struct Stage {
  T rows[kRows * kDepth];
  T weights[2 * kColumns * kDepth];  // of gates, then of ups
};

template <typename T>
struct Shared {
  Stage<T> stages[kStages];
  T results[kMultipliers][kOwnRows * kColumns];
  uint64_t filled[kStages], read[kStages];
};

__device__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ void InitBarrier(uint64_t& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(&barrier)),
               "r"(arrivals));
}

// Arrives and makes the barrier wait for so many bytes.
__device__ void ExpectBytes(uint64_t& barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(&barrier)),
      "r"(bytes)
      : "memory");
}

// Arrives at the barrier of a block of the cluster. A release at the scope of the cluster would
// wait for all memory accesses of the thread; what the barrier is about are those of the matrix
// units, which are over.
__device__ void ArriveAt(uint64_t& barrier, uint32_t block) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(SharedAddress(&barrier)),
      "r"(block)
      : "memory");
}

__device__ void Await(uint64_t& barrier, uint32_t parity) {
  uint32_t passed = 0;
  while (passed == 0) {
    asm volatile(
        "{\n"
        ".reg .pred passed;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 passed, [%1], %2;\n"
        "selp.b32 %0, 1, 0, passed;\n"
        "}\n"
        : "=r"(passed)
        : "r"(SharedAddress(&barrier)), "r"(parity)
        : "memory");
  }
}

// Copies a box of the matrix from (row, column) on; elements outside of the matrix become 0.
__device__ void CopyBox(const CUtensorMap& matrix, int column, int row, void* to,
                        uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(SharedAddress(to)),
      "l"(&matrix), "r"(column), "r"(row), "r"(SharedAddress(&barrier))
      : "memory");
}

// The same to all blocks of the cluster.
__device__ void CopyBoxToCluster(const CUtensorMap& matrix, int column, int row, void* to,
                                 uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(SharedAddress(to)),
      "l"(&matrix), "r"(column), "r"(row), "r"(SharedAddress(&barrier)),
      "h"(static_cast<uint16_t>((1 << kCluster) - 1))
      : "memory");
}

// Copies a box to the matrix, without what lies outside of it.
__device__ void StoreBox(const CUtensorMap& matrix, int column, int row, const void* from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&matrix),
      "r"(column), "r"(row), "r"(SharedAddress(from))
      : "memory");
}

__device__ uint32_t BlockOfCluster() {
  uint32_t block;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(block));
  return block;
}

__device__ void SyncCluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// Synchronizes one of the warpgroups that multiply.
__device__ void SyncMultiplier(int multiplier) {
  asm volatile("bar.sync %0, 128;" ::"r"(multiplier + 1) : "memory");
}

// Describes a tile in shared memory to wgmma: rows of 128 bytes, swizzled by 128 bytes, eight rows
// every 1,024 bytes.
__device__ uint64_t DescriptorOf(const void* tile) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightRows | uint64_t{1} << 16 | (SharedAddress(tile) & 0x3ffff) / 16;
}

#define KVTUNE_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define KVTUNE_SUMS_16(i) \
  KVTUNE_SUMS_4(i), KVTUNE_SUMS_4(i + 4), KVTUNE_SUMS_4(i + 8), KVTUNE_SUMS_4(i + 12)
#define KVTUNE_SUMS_64(i) \
  KVTUNE_SUMS_16(i), KVTUNE_SUMS_16(i + 16), KVTUNE_SUMS_16(i + 32), KVTUNE_SUMS_16(i + 48)
// 64 x 256 sums of 16 channels. `adds` is 0 where the sums begin.
#define KVTUNE_MULTIPLY(type)                                                                  \
  asm volatile(                                                                                \
      "{\n"                                                                                    \
      ".reg .pred adds;\n"                                                                     \
      "setp.ne.b32 adds, %130, 0;\n"                                                           \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type                             \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "               \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "       \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "       \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "       \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "       \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "       \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, " \
      "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, "   \
      "%125, %126, %127}, %128, %129, adds, 1, 1, 0, 0;\n"                                     \
      "}\n"                                                                                    \
      : KVTUNE_SUMS_64(0), KVTUNE_SUMS_64(64)                                                  \
      : "l"(rows), "l"(weights), "r"(adds))

template <typename T>
__device__ void Multiply(uint64_t rows, uint64_t weights, int adds, float (&sums)[kSums]);
template <>
__device__ void Multiply<__nv_bfloat16>(uint64_t rows, uint64_t weights, int adds,
                                        float (&sums)[kSums]) {
  KVTUNE_MULTIPLY("bf16");
}
template <>
__device__ void Multiply<__half>(uint64_t rows, uint64_t weights, int adds, float (&sums)[kSums]) {
  KVTUNE_MULTIPLY("f16");
}

template <int kMost>
__device__ void AwaitProducts() {  // all but the newest kMost steps
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kMost) : "memory");
}

// The stage of a step, and whether the stages have been gone through an odd number of times.
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// The tiles of clusters in the order in which they are taken: down some rows, then to the next
// column, so that what clusters read at one time stays in the level-2 cache.
struct Tiles {
  int rows, columns;  // how many
  int first, step;

  __device__ int count() const { return rows * columns; }
  __device__ int2 At(int tile) const {
    const int of_group = kGroupRows * columns;
    const int first_row = tile / of_group * kGroupRows, place = tile % of_group;
    const int group_rows = min(kGroupRows, rows - first_row);
    return {place / group_rows, first_row + place % group_rows};  // column, row
  }
};

// x * sigmoid(slope): SiLU where the slope is x; GELU with tanh(y) where it is 2 y, since
// (1 + tanh(y)) / 2 is sigmoid(2 y). The card's own units compute it, because the matrix units wait
// meanwhile; what they are off by is lost in rounding to 16 bits, but for one in many thousands.
template <Activation kActivation>
__device__ float Activate(float x) {
  constexpr float kBeta = 0.7978845608028654f;  // sqrt(2 / pi)
  const float slope =
      kActivation == Activation::kSilu ? x : 2 * kBeta * (x + 0.044715f * x * x * x);
  float share;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(share) : "f"(1 + Exp2(-kLog2E * slope)));
  return x * share;
}

template <typename T>
__device__ auto PairOf(float2 pair) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float22half2_rn(pair);
  } else {
    return __float22bfloat162_rn(pair);
  }
}
__device__ float2 Wide(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }
__device__ float2 Wide(__half2 pair) { return __half22float2(pair); }

// The result of two neighbouring columns.
template <typename T, Activation kActivation>
__device__ uint32_t GatedPair(float2 gates, float2 ups) {
  const float2 gate = Wide(PairOf<T>(gates)), up = Wide(PairOf<T>(ups));
  const float2 active =
      Wide(PairOf<T>({Activate<kActivation>(gate.x), Activate<kActivation>(gate.y)}));
  return AsBits(PairOf<T>({active.x * up.x, active.y * up.y}));
}

// Copies every tile that the block needs into shared memory, as soon as a stage has been read.
template <typename T>
__device__ void CopyTiles(const CUtensorMap& rows, const CUtensorMap& weights, int width, int steps,
                          Tiles tiles, Shared<T>& shared) {
  const auto block = static_cast<int>(BlockOfCluster());
  Turn turn;
  for (int tile = tiles.first; tile < tiles.count(); tile += tiles.step) {
    const int2 at = tiles.At(tile);
    const int first_row = (at.y * kCluster + block) * kRows;
    const int first_weight = at.x * kColumns + block * width;  // a block copies gates or ups
    for (int step = 0; step < steps; ++step) {
      Stage<T>& stage = shared.stages[turn.stage];
      uint64_t& filled = shared.filled[turn.stage];
      Await(shared.read[turn.stage], turn.parity ^ 1);
      ExpectBytes(filled, sizeof(Stage<T>));
      CopyBox(rows, step * kDepth, first_row, stage.rows, filled);
      CopyBoxToCluster(weights, step * kDepth, first_weight,
                       stage.weights + block * kColumns * kDepth, filled);
      turn.Next();
    }
  }
}

// Multiplies 64 rows of every tile of the block.
template <typename T, Activation kActivation>
__device__ void MultiplyTiles(const CUtensorMap& out, int steps, Tiles tiles, Shared<T>& shared) {
  const int multiplier = static_cast<int>(threadIdx.x) / 128;
  const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
  const auto block = static_cast<int>(BlockOfCluster());
  T* results = shared.results[multiplier];
  // Where this thread's row of the matrices of stmatrix begins, and which of their columns it has.
  const int result_row = thread / 32 * 16 + lane / 8 % 2 * 8 + lane % 8;
  const uint32_t result_address = SharedAddress(results) + result_row * kStoreColumns * sizeof(T);
  const int result_column = lane / 16;  // in units of eight
  float sums[kSums];
  Turn turn;
  for (int tile = tiles.first; tile < tiles.count(); tile += tiles.step) {
    for (int step = 0; step < steps; ++step) {
      const Stage<T>& stage = shared.stages[turn.stage];
      Await(shared.filled[turn.stage], turn.parity);
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      const uint64_t rows = DescriptorOf(stage.rows + multiplier * kOwnRows * kDepth);
      const uint64_t weights = DescriptorOf(stage.weights);
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)  // 16 channels are two units of a descriptor's address
        Multiply<T>(rows + 2 * k, weights + 2 * k, step + k, sums);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
      AwaitProducts<1>();  // the step before has been read
      if (step > 0 && thread < kCluster)
        ArriveAt(shared.read[(turn.stage + kStages - 1) % kStages], thread);
      turn.Next();
    }
    AwaitProducts<0>();
    if (thread < kCluster) ArriveAt(shared.read[(turn.stage + kStages - 1) % kStages], thread);

    // The results before have left shared memory.
    if (thread == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    SyncMultiplier(multiplier);
#pragma unroll
    for (int eight = 0; eight < kColumns / 8; eight += 2) {
      uint32_t pairs[4];  // of rows and rows + 8 of eight columns, then of the next eight
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int gate = eight * 4 + i * 2, up = gate + kSums / 2;
        pairs[i] =
            GatedPair<T, kActivation>({sums[gate], sums[gate + 1]}, {sums[up], sums[up + 1]});
      }
      const int column = eight + result_column;
      const uint32_t address = result_address + column / 8 * kOwnRows * kStoreColumns * sizeof(T) +
                               (column % 8 ^ result_row % 8) * 16;
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
          "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3])
          : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    SyncMultiplier(multiplier);
    if (thread == 0) {
      const int2 at = tiles.At(tile);
      const int row = (at.y * kCluster + block) * kRows + multiplier * kOwnRows;
      for (int half = 0; half < kColumns / kStoreColumns; ++half) {
        StoreBox(out, at.x * kColumns + half * kStoreColumns, row,
                 results + half * kOwnRows * kStoreColumns);
      }
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    }
  }
  if (thread == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

template <typename T, Activation kActivation>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    GatedProductKernel(const __grid_constant__ CUtensorMap rows,
                       const __grid_constant__ CUtensorMap weights,
                       const __grid_constant__ CUtensorMap out, int width, int steps, int tile_rows,
                       int tile_columns) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared<T>& shared = *reinterpret_cast<Shared<T>*>(memory);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      InitBarrier(shared.filled[stage], 1);
      InitBarrier(shared.read[stage], kMultipliers * kCluster);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  SyncCluster();
  const Tiles tiles{tile_rows, tile_columns, static_cast<int>(blockIdx.x) / kCluster,
                    static_cast<int>(gridDim.x) / kCluster};
  if (threadIdx.x / 128 == kMultipliers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x % 128 == 0) CopyTiles(rows, weights, width, steps, tiles, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    MultiplyTiles<T, kActivation>(out, steps, tiles, shared);
  }
  __syncwarp();
  SyncCluster();  // the other block may still write to this one's shared memory
#endif
}

// The driver's function that describes a matrix to the copy engine.
auto EncoderOfMatrices() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                     &found);
    if (found != cudaDriverEntryPointSuccess) {
      throw Error(std::string(kDoing) +
                  " on CUDA: found a driver without cuTensorMapEncodeTiled, expected one of CUDA "
                  "12 or newer");
    }
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encoder;
}

// A matrix of `rows` x `columns`, in boxes of box_rows x 128 bytes.
template <typename T>
CUtensorMap MatrixOf(const void* elements, int64_t rows, int64_t columns, int box_rows) {
  constexpr uint32_t kBoxColumns = 128 / sizeof(T);
  const uint64_t sizes[] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  const uint64_t stride = static_cast<uint64_t>(columns) * sizeof(T);
  const uint32_t box[] = {kBoxColumns, static_cast<uint32_t>(box_rows)}, steps[] = {1, 1};
  CUtensorMap matrix;
  const CUresult result =
      EncoderOfMatrices()(&matrix,
                          std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                    : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                          2, const_cast<void*>(elements), sizes, &stride, box, steps,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                          CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(std::string(kDoing) + " on CUDA: found error " +
                std::to_string(static_cast<int>(result)) + " for a matrix of " +
                std::to_string(rows) + " x " + std::to_string(columns) +
                ", expected one that the copy engine can read");
  }
  return matrix;
}

template <typename T, Activation kActivation>
void Launch(const CudaPlace& place, const CudaGatedProduct& product) {
  // Dynamic shared memory is aligned to 1,024 bytes where a kernel has no other.
  constexpr int kBytes = sizeof(Shared<T>);
  const auto kernel = GatedProductKernel<T, kActivation>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  int processors = 0;
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, place.device);
  const auto ceiling = [](int64_t count, int of_one) {
    return static_cast<int>((count + of_one - 1) / of_one);
  };
  const int tile_rows = ceiling(product.row_count, kRows * kCluster);
  const int tile_columns = ceiling(product.width, kColumns);
  const int clusters = std::min(processors / kCluster, tile_rows * tile_columns);
  kernel<<<static_cast<unsigned>(clusters * kCluster), kThreads, kBytes, StreamOf(place)>>>(
      MatrixOf<T>(product.rows, product.row_count, product.depth, kRows),
      MatrixOf<T>(product.weights, 2 * product.width, product.depth, kColumns),
      MatrixOf<T>(product.out, product.row_count, product.width, kOwnRows),
      static_cast<int>(product.width), ceiling(product.depth, kDepth), tile_rows, tile_columns);
}

}  // namespace

bool HasGatedProductOnHopper(ElementType type, int64_t depth, int64_t width) {
  // The copy engine wants rows that begin at multiples of 16 bytes.
  return type != ElementType::kFloat32 && depth % 8 == 0 && width % 8 == 0;
}

void GatedProductOnHopper(const CudaPlace& place, const CudaGatedProduct& product) {
  if (product.row_count == 0) return;
  const CurrentDevice current(place.device);
  WithHalfType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    if (product.activation == Activation::kSilu) {
      Launch<T, Activation::kSilu>(place, product);
    } else {
      Launch<T, Activation::kGeluTanh>(place, product);
    }
  });
  RequireLaunched(kDoing);
}

}  // namespace kvtune
