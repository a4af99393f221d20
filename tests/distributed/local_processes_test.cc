#include "lib/distributed/local_processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <optional>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

bool HasNone(const std::string&) { return false; }
bool HasThree(const std::string& name) {
  return name == "cuda:0" || name == "cuda:1" || name == "cuda:2";
}

TEST(LocalRanks, AreGpusThatAreThere) {
  EXPECT_THAT(LocalRanksOf("2", "auto", HasThree), ElementsAre(0, 1));
  EXPECT_THAT(LocalRanksOf("all", "cuda", HasThree), ElementsAre(0, 1, 2));
  EXPECT_THAT(LocalRanksOf("2,0", "auto", HasThree), ElementsAre(2, 0));
  EXPECT_THAT(LocalRanksOf("1", "auto", HasThree), ElementsAre(0));
  EXPECT_THAT([] { LocalRanksOf("4", "auto", HasThree); },
              ThrowsMessage<Error>("choosing the devices: found --devices 4, expected GPUs that "
                                   "this process sees: there is no cuda:3"));
  EXPECT_THAT([] { LocalRanksOf("0,3", "cuda", HasThree); },
              ThrowsMessage<Error>(HasSubstr("there is no cuda:3")));
  EXPECT_THAT([] { LocalRanksOf("2", "cuda", HasNone); },
              ThrowsMessage<Error>(HasSubstr("there is no cuda:0")));
  EXPECT_THAT([] { LocalRanksOf("2", "cuda:1", HasThree); },
              ThrowsMessage<Error>(HasSubstr("expected no --device beside it but auto, cpu or "
                                             "cuda")));
}

TEST(LocalRanks, AreSoManyProcessesOfACpu) {
  EXPECT_THAT(LocalRanksOf("3", "cpu", HasThree), ElementsAre(0, 1, 2));
  EXPECT_THAT(LocalRanksOf("2", "auto", HasNone), ElementsAre(0, 1));
  for (const char* devices : {"all", "0,1"}) {
    EXPECT_THAT([&] { LocalRanksOf(devices, "cpu", HasThree); },
                ThrowsMessage<Error>(HasSubstr("expected a number of processes, since there are no "
                                               "GPUs")));
  }
}

TEST(LocalRanks, OtherWordsAreRefused) {
  for (const char* devices : {"two", "", "-1", "0,0", "1,", "2x", "100000"}) {
    EXPECT_THAT([&] { LocalRanksOf(devices, "auto", HasThree); },
                ThrowsMessage<Error>(HasSubstr("expected a number, all, or the numbers of some "
                                               "GPUs such as 0,2")))
        << devices;
  }
  EXPECT_THAT([] { LocalRanksOf("0", "cpu", HasThree); },
              ThrowsMessage<Error>(HasSubstr("found --devices 0, expected at least one")));
}

TEST(LocalRanks, AProcessReadsTheVariablesThatItGets) {
  std::map<std::string, std::string> variables;
  for (const std::string& variable : VariablesOfRank(1, {2, 0, 5}, 1234)) {
    const size_t middle = variable.find('=');
    variables[variable.substr(0, middle)] = variable.substr(middle + 1);
  }
  const auto lookup = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  EXPECT_EQ(ReadRanks(lookup), (Ranks{.rank = 1,
                                      .world = 3,
                                      .local_rank = 0,
                                      .local_world = 3,
                                      .address = "127.0.0.1",
                                      .port = 1234}));
  EXPECT_FALSE(IsStartedLocally(lookup));
  variables["KVTUNE_STARTED_BY"] = std::to_string(::getppid());
  EXPECT_TRUE(IsStartedLocally(lookup));
  variables["KVTUNE_STARTED_BY"] = std::to_string(::getpid());  // of a process further up
  EXPECT_FALSE(IsStartedLocally(lookup));
}

TEST(LocalRanks, APortIsFreeForEachRun) {
  const int first = FreePort();
  EXPECT_GT(first, 1023);
  EXPECT_LE(first, 65535);
}

}  // namespace
}  // namespace kvtune
