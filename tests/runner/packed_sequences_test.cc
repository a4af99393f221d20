// A cache whose layers are packed against one of fake-quantized values, in bfloat16, on a CPU and
// on CUDA.
#include "lib/runner/packed_sequences.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "lib/runner/fake_quantize.h"
#include "lib/runner/kv_cache.h"
#include "lib/runner/prefill.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

constexpr int64_t kMostTokens = 200;

struct PackedSequencesCase {
  std::string name;
  std::string device;
  TinyModel model;

  friend void PrintTo(const PackedSequencesCase& test_case, std::ostream* out) {
    *out << test_case.name;
  }
};

std::vector<PrecisionPair> PairsThatCanBePacked() {
  std::vector<PrecisionPair> pairs;
  for (const KvFormat& key : Formats()) {
    for (const KvFormat& value : Formats()) {
      if (WhyNotPacked({key.id, value.id}, 64).empty()) pairs.push_back({key.id, value.id});
    }
  }
  return pairs;
}

class PackedAndHeld : public ::testing::TestWithParam<PackedSequencesCase> {
 protected:
  void SetUp() override {
    if (GetParam().device == "cuda" && !at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    at::manual_seed(5);
    WriteTinyCheckpoint(GetParam().model, directory_.path());
    checkpoint_ = std::make_unique<Checkpoint>(directory_.path());
    decoder_ = std::make_unique<Decoder>(*checkpoint_, Options());
    held_ = std::make_unique<KvCache>(*decoder_, CacheSize{kRows, kMostTokens});
    packed_ = std::make_unique<KvCache>(*decoder_, PackedSize(kRows));
  }

  CacheForms AllPacked() const { return CacheForms(layers().size(), CacheForm::kPacked); }
  // With memory for so many exact sequences.
  CacheSize PackedSize(int64_t sequences) const {
    const int64_t bytes =
        PackedBytes(*decoder_, AllPacked(), PrecisionPlan::Uniform(kExactPair, layers().size()),
                    kMostTokens)
            .front();
    return {kRows, kMostTokens, AllPacked(), {sequences * bytes}};
  }
  at::TensorOptions Options() const {
    return at::TensorOptions(at::kBFloat16)
        .device(GetParam().device == "cpu" ? at::kCPU : at::kCUDA);
  }
  at::Tensor Random(at::IntArrayRef shape) const {
    return at::randn(shape, at::kFloat).to(Options());
  }
  const std::vector<LayerConfig>& layers() const { return decoder_->config().layers; }
  int64_t HeadDim() const { return GetParam().model.head_dim; }

  // The plan of a row. Those of neighbouring rows have every pair in some layer.
  PrecisionPlan PlanOf(int64_t row,
                       const std::vector<PrecisionPair>& pairs = PairsThatCanBePacked()) const {
    PrecisionPlan plan;
    for (size_t layer = 0; layer < layers().size(); ++layer)
      plan.layers.push_back(
          pairs[(static_cast<size_t>(row) * layers().size() + layer) % pairs.size()]);
    return plan;
  }

  // A prompt of random keys and values in some rows of both caches, under a plan each.
  void BeginPrompt(int64_t tokens, const std::map<int64_t, PrecisionPlan>& plan_of_row) {
    std::vector<int64_t> rows;
    for (const auto& [row, plan] : plan_of_row) {
      rows.push_back(row);
      ASSERT_TRUE(packed_->Admit(row, plan, kMostTokens));
      packed_->Begin(row, plan, tokens);
      held_->Begin(row, plan, tokens);
      is_live_[static_cast<size_t>(row)] = true;
    }
    for (size_t layer = 0; layer < layers().size(); ++layer) {
      const at::Tensor keys = Random({layers()[layer].kv_heads, tokens, HeadDim()}) + 0.3;
      const at::Tensor values = Random({layers()[layer].kv_heads, tokens, HeadDim()}) + 0.5;
      packed_->Pack(rows, layer, keys, values);
      for (const auto& [row, plan] : plan_of_row) {
        const PrecisionPair pair = plan.layers[layer];
        const std::vector<int64_t> own = {row};
        for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
          const bool is_key = side == KvSide::kKey;
          held_->Store(own, layer, side,
                       FakeQuantize(is_key ? keys : values,
                                    FormatOf(is_key ? pair.key : pair.value), {.side = side}));
        }
      }
    }
  }

  void End(int64_t row) {
    packed_->End(row);
    held_->End(row);
    is_live_[static_cast<size_t>(row)] = false;
  }

