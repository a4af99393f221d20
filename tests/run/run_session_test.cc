#include "lib/run/run_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

Json PruneOptionsOf(double epsilon) { return {{"--epsilon", epsilon}, {"--bits", "effective"}}; }

struct RunFolder {
  RunFolder() { SetLogLevel(LogLevel::kQuiet); }

  RunSession Open(const Provenance& wanted = TestRun(2)) {
    return RunSession(root, wanted, {"kvtune", "prune"});
  }
  // Prunes with an epsilon of 0.1, as far as the directory can tell.
  void Prune() {
    RunSession session = Open();
    session.Start(Stage::kPrune, PruneOptionsOf(0.1));
    WriteFileAtomically(session.FileOf(Stage::kPrune), "{}\n");
    session.Finish(Stage::kPrune);
  }
  fs::path run_file() const { return root / "run.json"; }

  TemporaryDirectory folder;
  fs::path root = folder / "new" / "run";
};

TEST(RunSession, StartBindsTheDirectoryToNothing) {
  RunFolder run;
  {
    RunSession session = run.Open();
    session.Start(Stage::kPrune, PruneOptionsOf(0.1));
    EXPECT_FALSE(fs::exists(run.run_file()));
  }
  Provenance other = TestRun(2);
  other.target = "vllm";
  EXPECT_NO_THROW(run.Open(other).RequireSameOptions(Stage::kPrune, PruneOptionsOf(0)));
}

TEST(RunSession, SaveBindsTheDirectoryToItsInputsAndOptions) {
  RunFolder run;
  {
    RunSession session = run.Open();
    session.Start(Stage::kPrune, PruneOptionsOf(0.1));
    session.Save();
  }
  EXPECT_THAT([&] { run.Open().RequireSameOptions(Stage::kPrune, PruneOptionsOf(0)); },
              ThrowsMessage<Error>(HasSubstr("--epsilon")));
  Provenance other = TestRun(2);
  other.target = "vllm";
  EXPECT_THAT([&] { run.Open(other); }, ThrowsMessage<Error>(HasSubstr("--target")));
}

TEST(RunSession, RecordsWhatWasRunAndHowLongItTook) {
  RunFolder run;
  run.Prune();
  const Json record = ReadJsonFile(run.run_file())["stages"]["prune"];
  EXPECT_EQ(record["options"], PruneOptionsOf(0.1));
  EXPECT_EQ(record["finished"], true);
  EXPECT_EQ(record["command"], Json({"kvtune", "prune"}));
  EXPECT_GE(record["seconds"].get<double>(), 0);
  EXPECT_LT(record["seconds"].get<double>(), 60);
  EXPECT_EQ(record["started"].get<std::string>().size(),
            std::string("2000-01-01T00:00:00Z").size());
}

TEST(RunSession, RefusesOtherInputsTheSeedFirst) {
  RunFolder run;
  run.Prune();
  Provenance other = TestRun(2);
  other.seed = 3;
  other.prompts_hash = "xxh3:3";
  EXPECT_THAT([&] { run.Open(other); },
              ThrowsMessage<Error>(AllOf(
                  StartsWith("resuming " + run.root.string() +
                             ": --seed: found 18446744073709551615 there, expected 3; --prompts"),
                  HasSubstr("(give another --out, or the options of that run)"))));
  Provenance moved = TestRun(2);
  moved.model = "elsewhere/small";
  EXPECT_NO_THROW(run.Open(moved));
}

TEST(RunSession, RefusesOtherOptionsNamingTheOption) {
  RunFolder run;
  run.Prune();
  const RunSession session = run.Open();
  EXPECT_NO_THROW(session.RequireSameOptions(Stage::kPrune, PruneOptionsOf(0.1)));
  EXPECT_NO_THROW(session.RequireSameOptions(Stage::kCluster, {{"--max-groups", 3}}));
  EXPECT_THAT([&] { session.RequireSameOptions(Stage::kPrune, PruneOptionsOf(0.5)); },
              ThrowsMessage<Error>(
                  StrEq("resuming " + run.root.string() +
                        ": --epsilon: found 0.1 there, expected 0.5 (give another --out, or the "
                        "options of that run)")));
  EXPECT_THAT(
      [&] {
        session.RequireSameOptions(Stage::kPrune, {{"--bits", "nominal"}});
      },
      ThrowsMessage<Error>(HasSubstr("--bits: found effective there, expected nominal")));
}

