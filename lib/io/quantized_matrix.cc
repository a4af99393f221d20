#include "lib/io/quantized_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "lib/base/error.h"
#include "lib/io/module_parts.h"

namespace kvtune {
namespace {

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// OCP FP8 E4M3 (torch's float8_e4m3fn): a sign, 4 bits of exponent with bias 7, and 3 of mantissa.
// It has no infinity, and one NaN for each sign.
float Float8Value(unsigned byte) {
  const int exponent = static_cast<int>(byte >> 3 & 15);
  const int mantissa = static_cast<int>(byte & 7);
  const float sign = byte & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

bool IsByteType(std::string_view dtype) { return dtype == "F8_E4M3" || dtype == "I8"; }

std::array<float, 256> ByteValues(std::string_view dtype) {
  std::array<float, 256> values;
  for (unsigned byte = 0; byte < 256; ++byte) {
    values[byte] =
        dtype == "I8" ? static_cast<float>(static_cast<int8_t>(byte)) : Float8Value(byte);
  }
  return values;
}

// A matrix stored as WeightCoding::kBytes.
class ByteMatrix : public QuantizedMatrix {
 public:
  ByteMatrix(const ModuleParts& parts, const WeightFormat& format, int64_t rows, int64_t columns)
      : columns_(columns) {
    const TensorContents weight = parts.Get("weight", {"F8_E4M3", "I8"}, {{rows, columns}});
    stored_ = weight.bytes;
    values_ = ByteValues(weight.dtype);
    const std::string_view scale =
        parts.Has("weight_scale_inv") ? "weight_scale_inv" : "weight_scale";
    block_columns_ = format.block_columns == 0 ? columns : format.block_columns;
    block_rows_ = format.block_rows == 0 ? rows : format.block_rows;
    scale_columns_ = CeilDivide(columns, block_columns_);
    const Shape grid = {CeilDivide(rows, block_rows_), scale_columns_};
    if (format.block_columns > 0) {
      scales_ = parts.GetFloats(scale, {grid});
      return;
    }
    scales_ = parts.GetFloats(scale, {{}, {1}, {1, 1}, {rows}, {rows, 1}});
    if (scales_.size() > 1) block_rows_ = 1;
  }

  void Dequantize(int64_t first_row, int64_t row_count, float* values) const override {
    for (int64_t row = first_row; row < first_row + row_count; ++row) {
      const std::byte* stored = stored_.data() + row * columns_;
      const float* scales = scales_.data() + row / block_rows_ * scale_columns_;
      for (int64_t block = 0; block < scale_columns_; ++block) {
        const int64_t end = std::min(columns_, (block + 1) * block_columns_);
        for (int64_t column = block * block_columns_; column < end; ++column) {
          *values++ = values_[static_cast<size_t>(stored[column])] * scales[block];
        }
      }
    }
  }

  void DropPages() const override { kvtune::DropPages(stored_); }

 private:
  int64_t columns_;
  int64_t block_rows_ = 0;
  int64_t block_columns_ = 0;
  int64_t scale_columns_ = 0;
  std::span<const std::byte> stored_;
  std::array<float, 256> values_{};  // of a stored byte
  std::vector<float> scales_;        // [row blocks, scale_columns_]
};

// The place of each output's value in a word of eight 4-bit values. It is the inverse of the order
// 0 2 4 6 1 3 5 7.
constexpr std::array<int, 8> kAwqPlaces = {0, 4, 1, 5, 2, 6, 3, 7};

// A matrix stored as WeightCoding::kAwq, kGptq or kPacked: words of 32 bits hold several values
// each. A value's scale and zero point are those of its output and of its input's group.
class WordMatrix : public QuantizedMatrix {
 public:
  WordMatrix(const ModuleParts& parts, const WeightFormat& format, int64_t rows, int64_t columns)
      : coding_(format.coding), bits_(format.bits), rows_(rows), columns_(columns) {
    const int64_t group_size = format.group_size == 0 ? columns : format.group_size;
    const int64_t per_word = 32 / bits_;
    const bool along_rows = coding_ == WeightCoding::kAwq;
    const std::string_view stored_name =
        coding_ == WeightCoding::kPacked ? "weight_packed" : "qweight";
    group_count_ = CeilDivide(columns, group_size);
    group_of_.resize(static_cast<size_t>(columns));
    for (int64_t i = 0; i < columns; ++i)
      group_of_[static_cast<size_t>(i)] = static_cast<int32_t>(i / group_size);
    if ((along_rows ? rows : columns) % per_word != 0 ||
        (rows % per_word != 0 && coding_ == WeightCoding::kGptq)) {
      parts.Fail(stored_name,
                 fmt::format("found a matrix {}, expected sizes that are multiples of {}",
                             ShapeText(Shape{rows, columns}), per_word));
    }
    switch (coding_) {
      case WeightCoding::kAwq:
        stored_ = parts.Get(stored_name, {"I32"}, {{columns, rows / per_word}}).bytes;
        break;
      case WeightCoding::kGptq:
        stored_ = parts.Get(stored_name, {"I32"}, {{columns / per_word, rows}}).bytes;
        if (parts.Has("g_idx")) ReadGroups(parts);
        break;
      default:
        stored_ = parts.Get(stored_name, {"I32"}, {{rows, columns / per_word}}).bytes;
    }
    ReadScales(parts);
    ReadZeros(parts, format);
  }

  void Dequantize(int64_t first_row, int64_t row_count, float* values) const override {
    // Neighbouring outputs lie side by side in the file, but neighbouring inputs do so in the
    // result. Working in tiles keeps both in the processor's cache.
    constexpr int64_t kTileRows = 64, kTileColumns = 16;
    std::array<float, kTileRows * kTileColumns> tile;
    for (int64_t row = 0; row < row_count; row += kTileRows) {
      const int64_t tile_rows = std::min(kTileRows, row_count - row);
      for (int64_t column = 0; column < columns_; column += kTileColumns) {
        const int64_t tile_columns = std::min(kTileColumns, columns_ - column);
        for (int64_t c = 0; c < tile_columns; ++c) {
          const size_t factors = static_cast<size_t>(group_of_[static_cast<size_t>(column + c)]) *
                                     static_cast<size_t>(rows_) +
                                 static_cast<size_t>(first_row + row);
          for (int64_t r = 0; r < tile_rows; ++r) {
            const auto code = static_cast<float>(Code(first_row + row + r, column + c));
            const size_t factor = factors + static_cast<size_t>(r);
            tile[static_cast<size_t>(r * kTileColumns + c)] =
                (code - zeros_[factor]) * scales_[factor];
          }
        }
        for (int64_t r = 0; r < tile_rows; ++r) {
          std::copy_n(tile.data() + r * kTileColumns, tile_columns,
                      values + (row + r) * columns_ + column);
        }
      }
    }
  }

  std::optional<StoredWords> Words() const override {
    return StoredWords{coding_, bits_, rows_, columns_, stored_, group_of_, scales_, zeros_};
  }

  void DropPages() const override { kvtune::DropPages(stored_); }

 private:
  uint32_t mask() const { return (1u << bits_) - 1; }

  // Shifts are used because a division for every element would take most of the time.
  uint32_t Code(int64_t row, int64_t column) const {
    const int word_shift = bits_ == 4 ? 3 : 2;  // eight or four values a word
    const int place = bits_ * static_cast<int>(column & ((1 << word_shift) - 1));
    const auto word = [&](int64_t index) { return LoadAt<uint32_t>(stored_, index); };
    switch (coding_) {
      case WeightCoding::kAwq:
        return word(column * (rows_ >> 3) + (row >> 3)) >>
                   (4 * kAwqPlaces[static_cast<size_t>(row & 7)]) &
               15;
      case WeightCoding::kGptq:
        return word((column >> word_shift) * rows_ + row) >> place & mask();
      default:
        return word((row * columns_ + column) >> word_shift) >> place & mask();
    }
  }

  void ReadGroups(const ModuleParts& parts) {
    const TensorContents groups = parts.Get("g_idx", {"I32"}, {{columns_}});
    for (int64_t i = 0; i < columns_; ++i) {
      const auto group = LoadAt<int32_t>(groups.bytes, i);
      if (group < 0 || group >= group_count_) {
        parts.Fail("g_idx",
                   fmt::format("found the group {}, expected 0 to {}", group, group_count_ - 1));
      }
      group_of_[static_cast<size_t>(i)] = group;
    }
  }

  void ReadScales(const ModuleParts& parts) {
    if (coding_ != WeightCoding::kPacked) {
      scales_ = parts.GetFloats("scales", {{group_count_, rows_}});
      return;
    }
    const std::vector<float> by_row = parts.GetFloats("weight_scale", {{rows_, group_count_}});
    scales_.resize(by_row.size());
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t group = 0; group < group_count_; ++group) {
        scales_[static_cast<size_t>(group * rows_ + row)] =
            by_row[static_cast<size_t>(row * group_count_ + group)];
      }
    }
  }