  void Step() {
    packed_->NextPositions();
    held_->NextPositions();
    for (size_t layer = 0; layer < layers().size(); ++layer) {
      const ScoreRule rule =
          decoder_
              ->ProjectQueryKeyValue(
                  layer, at::zeros({1, 1, decoder_->config().hidden_size}, Options()), {0, 1})
              .rule;
      const int64_t kv_heads = layers()[layer].kv_heads;
      const QueryKeyValue newest{
          Random({1, decoder_->config().query_heads, kRows, HeadDim()}) * 0.1,
          Random({1, kv_heads, kRows, HeadDim()}) + 0.3,
          Random({1, kv_heads, kRows, HeadDim()}) + 0.5, rule};
      Compare(layer, packed_->Attend(layer, newest), held_->Attend(layer, newest));
    }
    packed_->EndStep();
    held_->EndStep();
  }

  // The difference is measured in the size of a head's result, the root of its mean square. Both
  // caches give back the same keys and values, so that only rounding differs: scores near 1,
  // weights and results are rounded to bfloat16 (2^-9 of themselves), and the packed kernel of CUDA
  // rounds scaled weights and queries to half precision. The largest of 64 channels is about three
  // times the size. A token too many or too few among 128 makes a difference of a tenth.
  void Compare(size_t layer, const at::Tensor& found, const at::Tensor& expected) const {
    constexpr double kTolerance = 0.03;
    ASSERT_EQ(found.sizes(), expected.sizes());
    for (int64_t row = 0; row < kRows; ++row) {
      if (!is_live_[static_cast<size_t>(row)]) {
        EXPECT_TRUE(at::equal(found[row], at::zeros_like(found[row]))) << "row " << row;
        continue;
      }
      const auto heads = [&](const at::Tensor& x) {
        return x[row].to(at::kCPU, at::kFloat).view({-1, HeadDim()});
      };
      const at::Tensor size = heads(expected).square().mean({1}).sqrt();
      const at::Tensor difference =
          std::get<0>((heads(found) - heads(expected)).abs().max(1)).div(size);
      ASSERT_LE(difference.max().item<float>(), kTolerance)
          << "row " << row << ", layer " << layer << ", position " << held_->tokens(row);
    }
  }

  // noise: how far each result of attention is moved up or down, relative to itself
  at::Tensor LogitsOfStep(KvCache& cache, const std::vector<int64_t>& ids, double noise = 0) const {
    const StepPositions& next = cache.NextPositions();
    const NewestTokens newest = decoder_->NewestAt(next.of_row, next.index);
    at::Tensor hidden =
        decoder_->Embed(at::from_blob(const_cast<int64_t*>(ids.data()), {kRows}, at::kLong)
                            .to(Options().device(), at::kLong, false, true));
    for (size_t layer = 0; layer < layers().size(); ++layer) {
      at::Tensor attention = cache.Attend(layer, decoder_->ProjectNewest(layer, hidden, newest));
      if (noise > 0) attention = attention * (1 + noise * Random(attention.sizes()).sign());
      decoder_->AddAttentionAndMlp(layer, hidden, attention);
    }
    cache.EndStep();
    return decoder_->Logits(decoder_->FinalNorm(hidden)).to(at::kCPU, at::kFloat);
  }

  // How the logits of two runs differ, in units of the spread of a row's logits.
  struct Difference {
    double squares = 0;
    int64_t count = 0;
    double lead = 0;  // of the likeliest token over the next one, the largest where it is another

    void Add(const at::Tensor& found, const at::Tensor& expected, int64_t sequences) {
      for (int64_t row = 0; row < sequences; ++row) {
        const double spread = expected[row].std().item<double>();
        squares += (found[row] - expected[row]).div(spread).square().sum().item<double>();
        count += expected[row].numel();
        if (at::equal(found[row].argmax(), expected[row].argmax())) continue;
        const at::Tensor two = std::get<0>(at::topk(expected[row], 2));
        lead = std::max(lead, (two[0] - two[1]).item<double>() / spread);
      }
    }
    double size() const { return std::sqrt(squares / static_cast<double>(count)); }
  };

  void Steps(int count) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) Step();
  }

  static constexpr int64_t kRows = 14;

  TemporaryDirectory directory_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> packed_, held_;
  std::vector<bool> is_live_ = std::vector<bool>(kRows, false);
};

