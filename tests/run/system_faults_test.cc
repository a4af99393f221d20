// Every call into the system that a small search makes fails once: it ends with an error, nothing
// is torn, and the same search again leaves the bytes of one that nothing disturbed.
#include "tests/support/system_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "tests/support/fake_run.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLogs[] = {"evaluations.jsonl", "scouting.jsonl", "held_out.jsonl"};
// run.json holds times, so it is not among them.
constexpr const char* kArtifacts[] = {"sensitivity.json", "diagnosis.json", "candidates.json",
                                      "groups.json", "front.json"};

class SmallSearch : public ::testing::Test {
 protected:
  SmallSearch() { Search("undisturbed"); }

  // The whole chain, as `kvtune search` runs it.
  void Search(const std::string& name) {
    SearchStepOptions options;
    options.search.population = 8;
    options.search.generations = 2;
    options.search.refinement_evaluations = 4;
    ModelSession model(fake_.inputs(), "", fake_.loader());
    RunSession session(fake_ / name, model.run(), {"kvtune", "search"});
    CalibrateStep(session, model, {});
    DiagnoseStep(session, ReadSensitivity(session));
    PruneStep(session, {});
    ClusterStep(session, {});
    SearchStep(session, model, options, [] { return false; });
  }

  void ExpectUndisturbed(const std::string& name) {
    for (const char* file : kArtifacts)
      EXPECT_EQ(Text(name, file), Text("undisturbed", file)) << file;
    for (const char* file : kLogs) EXPECT_EQ(Text(name, file), Text("undisturbed", file)) << file;
  }

  // What is there is whole: no half file, no temporary one, and logs of whole lines but the last.
  void ExpectNothingTorn(const std::string& name) {
    if (!fs::exists(fake_ / name)) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(fake_ / name)) {
      const std::string file = entry.path().filename();
      EXPECT_EQ(file.find(".tmp"), std::string::npos) << file;
      if (file.ends_with(".json")) {
        EXPECT_NO_THROW(ReadJsonFile(entry.path())) << file;
      }
      if (file.ends_with(".jsonl")) {
        EXPECT_NO_THROW(ReadEvaluationLog(entry.path(), FakeRun::kLayers)) << file;
      }
    }
  }

  // A search under the fault fails; one after it succeeds and ends as if nothing had been.
  void ExpectRecovery(const SystemFaultHook& hook) {
    fs::remove_all(fake_ / "disturbed");
    {
      const SystemFaults faults(hook);
      EXPECT_THROW(Search("disturbed"), Error);
    }
    ExpectNothingTorn("disturbed");
    Search("disturbed");
    ExpectUndisturbed("disturbed");
  }

  std::string Text(const std::string& name, const std::string& file) const {
    return ReadFile(fake_ / name / file);
  }

  FakeRun fake_{8};
};

TEST_F(SmallSearch, RecoversFromAnyCallThatFails) {
  const size_t calls = CountSystemCalls([&] { Search("counted"); });
  EXPECT_GT(calls, 100u);
  for (size_t nth = 0; nth < calls && !HasFailure(); ++nth) {
    SCOPED_TRACE(testing::Message() << "call " << nth << " of " << calls);
    ExpectRecovery(FailNth(nth, EIO));
  }
}

TEST_F(SmallSearch, RecoversFromADiskThatFillsInTheMiddleOfAnyWrite) {
  size_t writes = 0;
  {
    const SystemFaults faults([&writes](SystemCall call) {
      writes += call == SystemCall::kWrite ? 1 : 0;
      return SystemFault{};
    });
    Search("counted");
  }
  EXPECT_GT(writes, 20u);
  for (size_t nth = 0; nth < writes && !HasFailure(); ++nth) {
    for (const size_t bytes : {1u, 300u}) {
      SCOPED_TRACE(testing::Message() << "write " << nth << " of " << writes << ": " << bytes);
      ExpectRecovery(FillDiskAtWrite(nth, bytes));
    }
  }
}

TEST_F(SmallSearch, IsTheSameWithSignalsAndShortTransfers) {
  {
    const SystemFaults faults(InterruptEveryCall());
    Search("interrupted");
  }
  ExpectUndisturbed("interrupted");
  {
    const SystemFaults faults(TransferAtMost(100));
    Search("short");
  }
  ExpectUndisturbed("short");
}

}  // namespace
}  // namespace kvtune
