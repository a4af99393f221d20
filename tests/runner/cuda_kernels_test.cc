// Our CUDA kernels against the operators that they replace and against the CPU. They are skipped
// where there is no device or where the kernels were not built.
#include "lib/runner/cuda_kernels.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/runner/experts.h"
#include "lib/runner/row_ops.h"
#include "lib/runner/token_loss.h"

namespace kvtune {
namespace {

// Takes memory, fills it with NaN and gives it back, so that a kernel which leaves an element of
// its output unwritten is likely to show it.
void PoisonFreeMemory() {
  at::full({1 << 22}, std::numeric_limits<float>::quiet_NaN(), at::TensorOptions(at::kCUDA));
}

class CudaKernels : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    if (!UsesCudaKernels(at::zeros({1}, Options())))
      GTEST_SKIP() << "built without the CUDA kernels";
    at::manual_seed(11);
    PoisonFreeMemory();
  }

  at::TensorOptions Options() const { return at::TensorOptions(GetParam()).device(at::kCUDA); }
  at::Tensor Random(at::IntArrayRef shape) const {
    return at::randn(shape, at::kFloat).to(Options());
  }

  // Compares with a result computed in float64. A result in half precision may differ by a rounding
  // step or two, because sums are added in another order.
  void ExpectNear(const at::Tensor& found, const at::Tensor& expected) const {
    const double relative = GetParam() == at::kFloat  ? 2e-6
                            : GetParam() == at::kHalf ? 2e-3
                                                      : 1.6e-2;
    const at::Tensor wide = found.cpu().to(at::kDouble);
    EXPECT_TRUE(at::allclose(wide, expected, relative, relative))
        << "largest difference " << at::abs(wide - expected).max().item<double>();
  }
};

at::Tensor Wide(const at::Tensor& x) { return x.cpu().to(at::kDouble); }

TEST_P(CudaKernels, NormIsThatOfTheFormula) {
  for (const int64_t width : {1, 7, 64, 576, 4096}) {
    const at::Tensor x = Random({5, width});
    for (const at::ScalarType weight_type : {GetParam(), at::kFloat}) {
      const at::Tensor weight = Random({width}).to(weight_type);
      const at::Tensor expected =
          Wide(x) * at::rsqrt((Wide(x) * Wide(x)).mean(-1, true) + 1e-5) * Wide(weight);
      ExpectNear(CudaRmsNorm(x, weight, 1e-5), expected);
    }
  }
}

TEST_P(CudaKernels, AddingBeforeTheNormIsInPlaceOrApart) {
  for (const int64_t width : {7, 64, 4096}) {
    const at::Tensor before = Random({6, width}), unchanged = before.clone();
    const at::Tensor delta = Random({6, width}), weight = Random({width});
    const at::Tensor sum = Wide(before) + 0.22 * Wide(delta);
    const at::Tensor expected = sum * at::rsqrt((sum * sum).mean(-1, true) + 1e-6) * Wide(weight);
    at::Tensor apart = at::full_like(before, std::numeric_limits<float>::quiet_NaN());
    ExpectNear(CudaAddAndNorm(before, delta, 0.22, weight, 1e-6, apart), expected);
    ExpectNear(apart, sum);
    EXPECT_TRUE(before.equal(unchanged));
    at::Tensor rows = before.clone();
    ExpectNear(CudaAddAndNorm(rows, delta, 0.22, weight, 1e-6, rows), expected);
    ExpectNear(rows, sum);
  }
}