// Groups fill up, sequences end and others take their rows and their memory.
TEST_P(PackedAndHeld, EveryPairGivesWhatFakeQuantizedValuesGive) {
  ASSERT_LE(PairsThatCanBePacked().size(), static_cast<size_t>(kRows) * layers().size());
  std::map<int64_t, PrecisionPlan> first, second;
  for (int64_t row = 0; row < kRows; ++row) (row < 10 ? first : second)[row] = PlanOf(row);
  BeginPrompt(70, first);
  Steps(3);
  BeginPrompt(33, second);
  Steps(30);
  for (const int64_t row : {0, 3, 10}) End(row);
  Steps(2);
  BeginPrompt(64, {{0, PlanOf(0)}, {3, PlanOf(3)}});
  BeginPrompt(31, {{10, PlanOf(10)}});
  Steps(20);
  for (int64_t row = 0; row < kRows; ++row) End(row);
  BeginPrompt(1, first);
  Steps(2);
}

// Sequences of one prompt and plan, which CUDA's kernel reads together. The first of those that are
// read together ends, others take its memory, and one of another prompt comes between them.
TEST_P(PackedAndHeld, SequencesOfOnePromptGiveWhatFakeQuantizedValuesGive) {
  const std::vector<PrecisionPair> pairs = PairsThatCanBePacked();
  const size_t pairs_at_a_time = GetParam().device == "cpu" ? pairs.size() : layers().size();
  for (size_t pair = 0; pair < pairs.size() && !HasFatalFailure(); pair += pairs_at_a_time) {
    const PrecisionPlan plan = PlanOf(0, {pairs.begin() + static_cast<int64_t>(pair), pairs.end()});
    const PrecisionPlan other = PlanOf(1);
    BeginPrompt(140, {{0, plan}, {1, plan}, {2, other}, {4, plan}, {5, plan}, {6, plan}});
    BeginPrompt(70, {{3, plan}, {7, other}, {8, plan}});
    Steps(3);
    End(0);
    End(4);
    Steps(2);
    BeginPrompt(66, {{0, plan}, {4, plan}, {9, plan}});
    Steps(3);
    for (int64_t row = 0; row < 10; ++row) End(row);
  }
}

// A whole model that is told its tokens. Both caches begin with the same prompts, and what differs
// is how attention is rounded in each layer, and then codes in later layers. They are integers of 8
// bits, because a neighbouring code of few bits is another key altogether. The yardstick is what
// one rounding step of bfloat16 at every result of attention does to the logits of the
// fake-quantized cache, in the root of the mean square. Twice as much is allowed, and another token
// only where the likeliest one leads by less than six times as much, three for each of the two
// logits.
TEST_P(PackedAndHeld, LogitsAgreeAndSoDoTokensThatAreNotNearTies) {
  if (GetParam().model.architecture == "GptOssForCausalLM")
    GTEST_SKIP() << "rounding may choose other experts";
  constexpr int64_t kSequences = 4;
  std::vector<PrecisionPair> wide = PairsThatCanBePacked();
  std::erase_if(wide, [](PrecisionPair pair) {
    const auto is_coarse = [](KvFormatId id) {
      return FormatOf(id).bits < 8 || id == KvFormatId::kFp8E4m3;
    };
    return is_coarse(pair.key) || is_coarse(pair.value);
  });
  std::vector<PlacedPlan> placed;
  std::vector<PrecisionPlan> plans;
  for (int64_t row = 0; row < kSequences; ++row) {
    plans.push_back(PlanOf(row, wide));
    placed.push_back({row, plans.back()});
  }
  TokenIds prompt;
  for (int i = 0; i < 90; ++i) prompt.push_back((i * 37 + 11) % GetParam().model.vocab);
  KvCache noisy(*decoder_, CacheSize{kRows, kMostTokens});
  for (const bool has_beginning : {false, true}) {
    const PrefillMode mode = has_beginning ? PrefillMode::kQuantized : PrefillMode::kExact;
    SCOPED_TRACE(has_beginning ? "quantized prefill with a shared beginning" : "exact prefill");
    const SharedBeginning beginning =
        has_beginning ? SharedBeginning(*decoder_, {prompt.begin(), prompt.begin() + 20}, plans)
                      : SharedBeginning();
    Prefill prefill(*decoder_, mode, beginning);
    for (const PlacedPlan& each : placed)
      ASSERT_TRUE(packed_->Admit(each.row, each.plan, kMostTokens));
    const at::Tensor last = prefill.Fill(prompt, placed, *packed_);
    ASSERT_TRUE(at::equal(last, prefill.Fill(prompt, placed, *held_)));
    prefill.Fill(prompt, placed, noisy);
    Difference of_packed, of_noise;
    for (int step = 0; step < 10; ++step) {
      std::vector<int64_t> ids;
      for (int64_t row = 0; row < kRows; ++row)
        ids.push_back((row * 13 + step * 29) % GetParam().model.vocab);
      const at::Tensor expected = LogitsOfStep(*held_, ids);
      of_packed.Add(LogitsOfStep(*packed_, ids), expected, kSequences);
      of_noise.Add(LogitsOfStep(noisy, ids, 0x1p-8), expected, kSequences);
    }
    std::printf("difference %.4f, of noise %.4f, lead of a changed token %.4f\n", of_packed.size(),
                of_noise.size(), of_packed.lead);
    EXPECT_LE(of_packed.size(), 2 * of_noise.size());
    EXPECT_LE(of_packed.lead, 6 * of_noise.size());
    for (const PlacedPlan& each : placed) {
      End(each.row);
      noisy.End(each.row);
    }
  }
}

