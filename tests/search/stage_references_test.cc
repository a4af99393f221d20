// Pruning, DBSCAN and the diagnosis over random tables, against slow functions that follow the
// definitions in docs/algorithm.md word by word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "lib/base/random.h"
#include "search/cluster.h"
#include "search/diagnose.h"
#include "search/prune.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

// Pruning: bits and error of a layer's pairs, in the order of the table.
struct BitsAndError {
  PrecisionPair pair;
  double bits = 0;
  double error = 0;
};

LayerCandidates PrunedByDefinition(std::vector<BitsAndError> pairs, double epsilon, size_t floor) {
  LayerCandidates layer;
  std::ranges::sort(pairs, {}, &BitsAndError::error);
  std::vector<BitsAndError> kept;
  std::vector<DroppedPair> dropped;  // the smallest error first
  for (const BitsAndError& pair : pairs) {
    // The pairs are sorted, so the first that makes this one needless has the smallest error.
    const auto better = std::ranges::find_if(pairs, [&](const BitsAndError& other) {
      const bool is_other = other.pair != pair.pair;
      return is_other && other.bits <= pair.bits && other.error <= (1 - epsilon) * pair.error;
    });
    if (better == pairs.end()) {
      kept.push_back(pair);
    } else {
      dropped.push_back({pair.pair, better->pair});
    }
  }
  while (kept.size() < floor && !dropped.empty()) {
    kept.push_back(*std::ranges::find(pairs, dropped.front().pair, &BitsAndError::pair));
    dropped.erase(dropped.begin());
  }
  std::ranges::sort(kept, [](const BitsAndError& a, const BitsAndError& b) {
    return a.bits != b.bits ? a.bits > b.bits : a.error < b.error;
  });
  for (const BitsAndError& pair : kept) layer.kept.push_back(pair.pair);
  layer.dropped = dropped;
  return layer;
}

TEST(StageReferences, PruningKeepsWhatTheDefinitionKeeps) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed);
    const SensitivityTable table = RandomTable(random, 6);
    PruneOptions options;
    options.epsilon = 0.1 * static_cast<double>(seed % 4);
    options.min_pairs = 1 + static_cast<int>(seed % 5);
    options.bits = seed % 3 == 0 ? BitCount::kNominal : BitCount::kEffective;
    options.metric = seed % 7 == 0 ? ScreeningError::kIsolatedKl : ScreeningError::kAttentionOutput;
    const CandidateSet candidates = Prune(table, options);
    ASSERT_EQ(candidates.layers.size(), 6U);
    for (size_t layer = 0; layer < 6; ++layer) {
      std::vector<BitsAndError> pairs;
      for (size_t i = 0; i < table.pairs.size(); ++i) {
        const PairErrors& errors = table.layers[layer].errors[i];
        const PrecisionPair pair = table.pairs[i];
        pairs.push_back({pair,
                         options.bits == BitCount::kEffective
                             ? errors.bits
                             : (FormatOf(pair.key).bits + FormatOf(pair.value).bits) / 2.0,
                         options.metric == ScreeningError::kIsolatedKl ? *errors.kl : errors.e_o});
      }
      const LayerCandidates expected =
          PrunedByDefinition(pairs, options.epsilon, static_cast<size_t>(options.min_pairs));
      const LayerCandidates& found = candidates.layers[layer];
      EXPECT_EQ(found.index, layer);
      EXPECT_EQ(found.kept, expected.kept) << "seed " << seed << ", layer " << layer;
      ASSERT_EQ(found.dropped.size(), expected.dropped.size()) << "seed " << seed;
      for (size_t i = 0; i < expected.dropped.size(); ++i) {
        EXPECT_EQ(found.dropped[i].pair, expected.dropped[i].pair) << "seed " << seed;
        EXPECT_EQ(found.dropped[i].dominated_by, expected.dropped[i].dominated_by);
      }
    }
  }
}