// The groups of decode_attention.h: rows that share their first tokens, and rows alone.
TEST_P(CudaKernels, DecodeAttentionIsThatOfTheFormula) {
  constexpr int64_t kKvHeads = 2, kRows = 6, kMaxTokens = 150;
  const std::vector<int64_t> positions = {100, 97, 133, 96, 149, 0};
  for (const int64_t head_dim : {64, 128, 256}) {
    if (!HasCudaDecodeAttention(Options(), head_dim, head_dim)) GTEST_SKIP() << "no such kernel";
    for (const auto& [shared_heads, window, cap] :
         {std::tuple<int64_t, int64_t, double>{4, 0, 0}, {1, 45, 0}, {7, 0, 3}, {24, 0, 0}}) {
      const int64_t most = std::max<int64_t>(1, 16 / shared_heads);
      std::vector<std::vector<int64_t>> groups = {
          {0, 1, 96, 0, 1}, {3, 3, 96, 3}, {3, 0, 90, 2}, {4, 4, 0, 4}, {5, 5, 0, 5}};
      if (most == 1) groups = {{0, 1, 96, 0}, {0, 1, 90, 1}, {2, 2, 0, 2}, {5, 5, 0, 5}};
      std::vector<int64_t> numbers;
      for (std::vector<int64_t> group : groups) {
        group.resize(static_cast<size_t>(3 + most), -1);
        numbers.insert(numbers.end(), group.begin(), group.end());
      }
      const auto on_device = [&](const std::vector<int64_t>& x) {
        return at::tensor(x, at::kLong).to(at::kCUDA);
      };
      const int64_t query_heads = kKvHeads * shared_heads;
      const at::Tensor query = Random({query_heads, kRows + 1, head_dim}) * 0.3;
      const at::Tensor keys = Random({kRows, kKvHeads, kMaxTokens, head_dim});
      const at::Tensor values = Random({kRows, kKvHeads, kMaxTokens, head_dim});
      const at::Tensor sinks = Random({query_heads});
      at::Tensor out = at::zeros({kRows + 1, query_heads * head_dim}, Options());
      CudaDecodeAttention(query, {keys, values}, {on_device(positions), on_device(numbers)},
                          {.window_tokens = window, .soft_cap = cap, .sinks = sinks}, out);
      for (const std::vector<int64_t>& group : groups) {
        for (size_t i = 3; i < group.size(); ++i) {
          const int64_t row = group[i], tokens = positions[static_cast<size_t>(row)] + 1;
          const int64_t shared = group[2],
                        first = window > 0 ? std::max<int64_t>(0, tokens - window) : 0;
          const auto side = [&](const at::Tensor& x, int64_t source) {
            const at::Tensor whole = at::cat({Wide(x)[source].narrow(1, 0, shared),
                                              Wide(x)[row].narrow(1, shared, tokens - shared)},
                                             1);
            return whole.narrow(1, first, tokens - first).repeat_interleave(shared_heads, 0);
          };
          at::Tensor scores =
              at::matmul(side(keys, group[0]), Wide(query).select(1, row).unsqueeze(2)).squeeze(2);
          if (cap > 0) scores = at::tanh(scores / cap) * cap;
          const at::Tensor weights = at::softmax(at::cat({scores, Wide(sinks).unsqueeze(1)}, 1), 1)
                                         .narrow(1, 0, tokens - first);
          ExpectNear(out[row].view({query_heads, head_dim}),
                     at::matmul(weights.unsqueeze(1), side(values, group[1])).squeeze(1));
        }
      }
    }
  }
}

TEST_P(CudaKernels, GatedIsThatOfTheOperators) {
  for (const int64_t width : {3, 64, 1000}) {
    const at::Tensor gate_up = Random({9, 2 * width});
    const at::Tensor gate = Wide(gate_up).narrow(1, 0, width);
    const at::Tensor up = Wide(gate_up).narrow(1, width, width);
    ExpectNear(CudaGated(gate_up, Activation::kSilu), at::silu(gate) * up);
    ExpectNear(CudaGated(gate_up, Activation::kGeluTanh), at::gelu(gate, "tanh") * up);
  }
}