// A sequence waits until there is room for what its own plan takes.
TEST_P(PackedAndHeld, SequencesAreAdmittedByTheBytesOfTheirPlans) {
  const size_t count = layers().size();
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, count);
  const PrecisionPlan low = PrecisionPlan::Uniform({KvFormatId::kInt2, KvFormatId::kInt2}, count);
  KvCache cache(*decoder_, PackedSize(2));
  EXPECT_TRUE(cache.Admit(0, exact, kMostTokens));
  EXPECT_TRUE(cache.Admit(1, low, kMostTokens));
  EXPECT_FALSE(cache.Admit(2, exact, kMostTokens));
  EXPECT_TRUE(cache.Admit(2, exact, 64));
  EXPECT_TRUE(cache.Admit(3, low, 64));
  cache.End(0);
  EXPECT_TRUE(cache.Admit(4, exact, kMostTokens));
}

TEST_P(PackedAndHeld, LayersArePackedOnCudaWhereTheirPairIsUnderEveryPlan) {
  const PrecisionPlan packable = PlanOf(0);
  PrecisionPlan other = PlanOf(1);
  other.layers[1] = {KvFormatId::kKiviInt4, KvFormatId::kInt4};  // a window on one side
  const bool is_cuda = GetParam().device == "cuda";
  const CacheForm packed = is_cuda ? CacheForm::kPacked : CacheForm::kFakeQuantized;
  EXPECT_EQ(FormsFor(*decoder_, std::vector{packable}), CacheForms(layers().size(), packed));
  const CacheForms forms = FormsFor(*decoder_, std::vector{packable, other});
  EXPECT_EQ(forms, (CacheForms{packed, CacheForm::kFakeQuantized, packed}));
  EXPECT_EQ(DescriptionOf(forms),
            is_cuda ? "3 layers, 2 of them packed" : "3 layers, 0 of them packed");
}

TEST(CanPack, NeedsBFloat16HeadsOfOneSizeAndPairsOfThePackedFormats) {
  const LayerConfig layer{.kv_heads = 2, .key_head_dim = 64, .value_head_dim = 64};
  const std::vector<PrecisionPair> pairs = {{KvFormatId::kInt4, KvFormatId::kInt2}, kExactPair};
  EXPECT_TRUE(CanPack(layer, pairs, at::kBFloat16));
  EXPECT_FALSE(CanPack(layer, pairs, at::kHalf));
  EXPECT_FALSE(CanPack(layer, pairs, at::kFloat));
  LayerConfig uneven = layer;
  uneven.value_head_dim = 128;
  EXPECT_FALSE(CanPack(uneven, pairs, at::kBFloat16));
  const std::vector<PrecisionPair> one_window = {pairs[0],
                                                 {KvFormatId::kKiviInt4, KvFormatId::kInt4}};
  EXPECT_FALSE(CanPack(layer, one_window, at::kBFloat16));
}

std::vector<PackedSequencesCase> PackedSequencesCases() {
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
  TinyModel many = plain;  // ten query heads share a KV head
  many.query_heads = 10;
  many.kv_heads = 1;
  std::vector<PackedSequencesCase> cases;
  for (const std::string device : {"cpu", "cuda"}) {
    cases.push_back({device + "Plain", device, plain});
    cases.push_back({device + "Window", device, window});
    cases.push_back({device + "Caps", device, caps});
    cases.push_back({device + "Sinks", device, sinks});
    cases.push_back({device + "SingleHeads", device, single});
    cases.push_back({device + "UnevenHeads", device, uneven});
    cases.push_back({device + "ManyHeads", device, many});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, PackedAndHeld, ::testing::ValuesIn(PackedSequencesCases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kvtune
