// A MeasuredModel whose work is shared by all processes of a run: rank 0 wraps its own model in
// one.
//
// What it returns does not depend on the number of processes, on a CPU down to the last bit: a
// plan's score on a prompt depends on nothing but the two, so does what is generated, and
// observations are added prompt by prompt in their order. Passes of the exact model that are kept
// and the noise floor stay with rank 0.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/distributed/heartbeat.h"
#include "lib/distributed/lease_board.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/message.h"
#include "lib/distributed/store.h"

namespace kvtune {

// The leases that take this long each cost little in messages, and lose little when a process dies.
inline constexpr double kLeaseSeconds = 2;

class SharedModel : public MeasuredModel {
 public:
  // REQUIRES: rank 0 has greeted in the store and shown the model. `heartbeat` is that of rank 0.
  SharedModel(std::unique_ptr<MeasuredModel> model, std::unique_ptr<Store> store,
              std::unique_ptr<Heartbeat> heartbeat, int world, const LeaseTimes& times);
  // Ends the run for the other processes: well, or with an error while an exception passes.
  ~SharedModel() override;
  SharedModel(const SharedModel&) = delete;
  SharedModel& operator=(const SharedModel&) = delete;

  const ModelConfig& config() const override { return model_->config(); }
  std::string device_name() const override { return model_->device_name(); }
  std::string data_type_name() const override { return model_->data_type_name(); }
  bool streams_weights() const override { return model_->streams_weights(); }
  int64_t peak_device_bytes() const override { return model_->peak_device_bytes(); }

  std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                 std::span<const PrecisionPair> pairs,
                                                 const OnProgress& progress) override;
  void SetCacheMaxima(std::vector<LayerMaxima> maxima) override;
  std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                   std::span<const TokenIds> prompts,
                                                   const OnProgress& progress) override;
  double NoiseFloor(std::span<const TokenIds> prompts) override {
    return model_->NoiseFloor(prompts);
  }
  std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) override {
    return model_->ExactPasses(prompts);
  }
  void RestoreExactPasses(std::span<const TokenIds> prompts,
                          std::span<const ExactPass> passes) override {
    model_->RestoreExactPasses(prompts, passes);
  }
  void Generate(const GenerationRequest& request, const OnGeneratedRow& finished) override;

 private:
  // The results of the requests, in their order. `prompts` is what the leases are of in all.
  std::vector<LeaseResult> Run(const std::vector<LeaseRequest>& requests, size_t prompts,
                               const OnProgress& progress);

  std::unique_ptr<MeasuredModel> model_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Heartbeat> heartbeat_;
  LeaseBoard board_;
  int64_t maxima_version_ = 0;
  double seconds_per_work_ = 0;  // 0: not known yet
  int exceptions_;               // that were passing when this began
};

// Answers a request by this process's own model. `maxima` returns the maxima of a version. An Error
// of the model becomes part of the answer; other exceptions pass.
class LeaseAnswerer {
 public:
  using MaximaOf = std::function<std::vector<LayerMaxima>(int64_t version)>;

  // `text_of` is of the model's tokenizer, and needed for rows with stops alone. REQUIRES: the
  // model outlives this.
  LeaseAnswerer(MeasuredModel& model, MaximaOf maxima, TextOfTokens text_of)
      : model_(model), maxima_(std::move(maxima)), text_of_(std::move(text_of)) {}

  // `on_row` is called for each row that is generated; it may be empty.
  std::string Answer(const std::string& request, const OnGeneratedRow& on_row);

 private:
  std::vector<TokenIds> Generate(const LeaseRequest& request, const OnGeneratedRow& on_row);

  MeasuredModel& model_;
  MaximaOf maxima_;
  TextOfTokens text_of_;
  int64_t version_ = 0;
};

// Reads what SharedModel put into the store.
LeaseAnswerer::MaximaOf MaximaInStore(Store& store);

}  // namespace kvtune