TEST_P(CudaKernels, GatedLinearIsThatOfTheOperators) {
  if (GetParam() == at::kFloat || !IsOnHopper(at::zeros({1}, Options())))
    GTEST_SKIP() << "this type has no such kernel on this device";
  struct Case {
    int64_t rows, depth, width;
  };
  // Whole tiles, less than one of each, and tiles that are cut at every edge.
  for (const auto& [rows, depth, width] : {Case{256, 64, 128}, {1, 8, 8}, {300, 200, 1000}}) {
    const at::Tensor in = Random({rows, depth});
    const at::Tensor gate_up = Random({2 * width, depth}) / std::sqrt(static_cast<double>(depth));
    const at::Tensor gate = Wide(in).mm(Wide(gate_up.narrow(0, 0, width)).t());
    const at::Tensor up = Wide(in).mm(Wide(gate_up.narrow(0, width, width)).t());
    PoisonFreeMemory();
    ExpectNear(CudaGatedLinear(in, gate_up, Activation::kSilu), at::silu(gate) * up);
    ExpectNear(CudaGatedLinear(in, gate_up, Activation::kGeluTanh), at::gelu(gate, "tanh") * up);
  }
  // Many rows take this way by themselves, with more tiles than there are multiprocessors, and
  // differ from the two kernels in rare roundings only.
  const at::Tensor in = Random({5000, 136}), gate_up = Random({2 * 1032, 136}) / 11;
  ASSERT_TRUE(HasCudaGatedLinear(in, gate_up, Activation::kSilu));
  const at::Tensor apart = CudaGated(at::linear(in, gate_up), Activation::kSilu);
  const at::Tensor together = GatedLinear(in, gate_up, {}, Activation::kSilu);
  EXPECT_LT(at::ne(apart, together).to(at::kDouble).mean().item<double>(), 1e-3);
  ExpectNear(together, Wide(apart));
}

TEST_P(CudaKernels, ChoicesAreSummed) {
  const int64_t rows = 11, choices = 3;
  for (const int64_t width : {5, 64}) {
    const at::Tensor results = Random({rows * choices, width});
    const at::Tensor places = at::randperm(rows * choices).view({rows, choices});
    const at::Tensor weights = Random({rows, choices});
    const at::Tensor chosen =
        Wide(results).index_select(0, places.flatten()).view({rows, choices, width});
    ExpectNear(CudaSumOfChoices(results, places.cuda(), weights),
               (chosen * Wide(weights).unsqueeze(2)).sum(1));
  }
}

at::Tensor Moved(const at::Tensor& x, const at::TensorOptions& options) {
  return x.defined() ? x.to(options) : x;
}

LayerWeights Moved(const LayerWeights& weights, const at::TensorOptions& options) {
  LayerWeights moved;
  moved.router = Moved(weights.router, options);
  moved.gate_up = Moved(weights.gate_up, options);
  moved.gate_up_bias = Moved(weights.gate_up_bias, options);
  moved.down = Moved(weights.down, options);
  moved.down_bias = Moved(weights.down_bias, options);
  moved.shared_gate = Moved(weights.shared_gate, options);
  moved.shared_gate_up = Moved(weights.shared_gate_up, options);
  moved.shared_down = Moved(weights.shared_down, options);
  return moved;
}