// DBSCAN: clusters are the components of core points that are near each other. Any other point
// joins the first cluster that has a core point near it.
std::vector<int> ClustersByDefinition(const std::vector<std::vector<double>>& points, double eps,
                                      size_t min_samples) {
  const size_t count = points.size();
  const auto near = [&](size_t a, size_t b) {
    return std::hypot(points[a][0] - points[b][0], points[a][1] - points[b][1]) <= eps;
  };
  std::vector<bool> is_core(count);
  for (size_t a = 0; a < count; ++a) {
    size_t neighbours = 0;
    for (size_t b = 0; b < count; ++b) neighbours += near(a, b) ? 1 : 0;
    is_core[a] = neighbours >= min_samples;
  }
  // Every core point takes the smallest core point that a chain leads to.
  std::vector<size_t> root(count);
  for (size_t a = 0; a < count; ++a) root[a] = a;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t a = 0; a < count; ++a) {
      for (size_t b = 0; b < count; ++b) {
        if (!is_core[a] || !is_core[b] || !near(a, b) || root[b] >= root[a]) continue;
        root[a] = root[b];
        changed = true;
      }
    }
  }
  std::set<size_t> roots;
  for (size_t a = 0; a < count; ++a) {
    if (is_core[a]) roots.insert(root[a]);
  }
  std::vector<int> clusters(count, kNoise);
  for (size_t a = 0; a < count; ++a) {
    for (size_t b = 0; b < count; ++b) {
      if (!is_core[b] || !near(a, b)) continue;
      const auto number = static_cast<int>(std::distance(roots.begin(), roots.find(root[b])));
      if (clusters[a] == kNoise || number < clusters[a]) clusters[a] = number;
    }
  }
  return clusters;
}

TEST(StageReferences, ClustersAreThoseOfTheDefinition) {
  std::set<int> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    std::vector<std::vector<double>> points(1 + random.Below(30));
    for (std::vector<double>& point : points) point = {random.Unit(), random.Unit()};
    const double eps = 0.05 + 0.25 * random.Unit();
    const int min_samples = 1 + static_cast<int>(random.Below(5));
    const std::vector<int> found = Dbscan(points, eps, min_samples);
    EXPECT_EQ(found, ClustersByDefinition(points, eps, static_cast<size_t>(min_samples)))
        << "seed " << seed;
    seen.insert(found.begin(), found.end());
  }
  EXPECT_GE(seen.size(), 4U) << "noise and several clusters have to occur";
}

// Diagnosis.
double MiddleOf(std::vector<double> values) {
  std::ranges::sort(values);
  return values[(values.size() - 1) / 2];
}

std::vector<bool> StandOut(const std::vector<double>& values, double factor) {
  std::vector<double> logarithms, deviations;
  for (const double value : values) logarithms.push_back(std::log(value));
  const double middle = MiddleOf(logarithms);
  for (const double logarithm : logarithms) deviations.push_back(std::abs(logarithm - middle));
  const double limit = middle + std::max(std::log(factor), 3.5 * 1.4826 * MiddleOf(deviations));
  std::vector<bool> result;
  for (const double logarithm : logarithms) result.push_back(logarithm > limit);
  return result;
}

// A table whose layers differ by orders of magnitude, so that some stand out.
SensitivityTable UnevenTable(uint64_t seed) {
  Random random(seed);
  SensitivityTable table = RandomTable(random, 5 + seed % 8);
  for (LayerSensitivity& layer : table.layers) {
    const double factor = std::pow(10.0, -2.5 * random.Unit());
    for (PairErrors& errors : layer.errors) {
      errors.e_o *= factor;
      for (std::vector<double>* heads : {&errors.head_e_o, &errors.head_e_k_median}) {
        for (double& error : *heads) error *= factor;
      }
      if (seed % 4 == 0) {
        errors.head_e_o.clear();
        errors.head_e_k_median.clear();
      }
    }
    layer.key_outlier_ratio *= factor;
    layer.key_bias_norm *= factor;
  }
  return table;
}

