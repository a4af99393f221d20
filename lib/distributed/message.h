// What the processes of a run say to each other, as bytes. Numbers keep all their bits, so that a
// result is the same wherever it was computed. Both sides are the same version of the program on
// the same kind of processor, which the greeting checks (lease_worker.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/core/generation.h"
#include "lib/core/layer_observation.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"
#include "lib/core/token_ids.h"

namespace kvtune {

enum class LeaseKind : uint8_t { kScore, kObserve, kGenerate };

// Where the rows of a lease end.
struct RowEnds {
  int64_t max_new_tokens = 0;
  std::vector<int32_t> end_tokens = {};
  std::vector<std::string> stops = {};
  uint64_t stop_tokens = 0;  // StopTexts::newest_tokens
};

// What a lease asks for; it needs nothing else but the model, its tokenizer and its maxima.
struct LeaseRequest {
  LeaseKind kind = LeaseKind::kScore;
  int64_t maxima_version = 0;             // 0: none were set
  std::vector<PrecisionPlan> plans = {};  // kScore, kGenerate
  std::vector<PrecisionPair> pairs = {};  // kObserve
  std::vector<TokenIds> prompts = {};
  std::vector<GenerationRow> rows = {};  // kGenerate: of these plans and prompts
  int64_t shared_tokens = 0;             // kGenerate: GenerationRequest::shared_tokens
  RowEnds ends = {};                     // kGenerate
};

// What was computed for it, or the error that its process met.
struct LeaseResult {
  std::string error;                             // empty: none
  double seconds = 0;                            // that it took
  std::vector<std::vector<PromptScore>> scores;  // kScore: [plan][prompt]
  std::vector<LayerObservation> observations;    // kObserve: by layer
  std::vector<TokenIds> generated;               // kGenerate: by row
};

std::string Encode(const LeaseRequest& request);
std::string Encode(const LeaseResult& result);
std::string Encode(const std::vector<LayerMaxima>& maxima);

// They throw Error for bytes that Encode has not written.
LeaseRequest DecodeRequest(std::string_view bytes);
LeaseResult DecodeResult(std::string_view bytes);
std::vector<LayerMaxima> DecodeMaxima(std::string_view bytes);

}  // namespace kvtune
