#include "lib/run/run_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "tests/support/fake_run.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAreArray;

struct PromptFiles {
  ~PromptFiles() { ::unsetenv("KVTUNE_DATA_DIR"); }

  RunPrompts Load(const RunInputs& inputs, const std::string& held_out = "") {
    return LoadRunPrompts(inputs, held_out, Checkpoint(fake.model()).config());
  }
  // Makes files of this folder the bundled sets.
  void Bundle(const std::vector<TokenIds>& calibration, const std::vector<TokenIds>& held_out) {
    WritePrompts(fake / "calibration.jsonl", calibration);
    WritePrompts(fake / "held_out.jsonl", held_out);
    ::setenv("KVTUNE_DATA_DIR", fake.model().parent_path().c_str(), 1);
  }

  FakeRun fake;
};

TEST(RunPrompts, HoldsOutTheLastQuarter) {
  PromptFiles files;
  const RunPrompts prompts = files.Load(files.fake.inputs());
  EXPECT_EQ(prompts.held_out_source, "split");
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(12));
  EXPECT_THAT(prompts.held_out, SizeIs(4));
  const PromptSet whole = LoadPrompts(files.fake.inputs(), Checkpoint(files.fake.model()).config());
  EXPECT_TRUE(std::ranges::equal(prompts.held_out, std::span(whole.prompts).last(4)));
  EXPECT_TRUE(std::ranges::equal(prompts.calibration.prompts, std::span(whole.prompts).first(12)));
  // What is left is counted and hashed anew.
  PromptSet left;
  left.prompts = prompts.calibration.prompts;
  CountAndHash(left);
  EXPECT_EQ(prompts.calibration.hash, left.hash);
  EXPECT_EQ(prompts.calibration.token_count, left.token_count);
  EXPECT_NE(prompts.calibration.hash, whole.hash);
}

TEST(RunPrompts, SplitsFromEightPromptsOn) {
  PromptFiles files;
  RunInputs inputs = files.fake.inputs();
  inputs.prompts.max_prompts = 8;
  EXPECT_THAT(files.Load(inputs).held_out, SizeIs(2));
  inputs.prompts.max_prompts = 7;
  const RunPrompts prompts = files.Load(inputs);
  EXPECT_EQ(prompts.held_out_source, "none");
  EXPECT_THAT(prompts.held_out, IsEmpty());
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(7));
}

TEST(RunPrompts, SaysWhichLimitKeptPromptsOut) {
  PromptFiles files;
  SetLogLevel(LogLevel::kNormal);
  RunInputs inputs = files.fake.inputs();
  const auto said = [&](const std::string& held_out) {
    ::testing::internal::CaptureStderr();
    files.Load(inputs, held_out);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said("").find("--max-tokens"), std::string::npos);
  inputs.prompts.max_tokens = 14;  // two prompts of 7 to 9 tokens, the second cut if need be
  EXPECT_THAT(said(""),
              HasSubstr("--max-tokens 14 is used up after 2 of 16 prompts, and fewer than "
                        "8 are not split: hence no held-out prompts"));
  EXPECT_EQ(said("none").find("hence"), std::string::npos);
  inputs.prompts.max_tokens = 16384;
  inputs.prompts.max_prompts = 8;
  EXPECT_THAT(said(""), HasSubstr("--max-prompts takes 8 of 16 prompts\n"));
  inputs.prompts.max_prompts = 1;
  EXPECT_THAT(said("none"), HasSubstr("--max-prompts takes 1 of 16 prompts"));
  SetLogLevel(LogLevel::kQuiet);
}

TEST(RunPrompts, ALimitThatPreventsTheSplitIsSaidFromEightPromptsOn) {
  PromptFiles files;
  SetLogLevel(LogLevel::kNormal);
  RunInputs inputs = files.fake.inputs();
  inputs.prompts.max_prompts = 6;
  const auto said_of = [&](size_t available) {
    WritePrompts(files.fake.prompts(), FakePrompts(0, available));
    ::testing::internal::CaptureStderr();
    files.Load(inputs);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(said_of(6), Not(HasSubstr("--max-prompts")));
  EXPECT_THAT(said_of(7), HasSubstr("--max-prompts takes 6 of 7 prompts\n"));
  EXPECT_THAT(said_of(8), HasSubstr("--max-prompts takes 6 of 8 prompts, and fewer than 8 are not "
                                    "split: hence no held-out prompts"));
  SetLogLevel(LogLevel::kQuiet);
}

TEST(RunPrompts, NoneHoldsNothingOut) {
  PromptFiles files;
  const RunPrompts prompts = files.Load(files.fake.inputs(), "none");
  EXPECT_EQ(prompts.held_out_source, "none");
  EXPECT_THAT(prompts.held_out, IsEmpty());
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(16));
}

