// The kernels against their formulas in double, and smallest examples by hand.
#include "lib/kernels/row_kernels_cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

using Values = std::vector<float>;

// More than this many elements are shared by threads (vector_math.h).
constexpr int64_t kManyRows = 300, kWidth = 131;

Values RandomValues(int64_t count, uint64_t seed, double scale = 3) {
  Random random(seed);
  Values values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>((random.Unit() * 2 - 1) * scale);
  return values;
}

double Real(float x) { return static_cast<double>(x); }

void ExpectNear(float actual, double expected, double tolerance) {
  EXPECT_NEAR(Real(actual), expected, tolerance * (1 + std::abs(expected)));
}

TEST(RmsNormRows, ByHand) {
  const Values x = {3, -3, 3, 3, 0, 0, 0, 0}, weight = {1, 2, 0, -1};
  Values out(8);
  RmsNormRows(x.data(), weight.data(), out.data(), 2, 4, 0);
  EXPECT_EQ(Values(out.begin(), out.begin() + 4), (Values{1, -2, 0, -1}));
  RmsNormRows(x.data() + 4, weight.data(), out.data(), 1, 4, 1e-6f);
  EXPECT_EQ(Values(out.begin(), out.begin() + 4), (Values{0, 0, 0, 0}));  // eps keeps 0 / 0 away
}

TEST(RmsNormRows, AgreesWithTheFormulaOverManyRows) {
  const Values x = RandomValues(kManyRows * kWidth, 1), weight = RandomValues(kWidth, 2);
  Values out(x.size());
  RmsNormRows(x.data(), weight.data(), out.data(), kManyRows, kWidth, 1e-5f);
  for (int64_t row = 0; row < kManyRows; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < kWidth; ++i) squares += std::pow(Real(x[row * kWidth + i]), 2);
    const double length = std::sqrt(squares / kWidth + 1e-5);
    for (int64_t i = 0; i < kWidth; ++i)
      ExpectNear(out[row * kWidth + i], Real(x[row * kWidth + i]) / length * Real(weight[i]), 1e-5);
  }
}

double Activated(Activation activation, double x, double up) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x)) * up;
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))) * up;
    default: {
      const double limit = Real(kSwigluLimit), slope = Real(kSwigluSlope);
      const double gate = std::min(x, limit);
      return gate / (1 + std::exp(-slope * gate)) * (std::clamp(up, -limit, limit) + 1);
    }
  }
}

TEST(GatedRows, AgreeWithTheFormulas) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGeluTanh, Activation::kClampedSwiglu}) {
    Values gate_up = RandomValues(kManyRows * 2 * kWidth, 3, 20);
    gate_up[0] = 0;
    gate_up[1] = -200;  // exp overflows
    gate_up[2] = 200;
    Values out(kManyRows * kWidth);
    GatedRows(gate_up.data(), out.data(), kManyRows, kWidth, activation);
    for (int64_t row = 0; row < kManyRows; ++row) {
      const float* gate = gate_up.data() + row * 2 * kWidth;
      for (int64_t i = 0; i < kWidth; ++i) {
        ExpectNear(out[row * kWidth + i],
                   Activated(activation, Real(gate[i]), Real(gate[kWidth + i])), 1e-5);
      }
    }
  }
}

TEST(SoftCapElements, HoldsWithinTheCap) {
  const Values in = RandomValues(kManyRows * kWidth, 4, 200);
  Values out = in;
  SoftCapElements(out.data(), static_cast<int64_t>(out.size()), 30);
  for (size_t i = 0; i < in.size(); ++i) ExpectNear(out[i], 30 * std::tanh(Real(in[i]) / 30), 1e-6);
}

// Two heads of four channels behind one channel that belongs to nobody, in rows of ten.
constexpr HeadLayout kHeads{2, 3, 10, 1, 2, 4};

float Source(int64_t row, int64_t channel) { return static_cast<float>(100 * row + channel); }

Values SourceRows() {
  Values source;
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t channel = 0; channel < 10; ++channel) source.push_back(Source(row, channel));
  }
  return source;
}

