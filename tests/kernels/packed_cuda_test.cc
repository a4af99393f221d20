// The packed cache on a GPU against the one on the CPU. It is built with the CUDA kernels only, and
// skipped where there is no device.
#include "lib/kernels/cuda/packed_cuda.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "lib/kernels/packed_cpu.h"
#include "tests/kernels/packed_case.h"

namespace kvtune {
namespace {

// Memory of the device with the bytes of a vector.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& x) : bytes_(x.size() * sizeof(T)) {
    if (cudaMalloc(&data_, bytes_ == 0 ? 1 : bytes_) != cudaSuccess)
      throw std::runtime_error("found no memory on the device for this test");
    cudaMemcpy(data_, x.data(), bytes_, cudaMemcpyHostToDevice);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> Read() const {
    std::vector<T> x(bytes_ / sizeof(T));
    cudaMemcpy(x.data(), data_, bytes_, cudaMemcpyDeviceToHost);
    return x;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

// The memory of a case on the device.
struct DeviceCase {
  OnDevice<uint8_t> pages, windows;
  OnDevice<int32_t> page_table, tokens;
  OnDevice<uint16_t> keys, values, query, out;

  explicit DeviceCase(const PackedCase& sample)
      : pages(sample.pages),
        windows(sample.windows),
        page_table(sample.page_table),
        tokens(sample.tokens),
        keys(sample.keys),
        values(sample.values),
        query(sample.query),
        out(std::vector<uint16_t>(sample.query.size(), 0x7fc0)) {}

  PackedCache CacheOf(PackedCase& sample) const {
    PackedCache cache = sample.Cache();
    cache.pages = pages.data();
    cache.windows = windows.data();
    cache.page_table = page_table.data();
    cache.tokens = tokens.data();
    return cache;
  }
};

class PackedCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device";
  }
};

// Fills both caches, expects the same bytes, and returns the largest difference of the results in
// units of the result's own size (the root of its mean square over all channels of the head).
double Compare(PackedCase& sample, PackedQuery query, int64_t blocks = 0,
               const PackedUnits& units = {}) {
  const DeviceCase device(sample);
  PackedCache on_device = device.CacheOf(sample);
  on_device.units = units;
  FillOnCpu(sample.Cache(), sample.All());
  FillOnCuda(on_device, {device.keys.data(), device.values.data(), sample.most_tokens}, {});
  EXPECT_EQ(device.pages.Read(), sample.pages);
  EXPECT_EQ(device.windows.Read(), sample.windows);

  std::vector<uint16_t> expected(sample.query.size());
  query.query_heads = sample.query_heads;
  const float* sinks = query.sinks;
  const OnDevice<float> sinks_on_device(sinks == nullptr
                                            ? std::vector<float>()
                                            : std::vector<float>(sinks, sinks + query.query_heads));
  query.query = sample.query.data();
  query.out = expected.data();
  AttendOnCpu(sample.Cache(), query);
  query.query = device.query.data();
  query.out = device.out.data();
  query.sinks = sinks == nullptr ? nullptr : sinks_on_device.data();
  const PackedSplits splits = SplitsOnCuda(on_device, query, {}, blocks);
  const OnDevice<float> scratch(std::vector<float>(
      static_cast<size_t>(ScratchFloats(on_device, query, splits)), std::nanf("")));
  AttendOnCuda(on_device, query, splits, scratch.data(), {});
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<uint16_t> found = device.out.Read();
  const auto head_dim = static_cast<size_t>(sample.layout.head_dim);
  double worst = 0;
  for (size_t row = 0; row < found.size(); row += head_dim) {
    double square = 0, difference = 0;
    for (size_t c = row; c < row + head_dim; ++c) {
      const double x = FromBFloat16(expected[c]);
      square += x * x;
      const double d = std::abs(x - FromBFloat16(found[c]));
      if (!(d <= difference)) difference = d;
    }
    const double size = std::sqrt(square / static_cast<double>(head_dim));
    const double relative = size > 0 ? difference / size : difference;
    if (!(relative <= worst)) worst = relative;
  }
  return worst;
}

// A result in bfloat16 may be 2^-8 of itself away, the largest channels of a head are three to four
// times its size, and the CPU rounds every key and value to bfloat16.
constexpr double kTolerance = 0.03;

TEST_F(PackedCuda, EveryPairAndShapeIsThatOfTheCpu) {
  double worst = 0;
  for (const PrecisionPair pair : PackedPairs()) {
    for (const int64_t head_dim : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t queries : {1, 2, 4, 7, 8, 16}) {
        SCOPED_TRACE(PairLabel(pair) + " head_dim " + std::to_string(head_dim) + " queries " +
                     std::to_string(queries));
        PackedCase sample(
            pair, head_dim, queries < 4 ? 2 : 1, queries,
            {1, 31, 32, 33, 127, queries == 4 ? 4096 : 700, queries == 4 ? 8191 : 515, 0});
        const double difference =
            Compare(sample, {.scale = 1 / std::sqrt(static_cast<float>(head_dim))});
        EXPECT_LE(difference, kTolerance);
        worst = std::max(worst, difference);
      }
    }
  }
  RecordProperty("largest_difference", std::to_string(worst));
  std::printf("largest difference: %.5f of a head's size\n", worst);
}

