#include "lib/distributed/shared_run.h"

#include <utility>

#include "lib/base/error.h"
#include "lib/distributed/lease_board.h"
#include "lib/distributed/lease_worker.h"
#include "lib/distributed/shared_model.h"

namespace kvtune {
namespace {

RunModel ShownModel(const MeasuredModel& model, const ModelSource& source) {
  const std::string device = model.device_name();
  return {.hash = source.hash,
          .tokenizer = source.tokenizer_hash,
          .device = device.substr(0, device.find(':')),
          .data_type = model.data_type_name(),
          .prefill = source.prefill};
}

}  // namespace

std::unique_ptr<MeasuredModel> LeadRun(std::unique_ptr<Store> store, const Ranks& ranks,
                                       const LeaseTimes& times, const ModelSource& source) {
  auto heartbeat = std::make_unique<Heartbeat>(store->Connect(), ranks.rank, times, nullptr);
  Greet(*store, {.version = source.version, .world = ranks.world});
  try {
    std::unique_ptr<MeasuredModel> model = source.load();
    ShowModel(*store, ShownModel(*model, source));
    return std::make_unique<SharedModel>(std::move(model), std::move(store), std::move(heartbeat),
                                         ranks.world, times);
  } catch (const Error&) {
    if (store) LeaseBoard(*store, ranks.world, times).End(kEndedWithError);
    throw;
  }
}

std::optional<std::string> ServeRun(std::unique_ptr<Store> store, const Ranks& ranks,
                                    const LeaseTimes& times, const ModelSource& source,
                                    Heartbeat::OnLost on_lost) try {
  Join(*store, ranks, {.version = source.version, .world = ranks.world}, times);
  Heartbeat heartbeat(store->Connect(), ranks.rank, times, std::move(on_lost));
  const std::unique_ptr<MeasuredModel> model = source.load();
  LeaseWorker worker(*store, heartbeat, ranks, times);
  if (!worker.CompareModel(ShownModel(*model, source))) return std::nullopt;
  LeaseAnswerer answerer(*model, MaximaInStore(*store), source.text_of);
  worker.Serve([&](const std::string& request) {
    return answerer.Answer(request, [&](const GeneratedRow&) { return worker.IsWanted(); });
  });
  return std::nullopt;
} catch (const RankZeroFailed& failure) {
  return failure.what();
}

}  // namespace kvtune
