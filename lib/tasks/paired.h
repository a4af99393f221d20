// Two plans on the same items: which answers flipped, and whether that is more than chance.
//
// Items differ in difficulty by far more than plans do, so two shares of right answers say little.
// The items on which two plans disagree say much.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/base/statistics.h"

namespace kvtune {

// The standard error of a mean, as lm-evaluation-harness prints it: the sample's standard deviation
// (n - 1) over sqrt(n). It is 0 for fewer than two numbers.
double StandardError(std::span<const double> scores);

struct Flips {
  int64_t items = 0;
  int64_t lost = 0;    // right under the reference and wrong under the plan
  int64_t gained = 0;  // the reverse
};

// REQUIRES: as many verdicts of the plan as of the reference, item by item.
Flips CountFlips(std::span<const char> reference, std::span<const char> plan);
// The same of scores from 0 to 1. An item is lost where the plan scores less, gained where more, so
// that McNemar's test is the sign test.
Flips CountFlips(std::span<const double> reference, std::span<const double> plan);

// The exact two-sided p of McNemar's test: how likely flips at least this lopsided are when either
// direction is as likely (binomial with 1/2; McNemar 1947). 1 where nothing flipped.
double McNemarP(int64_t lost, int64_t gained);

// The interval of accuracy of the plan minus that of the reference: Wald's for paired proportions
// with half a count added to each of the four cells (Agresti and Min 2005).
Interval DifferenceInterval(const Flips& flips, double confidence = 0.95);

// The same, widened to hold the exact interval given the number of flips (Clopper and Pearson 1934
// for the share of flips that are gains). It leaves out 0 only where McNemar's exact test rejects
// at this confidence, which the approximation alone does not promise for few flips. [0, 0] where
// nothing flipped.
Interval CautiousDifferenceInterval(const Flips& flips, double confidence);

// The interval of the mean score of the plan minus that of the reference. Of scores that are all 0
// or 1 it is the cautious one, or the approximation where nothing flipped; of others it is
// Student's t with the standard error of the paired differences. REQUIRES: as many scores of both,
// one at least.
Interval ScoreDifferenceInterval(std::span<const double> reference, std::span<const double> plan,
                                 double confidence = 0.95);

// The fewest items on which McNemar's exact test can reject at this confidence: if all flip in one
// direction. REQUIRES: confidence < 1.
int64_t FewestItems(double confidence);

// How many items would show a true difference of this size, in 0 to 1, with 80 % probability at 5 %
// significance, if plans disagree on `discordant` of them (Connor 1987).
// REQUIRES: 0 < difference <= 1.
int64_t ItemsToSee(double difference, double discordant);

// How many items would decide whether the observed difference is one; nullopt where it is decided
// (p < 0.05) or where no difference was seen.
std::optional<int64_t> ItemsToDecide(const Flips& flips);

}  // namespace kvtune
