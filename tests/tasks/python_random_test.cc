#include "lib/tasks/python_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

// The numbers come from CPython: r = random.Random(SEED); r.sample(range(POPULATION), COUNT), twice
// in a row.
struct Drawn {
  uint32_t seed;
  size_t population;
  std::vector<size_t> first;
  std::vector<size_t> second;
};

TEST(PythonRandom, SamplesAsCPythonDoes) {
  const std::vector<Drawn> cases = {
      // The training rows of GSM8K.
      {1234, 7473, {6374, 3610, 957, 61, 742}, {7462, 6610, 4769, 286, 5501}},
      {1234, 7473, {6374, 3610, 957, 61}, {742, 7462, 6610, 4769}},
      // On both sides of the sizes up to which Python draws from a pool.
      {0, 21, {12, 13, 1, 8, 16}, {15, 12, 9, 20, 11}},
      {1, 22, {4, 18, 2, 8, 3}, {15, 14, 20, 12, 6}},
      {7, 85, {41, 19, 50, 6, 9, 68}, {12, 46, 74, 7, 64, 27}},
      {7, 86, {41, 19, 50, 83, 6, 9}, {68, 12, 46, 74, 7, 64}},
      {42, 3, {2, 0, 1}, {2, 1, 0}},
      {1234, 1, {0}, {0}},
      {4294967295u,
       40,
       {39, 13, 38, 33, 18, 21, 24, 17, 22, 28, 15, 37, 2, 6, 19, 4, 29, 16, 11, 5},
       {3, 21, 2, 24, 28, 16, 4, 0, 35, 36, 23, 6, 37, 7, 20, 12, 15, 13, 5, 9}},
      {5, 2000000000, {1337671202, 548563996, 1592975436}, {769949150, 1707665179, 1482723311}},
  };
  for (const Drawn& drawn : cases) {
    PythonRandom random(drawn.seed);
    EXPECT_EQ(random.Sample(drawn.population, drawn.first.size()), drawn.first) << drawn.seed;
    EXPECT_EQ(random.Sample(drawn.population, drawn.first.size()), drawn.second) << drawn.seed;
  }
}

// The state of the generator is made anew after 624 words.
TEST(PythonRandom, GoesOnBehindItsFirstState) {
  PythonRandom random(1234);
  std::vector<size_t> last;
  for (int i = 0; i < 300; ++i) last = random.Sample(7473, 5);
  EXPECT_THAT(last, ElementsAre(4549, 6241, 1900, 2089, 2442));
}

TEST(PythonRandom, BoundsAreThoseOfRandbelow) {
  PythonRandom random(9);
  std::vector<uint32_t> drawn;
  for (const uint32_t bound : {1u, 2u, 3u, 1000u, 2147483648u, 4294967295u})
    drawn.push_back(random.Below(bound));
  EXPECT_THAT(drawn, ElementsAre(0, 1, 1, 141, 799486471, 3721854805));
}

}  // namespace
}  // namespace kvtune