// Experts in bfloat16 are multiplied by one product on some GPUs. How far the CPU is from float64
// in the same type is the yardstick; a few times as much is allowed. The first channels of a row
// are its router logits, no two of them alike, so that no rounding chooses another expert. The last
// expert gets no row.
TEST_P(CudaKernels, ExpertsAreAsExactAsOnTheCpu) {
  const int64_t count = 8, rows = 40, hidden = 64, width = 48;
  ModelConfig config;
  config.experts.count = count;
  config.experts.per_token = 3;
  at::Tensor in = at::randn({rows, hidden}, at::kFloat);
  for (int64_t row = 0; row < rows; ++row)
    in[row].narrow(0, 0, count - 1).copy_(at::randperm(count - 1) * 0.25);
  in.select(1, count - 1).fill_(-8);
  LayerWeights plain;
  plain.router = at::eye(count, hidden).to(Options());
  plain.gate_up = Random({count, 2 * width, hidden}) / 8;
  plain.down = Random({count, hidden, width}) / 8;
  LayerWeights biased = plain;
  biased.gate_up_bias = Random({count, 2 * width});
  biased.down_bias = Random({count, hidden});
  LayerWeights shared = plain;
  shared.shared_gate = Random({1, hidden}) / 8;
  shared.shared_gate_up = Random({2 * width, hidden}) / 8;
  shared.shared_down = Random({hidden, width}) / 8;
  for (const LayerWeights& weights : {plain, biased, shared}) {
    for (const bool renormalized : {false, true}) {
      config.experts.renormalized = renormalized;
      const auto result_on = [&](const at::TensorOptions& options) {
        return Wide(RunExperts(in.to(options), Moved(weights, options), config));
      };
      const at::TensorOptions cpu(at::kCPU);
      const at::Tensor exact = result_on(cpu.dtype(at::kDouble));
      const auto error_on = [&](const at::TensorOptions& options) {
        return at::abs(result_on(options) - exact).max().item<double>();
      };
      EXPECT_LE(error_on(Options()), 4 * error_on(cpu.dtype(GetParam())))
          << "biases: " << weights.down_bias.defined()
          << ", shared: " << weights.shared_gate.defined() << ", renormalized: " << renormalized;
    }
  }
}

TEST_P(CudaKernels, HeadsAreGatheredAndRotated) {
  const int64_t sequences = 2, tokens = 5, heads = 3;
  // Heads that begin with whole packs of 16 bytes, and others.
  for (const auto& [first, head_dim] : {std::pair<int64_t, int64_t>{16, 48}, {4, 20}}) {
    const at::Tensor projected = Random({sequences, tokens, first + heads * head_dim + first});
    const HeadLayout layout{sequences, tokens, projected.size(2), first, heads, head_dim};
    const at::Tensor gathered = Wide(projected)
                                    .narrow(2, first, heads * head_dim)
                                    .unflatten(2, {heads, head_dim})
                                    .transpose(1, 2);
    for (const bool by_token : {false, true}) {
      const auto gather = [&](const RotaryTables& angles, double scale) {
        PoisonFreeMemory();
        const at::Tensor found = CudaGatherHeads(projected, layout, angles, scale, by_token);
        EXPECT_TRUE((by_token ? found.transpose(1, 2) : found).is_contiguous());
        return found;
      };
      ExpectNear(gather({}, 0.5), 0.5 * gathered);
      for (const int64_t rotary_dim : {int64_t{16}, head_dim}) {
        const RotaryTables angles{Random({tokens, rotary_dim / 2}),
                                  Random({tokens, rotary_dim / 2})};
        ExpectNear(gather(angles, 1), Rotate(gathered, {Wide(angles.cos), Wide(angles.sin)}));
      }
    }
  }
}

TEST_P(CudaKernels, QueriesKeysAndValuesOfASequenceAreGatheredAsEachByItself) {
  constexpr int64_t kTokens = 5, kQueryHeads = 6, kKvHeads = 2;
  // Heads of whole packs of 16 bytes, and others.
  for (const int64_t head_dim : {48, 20}) {
    const at::Tensor projected = Random({1, kTokens, (kQueryHeads + 2 * kKvHeads) * head_dim});
    const auto alone = [&](int64_t first_head, int64_t heads, const RotaryTables& angles,
                           double scale) {
      const HeadLayout layout{1,     kTokens, projected.size(2), first_head * head_dim,
                              heads, head_dim};
      return CudaGatherHeads(projected, layout, angles, scale);
    };
    const RotaryTables angles{Random({kTokens, 8}), Random({kTokens, 8})};
    for (const RotaryTables& turned : {angles, RotaryTables{}}) {
      PoisonFreeMemory();
      const CudaQueryKeyValue found =
          CudaGatherQueryKeyValue(projected, kQueryHeads, kKvHeads, turned, 0.25);
      EXPECT_TRUE(at::equal(found.query, alone(0, kQueryHeads, turned, 0.25)));
      EXPECT_TRUE(at::equal(found.key, alone(kQueryHeads, kKvHeads, turned, 1)));
      EXPECT_TRUE(at::equal(found.value, alone(kQueryHeads + kKvHeads, kKvHeads, {}, 1)));
      EXPECT_TRUE(found.value.is_contiguous());
    }
  }
}

