// How a checkpoint stores the weights of its linear modules: config.json's "quantization_config".
//
// clang-format off
// A module M has a weight of the shape [rows, columns] = [out, in] and is stored in these tensors:
//   kFloat   M.weight in F32, F16 or BF16.
//   kBytes   M.weight in F8_E4M3 or I8, one byte an element. M.weight_scale_inv or M.weight_scale
//            is a factor for every block; the elements are multiplied with either.
//   kAwq     M.qweight [in, out/8] and M.qzeros [groups, out/8] in I32, and M.scales [groups, out].
//            A word holds eight outputs in the order 0 2 4 6 1 3 5 7 (autoawq,
//            awq/modules/linear/gemm.py).
//   kGptq    M.qweight [in/n, out] and M.qzeros [groups, out/n] in I32, where n = 32 / bits;
//            M.scales [groups, out]; and M.g_idx [in], the group of every input (auto_gptq,
//            nn_modules/qlinear/qlinear_cuda_old.py).
//   kPacked  M.weight_packed [out, in/n] in I32, M.weight_scale [out, groups], M.weight_shape, and
//            M.weight_zero_point [out/n, groups] in I32 where the coding is not symmetric
//            (compressed-tensors, compressors/pack_quantized).
//   kMxfp4   All experts of a layer together: M_blocks [experts, out, in/32, 16] in U8 has two E2M1
//            numbers in a byte, the first in the lower half; M_scales [experts, out, in/32] in U8
//            has exponents of two plus 127 (gpt-oss; transformers, integrations/mxfp4.py).
// clang-format on
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/json_fields.h"
#include "lib/io/module_patterns.h"

namespace kvtune {

enum class WeightCoding { kFloat, kBytes, kAwq, kGptq, kPacked, kMxfp4 };

struct WeightFormat {
  WeightCoding coding = WeightCoding::kFloat;
  int bits = 16;              // of an element; 16 stands for any float type
  int64_t group_size = 0;     // kAwq, kGptq, kPacked: inputs that share a scale; 0: all of them
  int64_t block_rows = 0;     // kBytes: outputs that share a scale; 0: all, or 1 as the scales say
  int64_t block_columns = 0;  // kBytes: inputs that share a scale; 0: all
  bool symmetric = true;      // kPacked: no zero points
  int zero_offset = 0;  // kGptq: what is added to a stored zero point; its first version adds 1
  ModulePatterns ignored = {};  // modules that are stored as floats
};

// Throws Error for a method, a number of bits or an option that kvtune does not read, and names it.
WeightFormat ParseWeightFormat(JsonFields quantization_config);

// Does the same for the "quantization" of hf_quant_config.json.
WeightFormat ParseModelOptWeightFormat(JsonFields quantization);

// Reads config.json, and where that says nothing hf_quant_config.json, which NVIDIA's ModelOpt
// writes. Where neither says anything the weights are floats.
WeightFormat ReadWeightFormat(const std::filesystem::path& model_directory);

// Returns "float", "8-bit in blocks of 128x128" or "AWQ 4-bit in groups of 128", for example.
std::string Describe(const WeightFormat& format);

}  // namespace kvtune