TEST(RunSession, AFileMayBeNamedInAnotherWayWhereItsContentIsTheSame) {
  RunFolder run;
  RunSession session = run.Open();
  session.Start(Stage::kPrune, {{"--held-out", "a.jsonl"}, {"--held-out (content)", "xxh3:0"}});
  EXPECT_NO_THROW(session.RequireSameOptions(
      Stage::kPrune, {{"--held-out", "./a.jsonl"}, {"--held-out (content)", "xxh3:0"}}));
  EXPECT_THAT(
      [&] {
        session.RequireSameOptions(
            Stage::kPrune, {{"--held-out", "./a.jsonl"}, {"--held-out (content)", "xxh3:1"}});
      },
      ThrowsMessage<Error>(HasSubstr("--held-out: found a.jsonl there, expected ./a.jsonl")));
}

TEST(RunSession, RefusesADirectoryInUse) {
  RunFolder run;
  {
    RunSession first = run.Open();
    EXPECT_THAT([&] { run.Open(); },
                ThrowsMessage<Error>(StrEq("opening " + run.root.string() +
                                           ": found another kvtune at work in it, expected none")));
    first.Save();
    EXPECT_THAT([&] { RunSession(run.root, {}); },
                ThrowsMessage<Error>(HasSubstr("at work in it")));
  }
  EXPECT_NO_THROW(run.Open());
}

