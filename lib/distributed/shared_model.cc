#include "lib/distributed/shared_model.h"

#include <chrono>
#include <exception>
#include <utility>

#include "lib/base/error.h"
#include "lib/distributed/lease_sizes.h"
#include "lib/distributed/message.h"

namespace kvtune {
namespace {

std::string MaximaKey(int64_t version) { return "maxima/" + std::to_string(version); }

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

SharedModel::SharedModel(std::unique_ptr<MeasuredModel> model, std::unique_ptr<Store> store,
                         std::unique_ptr<Heartbeat> heartbeat, int world, const LeaseTimes& times)
    : model_(std::move(model)),
      store_(std::move(store)),
      heartbeat_(std::move(heartbeat)),
      board_(*store_, world, times),
      exceptions_(std::uncaught_exceptions()) {}

SharedModel::~SharedModel() {
  board_.End(std::uncaught_exceptions() > exceptions_ ? kEndedWithError : kEndedWell);
}

std::vector<LeaseResult> SharedModel::Run(const std::vector<LeaseRequest>& requests, size_t prompts,
                                          const OnProgress& progress) {
  std::vector<std::string> messages;
  for (const LeaseRequest& request : requests) messages.push_back(Encode(request));
  // Rank 0 has the maxima of every version already.
  LeaseAnswerer answer(*model_, [](int64_t) { return std::vector<LayerMaxima>(); });
  size_t reported = 0;
  const auto report = [&](size_t done) {
    const size_t finished = prompts * done / requests.size();
    if (progress && finished > reported) {
      progress(static_cast<int64_t>(finished - std::exchange(reported, finished)));
    }
  };
  std::vector<LeaseResult> results;
  const auto work = [&](const std::string& request) { return answer(request); };
  for (const std::string& bytes : board_.Run(messages, work, report)) {
    results.push_back(DecodeResult(bytes));
    if (!results.back().error.empty()) throw Error(results.back().error);
  }
  return results;
}

std::vector<LayerObservation> SharedModel::ObserveAttention(std::span<const TokenIds> prompts,
                                                            std::span<const PrecisionPair> pairs,
                                                            const OnProgress& progress) {
  if (prompts.empty()) return model_->ObserveAttention(prompts, pairs, progress);
  std::vector<LeaseRequest> requests;
  for (const TokenIds& prompt : prompts) {
    requests.push_back({.kind = LeaseKind::kObserve,
                        .maxima_version = maxima_version_,
                        .pairs = {pairs.begin(), pairs.end()},
                        .prompts = {prompt}});
  }
  std::vector<LeaseResult> results = Run(requests, prompts.size(), progress);
  std::vector<LayerObservation> total = std::move(results.front().observations);
  for (size_t i = 1; i < results.size(); ++i) {
    for (size_t layer = 0; layer < total.size(); ++layer) {
      total[layer] += results[i].observations[layer];
    }
  }
  return total;
}

void SharedModel::SetCacheMaxima(std::vector<LayerMaxima> maxima) {
  store_->Set(MaximaKey(++maxima_version_), Encode(maxima));
  model_->SetCacheMaxima(std::move(maxima));
}

std::vector<std::vector<PromptScore>> SharedModel::ScorePlans(std::span<const PrecisionPlan> plans,
                                                              std::span<const TokenIds> prompts,
                                                              const OnProgress& progress) {
  if (plans.empty() || prompts.empty()) return model_->ScorePlans(plans, prompts, progress);
  const size_t processes = board_.ProcessCount();
  const double work = ScoringWork(plans, prompts);
  // A pass over streamed weights takes as long for one plan as for many.
  const size_t wanted = model_->streams_weights()
                            ? processes
                            : WantedLeases(work, seconds_per_work_, kLeaseSeconds, processes);
  std::vector<ScoreLease> leases = SplitScoring(plans, prompts, wanted);
  if (!model_->streams_weights()) {
    leases = WithSmallLast(std::move(leases), plans, prompts, processes);
  }
  std::vector<LeaseRequest> requests;
  for (const ScoreLease& lease : leases) {
    requests.push_back({.kind = LeaseKind::kScore,
                        .maxima_version = maxima_version_,
                        .plans = Chosen(plans, lease.plans),
                        .prompts = Chosen(prompts, lease.prompts)});
  }
  std::vector<LeaseResult> results = Run(requests, prompts.size(), progress);
  std::vector<std::vector<PromptScore>> scores(plans.size(),
                                               std::vector<PromptScore>(prompts.size()));
  double seconds = 0;
  for (size_t i = 0; i < leases.size(); ++i) {
    seconds += results[i].seconds;
    for (size_t plan = 0; plan < leases[i].plans.size(); ++plan) {
      for (size_t prompt = 0; prompt < leases[i].prompts.size(); ++prompt) {
        scores[leases[i].plans[plan]][leases[i].prompts[prompt]] =
            std::move(results[i].scores[plan][prompt]);
      }
    }
  }
  if (work > 0) seconds_per_work_ = seconds / work;
  return scores;
}

std::string LeaseAnswerer::operator()(const std::string& message) {
  const LeaseRequest request = DecodeRequest(message);
  const auto start = std::chrono::steady_clock::now();
  LeaseResult result;
  try {
    if (request.maxima_version != version_) {
      std::vector<LayerMaxima> maxima = maxima_(request.maxima_version);
      if (!maxima.empty()) model_.SetCacheMaxima(std::move(maxima));
      version_ = request.maxima_version;
    }
    if (request.kind == LeaseKind::kScore) {
      result.scores = model_.ScorePlans(request.plans, request.prompts, nullptr);
    } else {
      result.observations = model_.ObserveAttention(request.prompts, request.pairs, nullptr);
    }
  } catch (const Error& error) {
    result.error = error.what();
  }
  result.seconds = SecondsSince(start);
  return Encode(result);
}

LeaseAnswerer::MaximaOf MaximaInStore(Store& store) {
  return [&store](int64_t version) -> std::vector<LayerMaxima> {
    const std::optional<std::string> bytes = store.Get(MaximaKey(version));
    if (!bytes) throw Error("serving rank 0: found no cache maxima, expected them in the store");
    return DecodeMaxima(*bytes);
  };
}

}  // namespace kvtune