TEST(RunPrompts, AFileIsHeldOutWithinTheLimitsOfTheRun) {
  PromptFiles files;
  const std::string file = (files.fake / "held.jsonl").string();
  WritePrompts(file, FakePrompts(20, 5));
  RunPrompts prompts = files.Load(files.fake.inputs(), file);
  EXPECT_EQ(prompts.held_out_source, file);
  EXPECT_THAT(prompts.held_out, UnorderedElementsAreArray(FakePrompts(20, 5)));
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(16));
  RunInputs limited = files.fake.inputs();
  limited.prompts.max_prompts = 3;
  prompts = files.Load(limited, file);
  EXPECT_THAT(prompts.held_out, SizeIs(3));
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(3));
}

TEST(RunPrompts, BundledPromptsHaveABundledSetToHoldOut) {
  PromptFiles files;
  files.Bundle(FakePrompts(0, 9), FakePrompts(30, 4));
  RunInputs inputs = files.fake.inputs();
  inputs.prompts.files.clear();
  RunPrompts prompts = files.Load(inputs);
  EXPECT_EQ(prompts.held_out_source, "bundled");
  EXPECT_THAT(prompts.calibration.sources, ElementsAre("bundled"));
  EXPECT_THAT(prompts.calibration.prompts, UnorderedElementsAreArray(FakePrompts(0, 9)));
  EXPECT_THAT(prompts.held_out, UnorderedElementsAreArray(FakePrompts(30, 4)));
  prompts = files.Load(inputs, "none");
  EXPECT_THAT(prompts.held_out, IsEmpty());
  EXPECT_THAT(prompts.calibration.prompts, SizeIs(9));
}

TEST(RunPrompts, RefusesAPromptInBothSets) {
  PromptFiles files;
  const std::string file = (files.fake / "held.jsonl").string();
  WritePrompts(file, FakePrompts(14, 5));
  EXPECT_THAT([&] { files.Load(files.fake.inputs(), file); },
              ThrowsMessage<Error>(HasSubstr("choosing held-out prompts (" + file +
                                             "): found 2 of the 16 calibration prompts among "
                                             "them, expected none")));
  WritePrompts(file, FakePrompts(15, 5));
  EXPECT_THAT([&] { files.Load(files.fake.inputs(), file); },
              ThrowsMessage<Error>(HasSubstr("found 1 of the 16 calibration prompts")));
}

TEST(RunPrompts, APromptThatTheFileHoldsTwiceIsNotOnBothSidesOfTheSplit) {
  PromptFiles files;
  const std::vector<TokenIds> once = FakePrompts(0, 8);
  std::vector<TokenIds> twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  WritePrompts(files.fake.prompts(), twice);
  const RunPrompts split = files.Load(files.fake.inputs());
  EXPECT_THAT(split.calibration.prompts, SizeIs(12));
  for (const TokenIds& ids : split.held_out)
    EXPECT_EQ(std::ranges::count(split.calibration.prompts, ids), 0);
  WritePrompts(files.fake.prompts(), std::vector<TokenIds>(8, FakePrompts(0, 1).front()));
  const RunPrompts alike = files.Load(files.fake.inputs());
  EXPECT_THAT(alike.calibration.prompts, SizeIs(6));
  EXPECT_THAT(alike.held_out, IsEmpty());
  EXPECT_EQ(alike.held_out_source, "none");
}

TEST(RunPrompts, AContextFarBeyondThePromptsIsSaid) {
  RunPrompts prompts;
  prompts.calibration.prompts = {TokenIds(100), TokenIds(512)};
  EXPECT_EQ(ShortPromptsWarning(prompts, 512), "");
  EXPECT_EQ(ShortPromptsWarning(prompts, 2047), "");
  EXPECT_NE(ShortPromptsWarning(prompts, 2048), "");
  EXPECT_EQ(ShortPromptsWarning(prompts, 8192),
            "the longest prompt has 512 tokens and bytes are counted at 8192 (--context): what "
            "plans lose so far on is not measured; only longer --prompts show it");
}

TEST(RunPrompts, TheSeedChoosesThePrompts) {
  PromptFiles files;
  RunInputs inputs = files.fake.inputs();
  inputs.prompts.max_prompts = 4;
  const PromptSet first = files.Load(inputs).calibration;
  EXPECT_EQ(files.Load(inputs).calibration.hash, first.hash);
  inputs.seed = 1;
  EXPECT_NE(files.Load(inputs).calibration.hash, first.hash);
}

}  // namespace
}  // namespace kvtune
