// How a checkpoint stores the weights of its linear modules: config.json's "quantization_config".
//
// Stored tensors of a module M with weight [rows, columns] = [out, in]:
//   kFloat   M.weight F32, F16 or BF16
//   kBytes   M.weight F8_E4M3 or I8, one byte an element; M.weight_scale_inv or M.weight_scale: a
//            factor for every block (both are multiplied with)
//   kAwq     M.qweight [in, out/8], M.qzeros [groups, out/8] I32; M.scales [groups, out]. Eight
//            outputs a word, in the order 0 2 4 6 1 3 5 7 (autoawq, awq/modules/linear/gemm.py)
//   kGptq    M.qweight [in/n, out], M.qzeros [groups, out/n] I32, n = 32/bits; M.scales [groups,
//   out];
//            M.g_idx [in], the group of every input (auto_gptq,
//            nn_modules/qlinear/qlinear_cuda_old.py)
//   kPacked  M.weight_packed [out, in/n] I32; M.weight_scale [out, groups]; M.weight_zero_point
//            [out/n, groups] I32 where not symmetric; M.weight_shape (compressed-tensors,
//            compressors/pack_quantized)
//   kMxfp4   of all experts of a layer together: M_blocks [experts, out, in/32, 16] U8, two FP4
//   E2M1
//            a byte, the lower half first; M_scales [experts, out, in/32] U8, exponents of two plus
//            127 (gpt-oss; transformers, integrations/mxfp4.py)
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class WeightCoding { kFloat, kBytes, kAwq, kGptq, kPacked, kMxfp4 };

struct WeightFormat {
  WeightCoding coding = WeightCoding::kFloat;
  int bits = 16;              // of an element; 16 stands for any float type
  int64_t group_size = 0;     // kAwq, kGptq, kPacked: inputs that share a scale; 0: all of them
  int64_t block_rows = 0;     // kBytes: outputs that share a scale; 0: all, or 1 as the scales say
  int64_t block_columns = 0;  // kBytes: inputs that share a scale; 0: all
  bool symmetric = true;      // kPacked: no zero points
  int zero_offset = 0;        // kGptq: what is added to a stored zero point. Its first version: 1
  std::vector<std::string> ignored = {};  // modules that are stored as floats, see Ignores

  // Whether `module` ("model.layers.0.mlp.up_proj") is named by `ignored`: as a whole, by the
  // beginning or the end of its dotted name, by a pattern with "*", or by "re:" and a regular
  // expression that matches its beginning.
  bool Ignores(std::string_view module) const;
};

// Throws Error for a method, a number of bits or an option that kvtune does not read, naming it.
WeightFormat ParseWeightFormat(JsonFields quantization_config);

// Of config.json; else of hf_quant_config.json, where NVIDIA's ModelOpt writes it; else floats.
WeightFormat ReadWeightFormat(const std::filesystem::path& model_directory);

// "float", "8-bit in blocks of 128x128", "AWQ 4-bit in groups of 128".
std::string Describe(const WeightFormat& format);

}  // namespace kvtune
