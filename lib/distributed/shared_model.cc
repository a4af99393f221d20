#include "lib/distributed/shared_model.h"

#include <chrono>
#include <exception>
#include <map>
#include <utility>

#include "lib/base/error.h"
#include "lib/distributed/lease_sizes.h"
#include "lib/distributed/message.h"

namespace kvtune {
namespace {

std::string MaximaKey(int64_t version) { return "maxima/" + std::to_string(version); }

// Rank 0 has the maxima of every version already.
std::vector<LayerMaxima> MaximaAreThere(int64_t) { return {}; }

LeaseResult WithoutError(LeaseResult result) {
  if (!result.error.empty()) throw Error(result.error);
  return result;
}

// The rows of a lease, with the plans and prompts that they need and no others.
LeaseRequest RequestOfRows(const GenerationRequest& request, std::span<const size_t> rows) {
  LeaseRequest lease{.kind = LeaseKind::kGenerate,
                     .shared_tokens = request.shared_tokens,
                     .ends = {.max_new_tokens = request.max_new_tokens,
                              .end_tokens = request.end_tokens,
                              .stops = request.stops.texts,
                              .stop_tokens = request.stops.newest_tokens}};
  std::map<size_t, size_t> plans, prompts;  // where they are in the lease
  for (const size_t row : rows) {
    const auto [plan, prompt] = request.rows[row];
    const auto of_plan = plans.try_emplace(plan, plans.size());
    if (of_plan.second) lease.plans.push_back(request.plans[plan]);
    const auto of_prompt = prompts.try_emplace(prompt, prompts.size());
    if (of_prompt.second) lease.prompts.push_back(request.prompts[prompt]);
    lease.rows.push_back({of_plan.first->second, of_prompt.first->second});
  }
  return lease;
}

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
  LeaseAnswerer answerer(*model_, MaximaAreThere, nullptr);
  std::vector<LeaseResult> results(requests.size());
  size_t done = 0, reported = 0;
  const auto keep = [&](size_t lease, const std::string& bytes) {
    results[lease] = WithoutError(DecodeResult(bytes));
    const size_t finished = prompts * ++done / requests.size();
    if (progress && finished > reported) {
      progress(static_cast<int64_t>(finished - std::exchange(reported, finished)));
    }
    return true;
  };
  board_.Run(
      messages, [&](size_t lease) { return answerer.Answer(messages[lease], nullptr); }, keep);
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

// A row is given to `finished` as soon as it is known here: those of this process one by one, and
// those of others with their lease.
void SharedModel::Generate(const GenerationRequest& request, const OnGeneratedRow& finished) {
  if (request.rows.empty()) return;
  const bool on_gpu = model_->device_name().starts_with("cuda");
  const std::vector<std::vector<size_t>> leases =
      SplitRows(request, WantedRowLeases(request.rows.size(), on_gpu, board_.ProcessCount()));
  std::vector<std::string> messages;
  for (const std::vector<size_t>& rows : leases) {
    LeaseRequest lease = RequestOfRows(request, rows);
    lease.maxima_version = maxima_version_;
    messages.push_back(Encode(lease));
  }
  std::vector<bool> is_given(request.rows.size());
  bool goes_on = true;
  const auto give = [&](size_t row, TokenIds tokens) {
    if (!goes_on || is_given[row]) return goes_on;
    is_given[row] = true;
    goes_on = finished({row, std::move(tokens)});
    return goes_on;
  };
  LeaseAnswerer answerer(*model_, MaximaAreThere, request.stops.text_of);
  const auto work = [&](size_t lease) {
    return answerer.Answer(messages[lease], [&](const GeneratedRow& row) {
      const bool wanted = give(leases[lease][row.row], row.tokens);
      board_.LookAround();
      return wanted && goes_on;
    });
  };
  board_.Run(messages, work, [&](size_t lease, const std::string& bytes) {
    LeaseResult result = WithoutError(DecodeResult(bytes));
    for (size_t i = 0; i < result.generated.size(); ++i) {
      give(leases[lease][i], std::move(result.generated[i]));
    }
    return goes_on;
  });
}

std::vector<TokenIds> LeaseAnswerer::Generate(const LeaseRequest& request,
                                              const OnGeneratedRow& on_row) {
  std::vector<TokenIds> generated(request.rows.size());
  model_.Generate({.plans = request.plans,
                   .prompts = request.prompts,
                   .shared_tokens = request.shared_tokens,
                   .rows = request.rows,
                   .max_new_tokens = request.ends.max_new_tokens,
                   .end_tokens = request.ends.end_tokens,
                   .stops = {.texts = request.ends.stops,
                             .newest_tokens = static_cast<size_t>(request.ends.stop_tokens),
                             .text_of = text_of_}},
                  [&](const GeneratedRow& row) {
                    generated[row.row] = row.tokens;
                    return !on_row || on_row(row);
                  });
  return generated;
}

std::string LeaseAnswerer::Answer(const std::string& message, const OnGeneratedRow& on_row) {
  const LeaseRequest request = DecodeRequest(message);
  const auto start = std::chrono::steady_clock::now();
  LeaseResult result;
  try {
    if (request.maxima_version != version_) {
      std::vector<LayerMaxima> maxima = maxima_(request.maxima_version);
      if (!maxima.empty()) model_.SetCacheMaxima(std::move(maxima));
      version_ = request.maxima_version;
    }
    switch (request.kind) {
      case LeaseKind::kScore:
        result.scores = model_.ScorePlans(request.plans, request.prompts, nullptr);
        break;
      case LeaseKind::kObserve:
        result.observations = model_.ObserveAttention(request.prompts, request.pairs, nullptr);
        break;
      case LeaseKind::kGenerate:
        result.generated = Generate(request, on_row);
        break;
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