TEST_F(PackedCuda, WindowsSinksSoftCapsAndSplitsAreThoseOfTheCpu) {
  const std::vector<float> sinks = {0.5f, -1, 2, 0, 0.1f, 3, -2, 1};
  for (const PrecisionPair pair : {PrecisionPair{KvFormatId::kInt4, KvFormatId::kInt2},
                                   PrecisionPair{KvFormatId::kInt8, KvFormatId::kInt4},
                                   PrecisionPair{KvFormatId::kKiviInt4, KvFormatId::kKiviInt8},
                                   PrecisionPair{KvFormatId::kExact, KvFormatId::kExact},
                                   PrecisionPair{KvFormatId::kFp8E4m3, KvFormatId::kFp8E4m3}}) {
    for (const int64_t window : {0, 1, 5, 33, 64, 100, 1000}) {
      for (const int64_t blocks : {0, 1, 7, 10'000}) {
        SCOPED_TRACE(PairLabel(pair) + " window " + std::to_string(window) + " blocks " +
                     std::to_string(blocks));
        PackedCase sample(pair, 128, 2, 4, {1, 31, 96, 130, 1501});
        EXPECT_LE(Compare(sample, {.scale = 0.1f, .soft_cap = 3, .sliding_window = window}, blocks),
                  kTolerance);
        EXPECT_LE(Compare(sample, {.scale = 0.1f, .sliding_window = window, .sinks = sinks.data()},
                          blocks),
                  kTolerance);
      }
    }
  }
}

// Sequences that begin with the same pages, each of which has them, against the CPU, which reads
// each sequence by itself.
TEST_F(PackedCuda, SequencesThatAreReadTogetherAreThoseOfTheCpu) {
  const std::vector<int32_t> lengths = {200, 150, 129, 300, 66, 70, 0, 191};
  for (const PrecisionPair pair : PackedPairs()) {
    for (const int64_t queries : {1, 2, 4}) {
      // Of each unit: sequences, same pages.
      using Units = std::vector<std::pair<int64_t, int64_t>>;
      const Units units = queries == 1   ? Units{{4, 2}, {2, 0}, {2, 0}}
                          : queries == 2 ? Units{{3, 2}, {1, 0}, {2, 1}, {2, 0}}
                                         : Units{{2, 2}, {2, 1}, {1, 0}, {1, 0}, {2, 0}};
      for (const int64_t blocks : {0, 1, 7, 10'000}) {
        SCOPED_TRACE(PairLabel(pair) + " queries " + std::to_string(queries) + " blocks " +
                     std::to_string(blocks));
        PackedCase sample(pair, 128, 2, queries, lengths);
        std::vector<int64_t> numbers, of_sequence;
        int64_t sequence = 0, most_pages = 0;
        for (const auto& [count, same] : units) {
          numbers.insert(numbers.end(), {sequence, count, same});
          most_pages = std::max(most_pages, same + count * (sample.PagesPerSequence() - same));
          for (int64_t i = 0; i < count; ++i) {
            of_sequence.push_back(static_cast<int64_t>(numbers.size()) / 3 - 1);
            sample.CopyTokens(sequence, sequence + i, same * kPageTokens);
          }
          sequence += count;
        }
        const OnDevice<int64_t> device_numbers(numbers), device_of_sequence(of_sequence);
        EXPECT_LE(Compare(sample, {.scale = 0.09f}, blocks,
                          {device_numbers.data(), device_of_sequence.data(), std::ssize(units),
                           most_pages}),
                  kTolerance);
      }
    }
  }
}

TEST_F(PackedCuda, AppendingAndFlushingGiveTheBytesOfTheCpu) {
  for (const PrecisionPair pair : PackedPairs()) {
    for (const int64_t head_dim : {64, 96}) {
      SCOPED_TRACE(PairLabel(pair));
      PackedCase sample(pair, head_dim, 2, 1, {70, 1, 64, 33});
      const std::vector<int32_t> last = sample.tokens;
      const DeviceCase device(sample);
      for (int32_t step = 1; step <= 70; ++step) {
        for (size_t s = 0; s < last.size(); ++s) sample.tokens[s] = std::min(step, last[s]);
        const std::vector<uint16_t> keys = sample.Newest(sample.keys, sample.tokens);
        const std::vector<uint16_t> values = sample.Newest(sample.values, sample.tokens);
        AppendOnCpu(sample.Cache(), {keys.data(), values.data(), 1});
        FlushOnCpu(sample.Cache());
        const OnDevice<uint16_t> device_keys(keys), device_values(values);
        const OnDevice<int32_t> tokens(sample.tokens);
        PackedCache cache = device.CacheOf(sample);
        cache.tokens = tokens.data();
        AppendOnCuda(cache, {device_keys.data(), device_values.data(), 1}, {});
        FlushOnCuda(cache, {});
      }
      EXPECT_EQ(device.pages.Read(), sample.pages);
      EXPECT_EQ(device.windows.Read(), sample.windows);
    }
  }
}

}  // namespace
}  // namespace kvtune