TEST_P(CudaKernels, SoftmaxIsOverWhatAQuerySees) {
  const int64_t batch = 2, heads = 3, rows = 5, columns = 300, first_visible = 290;
  for (const int64_t window : {0, 4, 299}) {
    for (const bool with_sinks : {false, true}) {
      const at::Tensor sinks = with_sinks ? Random({heads}) : at::Tensor();
      at::Tensor scores = Random({batch, heads, rows, columns});
      const at::Tensor before = Wide(scores);
      CudaCausalSoftmax(scores, first_visible, window, sinks);
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t end = first_visible + row,
                      begin = window > 0 ? std::max<int64_t>(0, end - window) : 0;
        const at::Tensor powers = at::exp(before.select(2, row).narrow(2, begin, end - begin));
        at::Tensor sum = powers.sum(-1, true);
        if (with_sinks) sum = sum + at::exp(Wide(sinks)).view({1, heads, 1});
        at::Tensor expected = at::zeros({batch, heads, columns}, at::kDouble);
        expected.narrow(2, begin, end - begin).copy_(powers / sum);
        ExpectNear(scores.select(2, row), expected);
      }
    }
  }
}

// The four sums of CudaErrorSumsOf for every element on its own: [..., 4].
at::Tensor ErrorTerms(const at::Tensor& x, const at::Tensor& approximation) {
  const at::Tensor error = at::abs(Wide(x) - Wide(approximation)), magnitude = at::abs(Wide(x));
  const at::Tensor counted = magnitude > 0;
  const at::Tensor ratio = at::where(counted, error / magnitude, at::zeros_like(error));
  return at::stack({error, magnitude, ratio, counted.to(at::kDouble)}, -1);
}

TEST_P(CudaKernels, ErrorSumsAreThoseOfTheFormula) {
  // Attention returns the rows of all heads side by side.
  const auto by_row = [](const at::Tensor& t) {
    return t.transpose(0, 1).contiguous().transpose(0, 1);
  };
  for (const int64_t width : {1, 24, 1000}) {
    for (const int64_t rows : {1, 3, 100}) {
      const at::Tensor x = Random({3, rows, width});
      x.select(2, 0).zero_();  // elements that no ratio counts
      const std::vector<at::Tensor> approximations = {x + 0.1 * Random({3, rows, width}), x,
                                                      x + Random({3, rows, width})};
      std::vector<at::Tensor> expected, rows_apart;
      for (const at::Tensor& approximation : approximations) {
        expected.push_back(ErrorTerms(x, approximation).sum({1, 2}));
        rows_apart.push_back(by_row(approximation));
      }
      const auto expect = [&](const at::Tensor& found) {
        EXPECT_TRUE(at::allclose(found.cpu(), at::stack(expected), 1e-5, 1e-6))
            << rows << " " << width;
      };
      expect(CudaErrorSumsOf(x, approximations));
      expect(CudaErrorSumsOf(by_row(x), rows_apart));
      expect(CudaErrorSumsOf(by_row(x), approximations));
    }
  }
}

TEST_P(CudaKernels, ErrorSumsOfChannelsAreThoseOfTheFormula) {
  for (const int64_t tokens : {1, 64, 130}) {
    const at::Tensor x = Random({3, tokens, 40});
    x.select(1, 0).zero_();
    const std::vector<at::Tensor> approximations = {x, x + Random({3, tokens, 40}),
                                                    x + 0.1 * Random({3, tokens, 40})};
    const at::Tensor found = CudaChannelErrorSumsOf(x, approximations).cpu();
    ASSERT_EQ(found.sizes(), at::IntArrayRef({3, 3, 40, 4}));
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(at::allclose(
          found[i], ErrorTerms(x, approximations[static_cast<size_t>(i)]).sum(1), 1e-5, 1e-6))
          << tokens << " " << i;
    }
  }
}

