#include "lib/io/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "lib/base/error.h"
#include "lib/io/safetensors.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SafetensorsWriter, ReadsBack) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "scales.safetensors";
  const std::vector<Float32Tensor> tensors = {{"b", {}, {0.25f}}, {"a", {2, 1}, {3.0f, -4.5f}}};
  WriteSafetensors(path, tensors);
  const SafetensorsFile file(path);
  EXPECT_THAT(file.names(), ElementsAre("a", "b"));
  EXPECT_THAT(file.Get("b").shape, IsEmpty());
  for (const Float32Tensor& tensor : tensors) {
    const TensorView read = file.Get(tensor.name);
    EXPECT_EQ(read.type, TensorType::kFloat32);
    EXPECT_EQ(read.shape, tensor.shape);
    std::vector<float> values(tensor.values.size());
    ASSERT_EQ(read.bytes.size(), values.size() * sizeof(float));
    std::memcpy(values.data(), read.bytes.data(), read.bytes.size());
    EXPECT_EQ(values, tensor.values);
  }
  // Tensors begin at a multiple of 8.
  EXPECT_EQ((file.Get("b").bytes.data() - file.bytes().data()) % 8, 0);
}

// Names of every length, so that headers end at every place beside a multiple of 8.
TEST(SafetensorsWriter, HeadersOfAnyLengthAreAligned) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "scales.safetensors";
  for (size_t length = 1; length <= 8; ++length) {
    WriteSafetensors(path, std::vector<Float32Tensor>{{std::string(length, 'a'), {1}, {0.5f}}});
    const SafetensorsFile file(path);
    const TensorView read = file.Get(std::string(length, 'a'));
    EXPECT_EQ((read.bytes.data() - file.bytes().data()) % 8, 0) << length;
    EXPECT_EQ(read.bytes.size(), sizeof(float)) << length;
    // With no more spaces than that takes.
    const size_t data = static_cast<size_t>(read.bytes.data() - file.bytes().data());
    const std::span<const std::byte> header = file.bytes().first(data);
    const auto is_space = [](std::byte byte) { return byte == std::byte{' '}; };
    EXPECT_FALSE(std::ranges::all_of(header.last(8), is_space)) << length;
  }
}

TEST(SafetensorsWriter, AFolderThatIsNotThereIsAnError) {
  const TemporaryDirectory directory;
  EXPECT_THROW(WriteSafetensors(directory / "no" / "scales.safetensors", {}), Error);
}

}  // namespace
}  // namespace kvtune