// "safe int4: layer 3 needs int8 because of 0 2" and so on, by the definition.
std::string DiagnosisByDefinition(const SensitivityTable& table) {
  const size_t layers = table.layers.size();
  // Of each key format, the pair whose values err least over all layers; fewest bits first.
  const std::vector<KvFormatId> keys = {KvFormatId::kInt2, KvFormatId::kInt4, KvFormatId::kInt8};
  std::vector<std::vector<double>> output(3), key_error(3);
  for (size_t k = 0; k < 3; ++k) {
    double least = INFINITY;
    for (size_t i = 0; i < table.pairs.size(); ++i) {
      if (table.pairs[i].key != keys[k]) continue;
      double sum = 0;
      for (const LayerSensitivity& layer : table.layers) sum += layer.errors[i].e_v;
      if (sum >= least) continue;
      least = sum;
      output[k].clear();
      key_error[k].clear();
      for (const LayerSensitivity& layer : table.layers) {
        const PairErrors& e = layer.errors[i];
        output[k].push_back(e.head_e_o.empty() ? e.e_o : std::ranges::max(e.head_e_o));
        key_error[k].push_back(e.head_e_k_median.empty() ? e.e_k
                                                         : std::ranges::max(e.head_e_k_median));
      }
    }
  }
  size_t safe = 0;
  while (safe < 3 && MiddleOf(output[safe]) > 0.25) ++safe;
  if (safe == 3) {
    safe = 0;
    for (size_t k = 1; k < 3; ++k) {
      if (MiddleOf(output[k]) < MiddleOf(output[safe])) safe = k;
    }
  }
  std::vector<double> ratios, biases;
  for (const LayerSensitivity& layer : table.layers) {
    ratios.push_back(layer.key_outlier_ratio);
    biases.push_back(layer.key_bias_norm);
  }
  std::vector<std::vector<int>> causes(layers);
  for (size_t layer = 0; layer < layers; ++layer) {
    bool of_keys = false;
    for (size_t k = safe; k < 3; ++k) of_keys = of_keys || StandOut(key_error[k], 2)[layer];
    const bool of_output = StandOut(output[safe], 3)[layer];
    if (of_keys) causes[layer].push_back(0);
    if (of_output) causes[layer].push_back(1);
    if ((of_keys || of_output) && StandOut(ratios, 2)[layer]) causes[layer].push_back(2);
    if ((of_keys || of_output) && StandOut(biases, 2)[layer]) causes[layer].push_back(3);
  }
  double bearable = 0;
  for (size_t layer = 0; layer < layers; ++layer) {
    if (causes[layer].empty()) bearable = std::max(bearable, output[safe][layer]);
  }
  std::string text = bearable <= 0.25 ? "safe " : "not safe ";
  text += FormatOf(keys[safe]).name;
  for (size_t layer = 0; layer < layers; ++layer) {
    if (causes[layer].empty() || output[safe][layer] <= bearable) continue;
    size_t needed = safe;
    while (needed < 3 && output[needed][layer] > bearable) ++needed;
    text += ", " + std::to_string(layer) + ": ";
    text += FormatOf(needed < 3 ? keys[needed] : KvFormatId::kExact).name;
    for (const int cause : causes[layer]) text += " " + std::to_string(cause);
  }
  return text;
}

TEST(StageReferences, TheDiagnosisNamesTheLayersOfTheDefinition) {
  size_t fragile = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const SensitivityTable table = UnevenTable(seed);
    const Diagnosis diagnosis = Diagnose(table);
    ASSERT_TRUE(diagnosis.safe_key);
    std::string text = diagnosis.is_safe ? "safe " : "not safe ";
    text += FormatOf(*diagnosis.safe_key).name;
    for (const FragileLayer& layer : diagnosis.fragile) {
      text += ", " + std::to_string(layer.index) + ": ";
      text += FormatOf(layer.needed_key).name;
      for (const FragilityCause cause : layer.causes)
        text += " " + std::to_string(static_cast<int>(cause));
      ++fragile;
    }
    EXPECT_EQ(text, DiagnosisByDefinition(table)) << "seed " << seed;
  }
  EXPECT_GT(fragile, 20U) << "fragile layers have to occur";
}

}  // namespace
}  // namespace kvtune
