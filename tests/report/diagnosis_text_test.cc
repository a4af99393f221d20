#include "lib/report/diagnosis_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

Diagnosis SafeDiagnosis() {
  Diagnosis diagnosis;
  diagnosis.safe_key = KvFormatId::kInt4;
  diagnosis.is_safe = true;
  diagnosis.ordinary_output_error = 0.0717;
  diagnosis.ordinary_median = {
      .output_error = 0.06, .key_error = 0.1, .key_outlier_ratio = 2, .key_bias_norm = 22};
  return diagnosis;
}

FragileLayer Fragile(size_t index, KvFormatId needed) {
  return {.index = index,
          .needed_key = needed,
          .measured = {.output_error = 0.5,
                       .key_error = 1,
                       .key_outlier_ratio = 30,
                       .key_bias_norm = 605},
          .causes = {FragilityCause::kKeyError, FragilityCause::kKeyOutliers,
                     FragilityCause::kKeyBias}};
}

TEST(DiagnosisText, SentenceNamesLayersByNeed) {
  Diagnosis diagnosis = SafeDiagnosis();
  diagnosis.fragile = {Fragile(0, KvFormatId::kInt8), Fragile(27, KvFormatId::kInt8)};
  EXPECT_EQ(DiagnosisSentence(diagnosis),
            "Layers 0 and 27 need at least int8 keys; without them int4 keys are safe (attention "
            "output error up to 0.072).\n");
  diagnosis.fragile = {Fragile(0, KvFormatId::kInt8), Fragile(5, KvFormatId::kExact),
                       Fragile(6, KvFormatId::kInt8), Fragile(7, KvFormatId::kInt8)};
  diagnosis.is_safe = false;
  diagnosis.ordinary_output_error = 0.3;
  EXPECT_EQ(DiagnosisSentence(diagnosis),
            "Layer 5 needs exact keys and layers 0, 6 and 7 need at least int8 keys; without them "
            "int4 keys are not safe in every layer (attention output error up to 0.300).\n");
}

TEST(DiagnosisText, SaysThatNothingStandsOut) {
  EXPECT_EQ(DiagnosisText(SafeDiagnosis(), 0),
            "No layer stands out; int4 keys are safe (attention output error up to 0.072).\n");
  EXPECT_EQ(DiagnosisText({}, 0), "");
}

TEST(DiagnosisText, ARowForEveryFragileLayerAndOneForTheOthers) {
  Diagnosis diagnosis = SafeDiagnosis();
  diagnosis.fragile = {Fragile(3, KvFormatId::kInt8)};
  EXPECT_EQ(DiagnosisText(diagnosis, 0),
            "Layer 3 needs at least int8 keys; without them int4 keys are safe (attention output "
            "error up to 0.072).\n"
            " layer  keys  output error  key error  largest channel  key bias  stands out\n"
            "     3  int8         0.500      1.000             30.0     605.0  key error, key "
            "outlier channels and key bias\n"
            "others  int4         0.072      0.100              2.0      22.0  -\n"
            "Errors with int4 keys, of the worst KV head; key error: of the median channel; "
            "largest channel: over the median one. Others: the worst output error, else "
            "medians.\n");
}

}  // namespace
}  // namespace kvtune