struct WeightCase {
  int64_t query_heads, kv_heads, tokens, head_dim;
  int64_t formats = 3, first_counted = 0, sliding_window = 0, residual_window = 0;
  bool sinks = false;
};

// Weights with float64 on the CPU: [query_heads, tokens, tokens]. What a query does not see is -inf
// in `scores`.
at::Tensor MaskedScores(const WeightCase& c, const at::Tensor& query, const at::Tensor& keys) {
  at::Tensor scores = at::matmul(
      Wide(query), Wide(keys).repeat_interleave(c.query_heads / c.kv_heads, 0).transpose(1, 2));
  const at::Tensor hidden = at::full({c.tokens, c.tokens}, -INFINITY, at::kDouble);
  scores.add_(hidden.triu(1));
  if (c.sliding_window > 0) scores.add_(hidden.tril(-c.sliding_window));
  return scores;
}

TEST_P(CudaKernels, WeightErrorsAreThoseOfTheFormula) {
  if (GetParam() == at::kFloat) {
    EXPECT_FALSE(HasCudaWeightErrors(Random({1, 1, 64})));
    return;
  }
  for (const WeightCase& c :
       {WeightCase{4, 2, 100, 64}, WeightCase{8, 2, 257, 128}, WeightCase{3, 3, 1, 64, 1},
        WeightCase{7, 1, 130, 80, 5}, WeightCase{2, 1, 150, 256, 4}, WeightCase{4, 1, 90, 192, 2},
        WeightCase{4, 2, 300, 128, 3, 0, 50}, WeightCase{4, 2, 300, 128, 3, 117},
        WeightCase{4, 2, 205, 128, 3, 0, 0, 32}, WeightCase{8, 1, 140, 64, 1, 33, 0, 32, true},
        WeightCase{4, 4, 70, 40, 0}}) {
    PoisonFreeMemory();
    const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    // By token, as the decoder gathers queries.
    const at::Tensor query =
        (Random({c.tokens, c.query_heads, c.head_dim}) * scale).transpose(0, 1);
    const at::Tensor exact = Random({c.kv_heads, c.tokens, c.head_dim});
    const at::Tensor sinks =
        c.sinks ? Wide(Random({c.query_heads})) : at::full({c.query_heads}, -INFINITY, at::kDouble);
    const auto log_sums = [&](const at::Tensor& scores) {
      return at::logaddexp(scores.logsumexp(-1), sinks.unsqueeze(1));
    };
    const auto side = [&](const at::Tensor& keys, const at::Tensor& scores, int64_t window) {
      return CudaAttendedKeys{keys, log_sums(scores).to(at::kFloat).to(at::kCUDA), window};
    };
    const at::Tensor exact_scores = MaskedScores(c, query, exact);
    const at::Tensor exact_weights = at::exp(exact_scores - log_sums(exact_scores).unsqueeze(-1));
    const auto counted = [&](const at::Tensor& x) {
      return x.narrow(1, c.first_counted, c.tokens - c.first_counted);
    };
    std::vector<CudaAttendedKeys> formats;
    std::vector<at::Tensor> expected;
    for (int64_t i = 0; i < c.formats; ++i) {
      const at::Tensor keys = exact + (0.02 + 0.3 * static_cast<double>(i)) * Random(exact.sizes());
      at::Tensor scores = MaskedScores(c, query, keys);
      for (int64_t t = 0; c.residual_window > 0 && t < c.tokens; ++t) {
        const int64_t group = t / c.residual_window * c.residual_window;
        scores.select(1, t)
            .narrow(1, group, t + 1 - group)
            .copy_(exact_scores.select(1, t).narrow(1, group, t + 1 - group));
      }
      formats.push_back(side(keys, scores, c.residual_window));
      const at::Tensor weights = at::exp(scores - log_sums(scores).unsqueeze(-1));
      expected.push_back(
          counted(at::abs(weights - exact_weights)).sum({1, 2}).view({c.kv_heads, -1}).sum(1));
    }
    const CudaWeightErrors found = CudaCompareWeights(query, side(exact, exact_scores, 0), formats,
                                                      c.first_counted, c.sliding_window);
    const std::string about = std::to_string(c.tokens) + " tokens of " +
                              std::to_string(c.head_dim) + " channels, formats " +
                              std::to_string(c.formats);
    ASSERT_EQ(found.errors.sizes(), at::IntArrayRef({c.formats, c.kv_heads})) << about;
    if (c.formats > 0) {
      EXPECT_TRUE(at::allclose(found.errors.cpu(), at::stack(expected), 1e-4, 1e-6))
          << about << "\n"
          << found.errors.cpu() << "\n"
          << at::stack(expected);
    }
    EXPECT_TRUE(
        at::allclose(found.largest.cpu(), counted(exact_weights).amax(-1).sum(1), 1e-5, 1e-6))
        << about;
  }
}