  void ReadZeros(const ModuleParts& parts, const WeightFormat& format) {
    if (coding_ == WeightCoding::kPacked && format.symmetric) {
      zeros_.assign(scales_.size(), static_cast<float>(1 << (bits_ - 1)));
      return;
    }
    zeros_.resize(scales_.size());
    const int64_t per_word = 32 / bits_;
    const bool is_packed = coding_ == WeightCoding::kPacked;
    const TensorContents stored =
        is_packed
            ? parts.Get("weight_zero_point", {"I32"}, {{CeilDivide(rows_, per_word), group_count_}})
            : parts.Get("qzeros", {"I32"}, {{group_count_, rows_ / per_word}});
    // A layer of a large model has millions of them, and a streamed one is read for every pass.
#pragma omp parallel for
    for (int64_t group = 0; group < group_count_; ++group) {
      for (int64_t row = 0; row < rows_; ++row) {
        const int64_t word = is_packed ? row / per_word * group_count_ + group
                                       : group * (rows_ / per_word) + row / per_word;
        const auto place = static_cast<int>(row % per_word);
        const int shift = coding_ == WeightCoding::kAwq ? 4 * kAwqPlaces[static_cast<size_t>(place)]
                                                        : bits_ * place;
        // The first version of GPTQ stores each zero point less 1, in as many bits as other values.
        const uint32_t zero = ((LoadAt<uint32_t>(stored.bytes, word) >> shift & mask()) +
                               static_cast<uint32_t>(format.zero_offset)) &
                              mask();
        zeros_[static_cast<size_t>(group * rows_ + row)] = static_cast<float>(zero);
      }
    }
  }