TEST(RunSession, ReusesAFinishedStageWithTheSameOptions) {
  RunFolder run;
  EXPECT_FALSE(run.Open().CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
  run.Prune();
  EXPECT_TRUE(run.Open().CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
  EXPECT_FALSE(run.Open().CanReuse(Stage::kPrune, PruneOptionsOf(0.5)));
  EXPECT_FALSE(run.Open().CanReuse(Stage::kCalibrate, {{"--sensitivity", "eo"}}));
  fs::remove(run.root / "candidates.json");
  EXPECT_FALSE(run.Open().CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
}

TEST(RunSession, DoesNotReuseAStageThatDidNotFinish) {
  RunFolder run;
  run.Prune();
  RunSession session = run.Open();
  session.Start(Stage::kPrune, PruneOptionsOf(0.1));
  EXPECT_FALSE(session.CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
}

TEST(RunSession, RefusesOtherOptionsOnceALaterStageRan) {
  RunFolder run;
  run.Prune();
  RunSession session = run.Open();
  session.Start(Stage::kCluster, {{"--max-groups", 3}});
  EXPECT_TRUE(session.CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
  EXPECT_THAT([&] { session.CanReuse(Stage::kPrune, PruneOptionsOf(0.5)); },
              ThrowsMessage<Error>(HasSubstr("--epsilon: found 0.1 there, expected 0.5")));
  // The last stage has nothing that was made from it.
  EXPECT_FALSE(session.CanReuse(Stage::kCluster, {{"--max-groups", 4}}));
}

TEST(RunSession, OpensADirectoryWhateverItsInputs) {
  RunFolder run;
  run.Prune();
  const RunSession session(run.root, {"kvtune", "report"});
  EXPECT_EQ(session.run().model_hash, TestRun(2).model_hash);
  EXPECT_TRUE(session.CanReuse(Stage::kPrune, PruneOptionsOf(0.1)));
}

TEST(RunSession, RefusesADirectoryThatIsNoRun) {
  RunFolder run;
  EXPECT_THAT([&] { RunSession(run.folder.path(), {}); },
              ThrowsMessage<Error>(HasSubstr("found no such file, expected one written by "
                                             "`kvtune calibrate`")));
  EXPECT_FALSE(fs::exists(run.folder / "run.lock"));
}

TEST(RunSession, RefusesWhatItDoesNotKnowInRunJson) {
  RunFolder run;
  run.Prune();
  const Json whole = ReadJsonFile(run.run_file());
  const auto opening_with = [&](const std::string& pointer, const Json& value) {
    return [&whole, &run, pointer, value] {
      Json changed = whole;
      changed[Json::json_pointer(pointer)] = value;
      WriteJsonFileAtomically(run.run_file(), changed);
      run.Open();
    };
  };
  EXPECT_THAT(opening_with("/extra", 1), ThrowsMessage<Error>(HasSubstr("unknown key \"extra\"")));
  EXPECT_THAT(opening_with("/stages/polish", Json::object()),
              ThrowsMessage<Error>(HasSubstr("unknown key \"polish\"")));
  EXPECT_THAT(opening_with("/stages/prune/finished", "yes"),
              ThrowsMessage<Error>(HasSubstr("\"finished\"")));
  EXPECT_THAT(opening_with("/stages/cluster", nullptr),
              ThrowsMessage<Error>(HasSubstr("cluster: found null, expected a JSON object")));
  EXPECT_THAT(opening_with("/schema_version", 99), ThrowsMessage<Error>(HasSubstr("found 99")));
}

TEST(RunSession, ReadsOnlyFilesOfItsOwnRun) {
  RunFolder run;
  RunSession session = run.Open();
  EXPECT_THAT([&] { session.Read(Stage::kCluster); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("groups.json"), HasSubstr("written by `kvtune cluster`"))));
  Json artifact = {{"schema_version", 1}, {"run", ToJson(TestRun(2))}, {"value", 5}};
  WriteJsonFileAtomically(session.FileOf(Stage::kCluster), artifact);
  EXPECT_EQ(session.Read(Stage::kCluster)["value"], 5);
  artifact["run"]["dtype"] = "bfloat16";
  WriteJsonFileAtomically(session.FileOf(Stage::kCluster), artifact);
  EXPECT_THAT([&] { session.Read(Stage::kCluster); },
              ThrowsMessage<Error>(HasSubstr("groups.json: it is not of this run: --dtype: found "
                                             "bfloat16 there, expected float32")));
}

TEST(RunSession, EveryStageHasItsFileAndItsWord) {
  SetLogLevel(LogLevel::kQuiet);
  const TemporaryDirectory folder;
  const RunSession session(folder.path(), TestRun(2), {});
  const std::pair<std::string, std::string> expected[] = {{"calibrate", "sensitivity.json"},
                                                          {"prune", "candidates.json"},
                                                          {"cluster", "groups.json"},
                                                          {"search", "front.json"}};
  for (size_t i = 0; i < std::size(kStages); ++i) {
    EXPECT_EQ(StageName(kStages[i]), expected[i].first);
    EXPECT_EQ(session.FileOf(kStages[i]), folder / expected[i].second);
  }
}

TEST(RunDirectoryOf, IsNamedAfterModelAndTargetUnlessItIsGiven) {
  RunInputs inputs;
  inputs.model = "models/small/";
  inputs.target = "vllm";
  EXPECT_EQ(RunDirectoryOf({}, inputs), "./kvtune-small-vllm");
  EXPECT_EQ(RunDirectoryOf({.out = "here", .held_out = ""}, inputs), "here");
}

TEST(RequireCreatableDirectory, CreatesNothing) {
  const TemporaryDirectory folder;
  EXPECT_NO_THROW(RequireCreatableDirectory(folder / "a" / "b"));
  EXPECT_NO_THROW(RequireCreatableDirectory(folder.path()));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(RequireCreatableDirectory, RefusesAFileOnTheWay) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", "");
  EXPECT_THAT([&] { RequireCreatableDirectory(folder / "file" / "run"); },
              ThrowsMessage<Error>(
                  HasSubstr("found that " + (folder / "file").string() + " is not a directory")));
}

// A folder that is no run, with one file in it.
struct ForeignFolder {
  explicit ForeignFolder(const fs::path& name) : path(folder / "mine"), file(path / name) {
    SetLogLevel(LogLevel::kQuiet);
    fs::create_directory(path);
    WriteFileAtomically(file, "mine\n");
  }
  auto Opening() const {
    return [this] { RunSession(path, TestRun(2), {}); };
  }

  TemporaryDirectory folder;
  fs::path path;
  fs::path file;
};

TEST(RunSession, RefusesAFolderThatIsNoRunButHoldsAFileOfItsNames) {
  const TemporaryDirectory any;
  for (const fs::path& known : RunDirectory(any.path()).files()) {
    if (known.filename() == "run.json") continue;
    const ForeignFolder foreign(known.filename());
    EXPECT_THAT(foreign.Opening(), ThrowsMessage<Error>(AllOf(
                                       HasSubstr(foreign.path.string() + ": found " +
                                                 known.filename().string() + " but no run.json"),
                                       HasSubstr("give another --out"))));
    EXPECT_EQ(ReadFile(foreign.file), "mine\n");
    EXPECT_EQ(std::distance(fs::directory_iterator(foreign.path), {}), 1) << known;
  }
}

TEST(RunSession, RefusesAFolderThatHoldsAnswersOfSomeoneElse) {
  const ForeignFolder foreign("answers.jsonl");
  EXPECT_THAT(foreign.Opening(),
              ThrowsMessage<Error>(HasSubstr("found answers.jsonl but no run.json")));
}

TEST(RunSession, RefusesALinkEvenOneThatLeadsNowhere) {
  const ForeignFolder foreign("notes.txt");
  fs::create_symlink(foreign.folder / "elsewhere", foreign.path / "run.lock");
  EXPECT_THAT(foreign.Opening(), ThrowsMessage<Error>(HasSubstr("found run.lock but no run.json")));
  EXPECT_FALSE(fs::exists(foreign.folder / "elsewhere"));
}

TEST(RunSession, OpensAFolderWithOtherFilesOrALockThatWasLeft) {
  const ForeignFolder foreign("notes.txt");
  EXPECT_NO_THROW(foreign.Opening()());
  EXPECT_TRUE(fs::exists(foreign.path / "run.lock"));
  EXPECT_NO_THROW(foreign.Opening()());
}

TEST(RunSession, RefusesALinkInPlaceOfAFileOfTheRun) {
  RunFolder run;
  run.Prune();
  WriteFileAtomically(run.folder / "mine.jsonl", "mine\n");
  fs::create_symlink(run.folder / "mine.jsonl", run.root / "evaluations.jsonl");
  const auto expected = HasSubstr("found that evaluations.jsonl is a symbolic link");
  EXPECT_THAT([&] { run.Open(); }, ThrowsMessage<Error>(expected));
  EXPECT_THAT([&] { RunSession(run.root, {}); }, ThrowsMessage<Error>(expected));
}

TEST(RequireOwnDirectory, RefusesTheRootOfTheFileSystem) {
  EXPECT_THAT([] { RequireOwnDirectory("/", {}); },
              ThrowsMessage<Error>(HasSubstr("found the root of the file system")));
  EXPECT_THAT([] { RequireOwnDirectory("/tmp/..", {}); },
              ThrowsMessage<Error>(HasSubstr("found the root of the file system")));
}

TEST(RequireOwnDirectory, RefusesInputsThatWouldBeWritten) {
  RunFolder run;
  run.Prune();
  const fs::path held_out = run.root / "held_out.jsonl";
  WriteFileAtomically(held_out, "mine\n");
  const auto with = [&](std::vector<fs::path> inputs) {
    return [&run, inputs] { RequireOwnDirectory(run.root, inputs); };
  };
  EXPECT_NO_THROW(with({run.folder / "prompts.jsonl", run.folder.path()})());
  EXPECT_THAT(with({held_out}), ThrowsMessage<Error>(HasSubstr("its held_out.jsonl is the input " +
                                                               held_out.string())));
  fs::create_symlink(held_out, run.folder / "link.jsonl");
  EXPECT_THAT(with({run.folder / "link.jsonl"}),
              ThrowsMessage<Error>(HasSubstr("its held_out.jsonl is the input")));
  EXPECT_THAT(with({run.root}), ThrowsMessage<Error>(HasSubstr("its path is the input")));
}

TEST(InputPathsOf, AreThoseThatTheUserNamed) {
  RunInputs inputs;
  inputs.model = "model";
  inputs.prompts.files = {"a.jsonl"};
  EXPECT_THAT(InputPathsOf(inputs, {.out = "", .held_out = "none"}),
              ::testing::ElementsAre("a.jsonl", "model"));
  EXPECT_THAT(InputPathsOf(inputs, {.out = "", .held_out = "b.jsonl"}),
              ::testing::ElementsAre("a.jsonl", "model", "b.jsonl"));
}

TEST(RunSession, TheMemoryOfADeviceIsRecordedWhereOneWasUsed) {
  RunFolder run;
  const auto peak_after = [&](int64_t bytes) {
    RunSession session = run.Open();
    session.Start(Stage::kPrune, PruneOptionsOf(0.1));
    session.Finish(Stage::kPrune, bytes);
    return ReadJsonFile(run.run_file())["stages"]["prune"].value("peak_device_bytes", int64_t{-1});
  };
  EXPECT_EQ(peak_after(1), 1);
  EXPECT_EQ(peak_after(0), -1);
}

}  // namespace
}  // namespace kvtune
