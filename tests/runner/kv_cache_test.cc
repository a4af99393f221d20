// A cache of many sequences against caches of one each, on a CPU and on CUDA.
#include "lib/runner/kv_cache.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "lib/runner/fake_quantize.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

constexpr int64_t kMaxTokens = 130;

struct CacheCase {
  std::string name;
  std::string device;
  TinyModel model;

  friend void PrintTo(const CacheCase& test_case, std::ostream* out) { *out << test_case.name; }
};

std::vector<CacheCase> Cases() {
  TinyModel plain;
  plain.head_dim = 64;
  TinyModel window = plain;
  window.architecture = "MistralForCausalLM";
  window.window = 45;
  TinyModel caps = plain;
  caps.architecture = "Gemma2ForCausalLM";
  caps.window = 19;
  TinyModel sinks = plain;
  sinks.architecture = "GptOssForCausalLM";
  sinks.window = 45;
  TinyModel single = plain;  // each query head has keys of its own
  single.kv_heads = 4;
  TinyModel uneven = plain;  // three query heads share a KV head
  uneven.query_heads = 6;
  TinyModel narrow = plain;  // no kernel of ours attends
  narrow.head_dim = 16;
  std::vector<CacheCase> cases;
  for (const std::string device : {"cpu", "cuda"}) {
    cases.push_back({device + "Plain", device, plain});
    cases.push_back({device + "Window", device, window});
    cases.push_back({device + "Caps", device, caps});
    cases.push_back({device + "Sinks", device, sinks});
    cases.push_back({device + "SingleHeads", device, single});
    cases.push_back({device + "UnevenHeads", device, uneven});
    cases.push_back({device + "NarrowHeads", device, narrow});
  }
  return cases;
}

class KvCacheOfManyRows : public ::testing::TestWithParam<CacheCase> {
 protected:
  void SetUp() override {
    if (GetParam().device == "cuda" && !at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    at::manual_seed(5);
    WriteTinyCheckpoint(GetParam().model, directory_.path());
    checkpoint_ = std::make_unique<Checkpoint>(directory_.path());
    decoder_ = std::make_unique<Decoder>(*checkpoint_, Options());
    many_ = std::make_unique<KvCache>(*decoder_, CacheSize{kRows, kMaxTokens});
    alone_.resize(kRows);
  }

  bool is_cpu() const { return GetParam().device == "cpu"; }
  at::TensorOptions Options() const {
    return is_cpu() ? at::TensorOptions(at::kFloat)
                    : at::TensorOptions(at::kHalf).device(at::kCUDA);
  }
  at::Tensor Random(at::IntArrayRef shape) const {
    return at::randn(shape, at::kFloat).to(Options());
  }
  const std::vector<LayerConfig>& layers() const { return decoder_->config().layers; }
  int64_t HeadDim() const { return GetParam().model.head_dim; }

  // The same prompt of random keys and values in some rows, under a plan each.
  void BeginPrompt(int64_t tokens, const std::map<int64_t, PrecisionPlan>& plan_of_row) {
    for (const auto& [row, plan] : plan_of_row) {
      many_->Begin(row, plan, tokens);
      std::unique_ptr<KvCache>& alone = alone_[static_cast<size_t>(row)];
      alone = std::make_unique<KvCache>(*decoder_, CacheSize{1, kMaxTokens});
      alone->Begin(0, plan, tokens);
    }
    for (size_t layer = 0; layer < layers().size(); ++layer) {
      for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
        const at::Tensor exact = Random({layers()[layer].kv_heads, tokens, HeadDim()});
        std::map<KvFormatId, std::vector<int64_t>> rows_of_format;
        for (const auto& [row, plan] : plan_of_row) {
          const PrecisionPair pair = plan.layers[layer];
          rows_of_format[side == KvSide::kKey ? pair.key : pair.value].push_back(row);
        }
        for (const auto& [format, rows] : rows_of_format) {
          const at::Tensor stored =
              FakeQuantize(exact, FormatOf(format), decoder_->SideOfLayer(layer, side));
          many_->Store(rows, layer, side, stored);
          for (const int64_t row : rows)
            alone_[static_cast<size_t>(row)]->Store(std::vector<int64_t>{0}, layer, side, stored);
        }
      }
    }
  }

  void End(int64_t row) {
    many_->End(row);
    alone_[static_cast<size_t>(row)].reset();
  }

  void Step() {
    many_->NextPositions();
    for (const auto& alone : alone_) {
      if (alone) alone->NextPositions();
    }
    for (size_t layer = 0; layer < layers().size(); ++layer) {
      const int64_t query_heads = decoder_->config().query_heads;
      const ScoreRule rule =
          decoder_
              ->ProjectQueryKeyValue(
                  layer, at::zeros({1, 1, decoder_->config().hidden_size}, Options()), {0, 1})
              .rule;
      const QueryKeyValue newest{Random({1, query_heads, kRows, HeadDim()}) * 0.3,
                                 Random({1, layers()[layer].kv_heads, kRows, HeadDim()}),
                                 Random({1, layers()[layer].kv_heads, kRows, HeadDim()}), rule};
      const at::Tensor attended = many_->Attend(layer, newest);
      for (int64_t row = 0; row < kRows; ++row) {
        const std::unique_ptr<KvCache>& alone = alone_[static_cast<size_t>(row)];
        if (!alone) continue;
        const auto of_row = [&](const at::Tensor& x) { return x.narrow(2, row, 1); };
        const at::Tensor expected = alone->Attend(layer, {of_row(newest.query), of_row(newest.key),
                                                          of_row(newest.value), newest.rule})[0];
        const at::Tensor found = attended[row];
        if (is_cpu()) {
          ASSERT_TRUE(at::equal(found, expected)) << "row " << row << ", layer " << layer;
        } else {
          ASSERT_TRUE(at::allclose(found, expected, 4e-3, 4e-3))
              << "row " << row << ", layer " << layer << ", position " << alone->tokens(0);
        }
      }
    }
    many_->EndStep();
    for (const auto& alone : alone_) {
      if (alone) alone->EndStep();
    }
  }

  void Steps(int count) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) Step();
  }

  static constexpr int64_t kRows = 8;

  TemporaryDirectory directory_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> many_;
  std::vector<std::unique_ptr<KvCache>> alone_;  // by row; null where no sequence is
};

// Sequences of one prompt share what they store alike. Groups fill up, sequences end while others
// read what their row holds, and new ones take their places.
TEST_P(KvCacheOfManyRows, EachRowIsAsAlone) {
  using enum KvFormatId;
  const PrecisionPair int4{kInt4, kInt4}, int2{kInt2, kInt2}, kivi{kKiviInt4, kKiviInt4};
  const PrecisionPlan low{{int4, int4, int2}}, other{{int4, int2, int2}};
  const PrecisionPlan mixed{{kivi, {kInt4, kKiviInt2}, {kKiviInt4, kInt2}}};
  const PrecisionPlan exact{{kExactPair, kExactPair, kExactPair}};
  BeginPrompt(70, {{0, low}, {1, other}, {2, low}, {3, mixed}, {5, exact}, {6, mixed}});
  Steps(7);
  BeginPrompt(33, {{4, mixed}, {7, exact}});
  Steps(4);
  End(0);
  End(3);
  Steps(3);
  BeginPrompt(64, {{0, mixed}, {3, low}});
  Steps(20);
  End(5);
  End(2);
  BeginPrompt(31, {{2, low}});
  Steps(15);
}

INSTANTIATE_TEST_SUITE_P(Models, KvCacheOfManyRows, ::testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kvtune