  WeightCoding coding_;
  int bits_;
  int64_t rows_;
  int64_t columns_;
  int64_t group_count_ = 0;
  std::span<const std::byte> stored_;
  std::vector<int32_t> group_of_;  // [columns]
  std::vector<float> scales_;      // [groups, rows]
  std::vector<float> zeros_;       // [groups, rows]
};

// Matrices stored as WeightCoding::kMxfp4 (MXFP4 of the OCP Microscaling Formats).
class Mxfp4Matrix : public QuantizedMatrix {
 public:
  static constexpr int64_t kBlock = 32;

  Mxfp4Matrix(std::span<const std::byte> blocks, std::span<const std::byte> scales, int64_t columns)
      : blocks_(blocks), scales_(scales), columns_(columns) {}

  void Dequantize(int64_t first_row, int64_t row_count, float* values) const override {
    const int64_t end = (first_row + row_count) * columns_ / kBlock;
    for (int64_t block = first_row * columns_ / kBlock; block < end; ++block) {
      const float scale = std::ldexp(1.0f, LoadAt<uint8_t>(scales_, block) - 127);
      for (int64_t i = 0; i < kBlock / 2; ++i) {
        const auto pair = LoadAt<uint8_t>(blocks_, block * kBlock / 2 + i);
        *values++ = kFloat4Values[pair & 15] * scale;
        *values++ = kFloat4Values[pair >> 4] * scale;
      }
    }
  }

  void DropPages() const override { kvtune::DropPages(blocks_); }

 private:
  // E2M1 has a sign, 2 bits of exponent and 1 of mantissa.
  static constexpr std::array<float, 16> kFloat4Values = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                                          -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

  std::span<const std::byte> blocks_;
  std::span<const std::byte> scales_;
  int64_t columns_;
};

}  // namespace

std::unique_ptr<QuantizedMatrix> FindQuantizedMatrix(const Checkpoint& checkpoint,
                                                     const std::string& name, int64_t rows,
                                                     int64_t columns) {
  const WeightFormat& format = checkpoint.weight_format();
  constexpr std::string_view kWeight = ".weight";
  if (format.coding == WeightCoding::kFloat || format.coding == WeightCoding::kMxfp4 ||
      !name.ends_with(kWeight)) {
    return nullptr;
  }
  const std::string module = name.substr(0, name.size() - kWeight.size());
  if (format.ignored.Name(module) || format.ignored.Name(checkpoint.StoredName(module))) {
    return nullptr;
  }
  const ModuleParts parts(checkpoint, module);
  const bool has_weight = parts.Has("weight");
  if (format.coding == WeightCoding::kBytes) {
    if (!has_weight || !IsByteType(checkpoint.Contents(name).dtype)) return nullptr;
    return std::make_unique<ByteMatrix>(parts, format, rows, columns);
  }
  const std::string_view stored =
      format.coding == WeightCoding::kPacked ? "weight_packed" : "qweight";
  if (parts.Has(stored)) return std::make_unique<WordMatrix>(parts, format, rows, columns);
  // A module that a quantizer leaves alone without saying so, lm_head above all, is stored as
  // floats.
  if (has_weight) return nullptr;
  throw Error(fmt::format("loading the model {}: found neither the tensor {} nor {}, expected one",
                          checkpoint.directory().string(), parts.Name(stored), name));
}

std::unique_ptr<QuantizedMatrix> FindQuantizedExperts(const Checkpoint& checkpoint,
                                                      const std::string& name, int64_t experts,
                                                      int64_t rows, int64_t columns) {
  const WeightFormat& format = checkpoint.weight_format();
  if (format.coding != WeightCoding::kMxfp4 || format.ignored.Name(name) || checkpoint.Has(name)) {
    return nullptr;
  }
  const size_t dot = name.rfind('.');
  const ModuleParts parts(checkpoint, name.substr(0, dot));
  const std::string blocks = name.substr(dot + 1) + "_blocks",
                    scales = name.substr(dot + 1) + "_scales";
  constexpr int64_t kBlock = Mxfp4Matrix::kBlock;
  if (columns % kBlock != 0) {
    parts.Fail(blocks,
               fmt::format("found rows of {} values, expected a multiple of {}", columns, kBlock));
  }
  const auto stored = parts.Get(blocks, {"U8"}, {{experts, rows, columns / kBlock, kBlock / 2}});
  const auto exponents = parts.Get(scales, {"U8"}, {{experts, rows, columns / kBlock}});
  return std::make_unique<Mxfp4Matrix>(stored.bytes, exponents.bytes, columns);
}

}  // namespace kvtune
