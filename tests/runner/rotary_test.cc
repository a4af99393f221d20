#include "lib/runner/rotary.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvtune {
namespace {

RopeConfig LongRope() {
  RopeConfig rope;
  rope.rotary_dim = 8;
  rope.theta = 10000;
  rope.type = RopeType::kLongRope;
  rope.original_max_position_embeddings = 16;
  rope.short_factor = {1, 1, 1, 1};
  rope.long_factor = {1, 2, 4, 8};
  return rope;
}

// The newest token of a sequence is rotated as the last token of a prompt of that length.
TEST(Rotary, TheNewestTokensAreRotatedAsThoseOfPrompts) {
  RotaryEmbedding rotary(LongRope(), 64, at::TensorOptions(at::kFloat));
  // All short, all beyond the original context, and both.
  for (std::vector<int64_t> positions :
       {std::vector<int64_t>{0, 15, 3}, std::vector<int64_t>{16, 40},
        std::vector<int64_t>{50, 2, 15, 16}}) {
    const at::Tensor index =
        at::from_blob(positions.data(), {static_cast<int64_t>(positions.size())}, at::kLong);
    const RotaryTables newest = rotary.OfNewest(positions, index);
    for (size_t i = 0; i < positions.size(); ++i) {
      const RotaryTables alone =
          rotary.Of({.first = positions[i], .prompt_tokens = positions[i] + 1}, 1);
      EXPECT_TRUE(at::equal(newest.cos.select(0, static_cast<int64_t>(i)), alone.cos.select(0, 0)))
          << positions[i];
      EXPECT_TRUE(at::equal(newest.sin.select(0, static_cast<int64_t>(i)), alone.sin.select(0, 0)))
          << positions[i];
    }
  }
}

}  // namespace
}  // namespace kvtune
