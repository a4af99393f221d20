#include "lib/core/layer_observation.h"

#include <algorithm>

namespace kvtune {
namespace {

void AddTo(std::vector<double>& total, const std::vector<double>& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

template <typename T>
void KeepLarger(std::vector<T>& total, const std::vector<T>& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] = std::max(total[i], part[i]);
}

}  // namespace

HeadErrorSums& HeadErrorSums::operator+=(const HeadErrorSums& other) {
  k_error += other.k_error;
  k_total += other.k_total;
  k_ratio += other.k_ratio;
  k_count += other.k_count;
  v_error += other.v_error;
  v_total += other.v_total;
  v_ratio += other.v_ratio;
  v_count += other.v_count;
  o_error += other.o_error;
  o_total += other.o_total;
  o_ratio += other.o_ratio;
  o_count += other.o_count;
  a_error += other.a_error;
  a_count += other.a_count;
  return *this;
}

LayerObservation& LayerObservation::operator+=(const LayerObservation& other) {
  for (size_t pair = 0; pair < pairs.size(); ++pair) {
    for (size_t head = 0; head < pairs[pair].kv_heads.size(); ++head) {
      pairs[pair].kv_heads[head] += other.pairs[pair].kv_heads[head];
    }
    AddTo(pairs[pair].key_channel_error, other.pairs[pair].key_channel_error);
  }
  AddTo(key_channel_total, other.key_channel_total);
  AddTo(concentration_sum, other.concentration_sum);
  concentration_count += other.concentration_count;
  key_bias_norm = other.key_bias_norm;
  KeepLarger(key_channel_max, other.key_channel_max);
  KeepLarger(maxima.key, other.maxima.key);
  KeepLarger(maxima.value, other.maxima.value);
  return *this;
}

}  // namespace kvtune