TEST(RmsNormHeads, TouchesItsHeadsOnly) {
  const Values before = SourceRows(), weight = {1, 1, 1, 2};
  Values after = before;
  RmsNormHeads(after.data(), kHeads, weight.data(), 0);
  for (int64_t row = 0; row < 6; ++row) {
    const size_t first = static_cast<size_t>(row) * 10;
    EXPECT_EQ(after[first], before[first]);
    EXPECT_EQ(after[first + 9], before[first + 9]);
    for (const size_t head : {first + 1, first + 5}) {
      double squares = 0;
      for (size_t i = head; i < head + 4; ++i) squares += Real(before[i]) * Real(before[i]);
      for (size_t i = 0; i < 4; ++i) {
        ExpectNear(after[head + i],
                   Real(before[head + i]) / std::sqrt(squares / 4) * Real(weight[i]), 1e-6);
      }
    }
  }
}

TEST(GatherHeads, PutsTokensOfAHeadTogether) {
  const Values source = SourceRows();
  Values out(2 * 2 * 3 * 4);
  GatherHeads(source.data(), kHeads, 2, out.data());
  size_t at = 0;
  for (int64_t sequence = 0; sequence < 2; ++sequence) {
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t token = 0; token < 3; ++token) {
        for (int64_t i = 0; i < 4; ++i)
          EXPECT_EQ(out[at++], 2 * Source(sequence * 3 + token, 1 + head * 4 + i));
      }
    }
  }
}

TEST(GatherHeads, RotaryEmbeddingTurnsPairsOfTheFirstChannels) {
  const Values source = SourceRows();
  // Token 0 is not turned, token 1 by a quarter, token 2 by a half; channels 2 and 3 never.
  const Values cos = {1, 0, -1}, sin = {0, 1, 0};
  Values out(2 * 2 * 3 * 4);
  GatherRotatedHeads(source.data(), kHeads, 2, cos.data(), sin.data(), 0.5f, out.data());
  size_t at = 0;
  for (int64_t sequence = 0; sequence < 2; ++sequence) {
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t token = 0; token < 3; ++token) {
        const auto x = [&](int64_t i) { return Source(sequence * 3 + token, 1 + head * 4 + i); };
        const Values turned = token == 0   ? Values{x(0), x(1)}
                              : token == 1 ? Values{-x(1), x(0)}
                                           : Values{-x(0), -x(1)};
        EXPECT_EQ(out[at++], turned[0] * 0.5f);
        EXPECT_EQ(out[at++], turned[1] * 0.5f);
        EXPECT_EQ(out[at++], x(2) * 0.5f);
        EXPECT_EQ(out[at++], x(3) * 0.5f);
      }
    }
  }
}

void ExpectSoftmax(const Values& scores, const ScoreLayout& layout) {
  Values out = scores;
  CausalSoftmaxRows(out.data(), layout);
  for (int64_t matrix = 0; matrix < layout.matrices; ++matrix) {
    for (int64_t row = 0; row < layout.rows; ++row) {
      const size_t first = static_cast<size_t>((matrix * layout.rows + row) * layout.columns);
      const int64_t end = layout.first_visible + row;
      const int64_t begin = layout.window > 0 ? std::max<int64_t>(0, end - layout.window) : 0;
      double sum =
          layout.sinks == nullptr ? 0 : std::exp(Real(layout.sinks[matrix % layout.heads]));
      for (int64_t i = begin; i < end; ++i) sum += std::exp(Real(scores[first + i]));
      for (int64_t i = 0; i < layout.columns; ++i) {
        const bool is_seen = i >= begin && i < end;
        const double expected = is_seen ? std::exp(Real(scores[first + i])) / sum : 0;
        EXPECT_NEAR(Real(out[first + i]), expected, 1e-6) << matrix << ", " << row << ", " << i;
      }
    }
  }
}

TEST(CausalSoftmaxRows, SeesOnlyThePastItsWindowAndItsSink) {
  const Values sinks = {1, -2};
  for (const int64_t window : {0, 1, 3}) {
    for (const float* head_sinks : {static_cast<const float*>(nullptr), sinks.data()}) {
      ExpectSoftmax(RandomValues(4 * 5 * 9, 5), {4, 5, 9, 3, window, 2, head_sinks});
    }
  }
  ExpectSoftmax(RandomValues(8 * 70 * 70, 6), {8, 70, 70, 1, 0, 1, nullptr});  // several threads
}

TEST(CausalSoftmaxRows, SurvivesLargeScores) {
  Values scores = {1e4f, -1e4f, 1e4f};
  CausalSoftmaxRows(scores.data(), {1, 1, 3, 3, 0, 1, nullptr});
  EXPECT_EQ(scores[0], 0.5f);
  EXPECT_NEAR(scores[1], 0, 1e-30);
  EXPECT_EQ(scores[2], 0.5f);
}

}  // namespace
}  // namespace kvtune