// Both sides round max + log(sum) to float32. Logits reach 20 here, where a rounding moves all log
// probabilities by up to 1e-6, and the total variation distance is of first order in that.
constexpr double kShiftRounding = 2e-6;

TEST_P(CudaKernels, LossesAreThoseOfTheCpu) {
  const int64_t plans = 3, rows = 4;
  for (const int64_t vocab : {2, 101, 4096}) {
    for (const double distance : {1e-3, 0.1, 5.0}) {
      const at::Tensor exact = Random({rows, vocab}) * 4;
      const at::Tensor logits = exact + distance * Random({plans, rows, vocab});
      const at::Tensor next = at::randint(vocab, {rows}, at::TensorOptions(at::kLong));
      const TokenLosses expected = ComputeTokenLosses(ReferenceLogits(exact.cpu().to(at::kFloat)),
                                                      logits.cpu().to(at::kFloat), next);
      const TokenLosses found =
          ComputeTokenLosses(ReferenceLogits(exact), logits, next.to(at::kCUDA));
      EXPECT_TRUE(at::allclose(found.kl, expected.kl, 1e-4, 1e-9)) << vocab << " " << distance;
      EXPECT_TRUE(at::allclose(found.nll, expected.nll, 1e-5, 1e-6)) << vocab << " " << distance;
      EXPECT_TRUE(at::allclose(found.variation, expected.variation, 1e-4, kShiftRounding))
          << vocab << " " << distance;
      EXPECT_TRUE(found.same_top1.equal(expected.same_top1)) << vocab << " " << distance;
    }
  }
}

TEST_P(CudaKernels, EqualLogitsLoseNothing) {
  const at::Tensor exact = Random({3, 1000}) * 4;
  const TokenLosses found =
      ComputeTokenLosses(ReferenceLogits(exact), exact.unsqueeze(0),
                         at::zeros({3}, at::TensorOptions(at::kLong).device(at::kCUDA)));
  EXPECT_EQ(found.kl.abs().max().item<float>(), 0);
  EXPECT_EQ(found.variation.abs().max().item<float>(), 0);
  EXPECT_TRUE(found.same_top1.all().item<bool>());
}

TEST_P(CudaKernels, RoundingNoiseMovesEveryElementBySteps) {
  at::Tensor x = Random({1000});
  const at::Tensor before = Wide(x);
  const double step = 0x1p-6;  // more than one rounding step of each type
  CudaAddRoundingNoise(x, step, 3);
  const at::Tensor moved = Wide(x) / before;
  ExpectNear(moved,
             at::where(moved > 1, at::full_like(moved, 1 + step), at::full_like(moved, 1 - step)));
  const double up = (moved > 1).to(at::kDouble).mean().item<double>();
  EXPECT_GT(up, 0.4);
  EXPECT_LT(up, 0.6);
}

INSTANTIATE_TEST_SUITE_P(Types, CudaKernels,
                         ::testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& test) { return std::string(at::toString(test.param)); });

}  // namespace
}  // namespace kvtune
