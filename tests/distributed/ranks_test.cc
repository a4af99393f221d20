#include "lib/distributed/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Variables = std::map<std::string, std::string>;

Ranks RanksOf(const Variables& variables) {
  return ReadRanks([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

#define EXPECT_RANK_ERROR(variables, message) \
  EXPECT_THAT([] { RanksOf(Variables variables); }, ThrowsMessage<Error>(HasSubstr(message)))

TEST(Ranks, OneProcessHasNoStore) {
  EXPECT_EQ(RanksOf({}), Ranks{});
  EXPECT_EQ(RanksOf({{"RANK", "0"}, {"WORLD_SIZE", "1"}}), Ranks{});
  EXPECT_EQ(RanksOf({{"RANK", ""}, {"MASTER_ADDR", "somewhere"}}), Ranks{});
}

TEST(Ranks, TorchrunSaysAll) {
  const Variables variables{{"RANK", "5"},
                            {"WORLD_SIZE", "8"},
                            {"LOCAL_RANK", "1"},
                            {"MASTER_ADDR", "10.0.0.7"},
                            {"MASTER_PORT", "1234"},
                            {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                            {"TORCHELASTIC_RESTART_COUNT", "2"}};
  EXPECT_EQ(RanksOf(variables), (Ranks{.rank = 5,
                                       .world = 8,
                                       .local_rank = 1,
                                       .address = "10.0.0.7",
                                       .port = 1234,
                                       .agent_holds_store = true,
                                       .restarts = 2}));
}

TEST(Ranks, VariablesOfAProcessByHandAreThoseOfTorchrun) {
  const Ranks ranks = RanksOf({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "host"}});
  EXPECT_EQ(ranks, (Ranks{.rank = 1, .world = 2, .address = "host", .port = 29500}));
}

TEST(Ranks, MpiOnOneHostNeedsNoAddress) {
  const Variables variables{{"OMPI_COMM_WORLD_RANK", "3"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "3"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  EXPECT_EQ(RanksOf(variables), (Ranks{.rank = 3,
                                       .world = 4,
                                       .local_rank = 3,
                                       .local_world = 4,
                                       .address = "127.0.0.1",
                                       .port = 29500}));
  EXPECT_EQ(RanksOf({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "2"}}).address,
            "127.0.0.1");
}

TEST(Ranks, MpiOnManyHostsNeedsAnAddress) {
  EXPECT_RANK_ERROR(({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}}),
                    "found 4 processes of PMI but no MASTER_ADDR, expected the address of the host "
                    "of rank 0");
}

TEST(Ranks, AStepOfSlurmSaysWhereItsFirstNodeIs) {
  const Variables variables{
      {"SLURM_PROCID", "17"},         {"SLURM_NTASKS", "32"},
      {"SLURM_STEP_NUM_TASKS", "32"}, {"SLURM_LOCALID", "1"},
      {"SLURM_JOB_ID", "9876543"},    {"SLURM_STEP_NODELIST", "gpu[07-09,12]"}};
  EXPECT_EQ(RanksOf(variables),
            (Ranks{.rank = 17, .world = 32, .local_rank = 1, .address = "gpu07", .port = 21543}));
}

TEST(Ranks, TheScriptOfASlurmJobIsAlone) {
  EXPECT_EQ(RanksOf({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "32"}}), Ranks{});
}

TEST(Ranks, LaunchersWithinAJobComeFirst) {
  const Ranks ranks = RanksOf({{"SLURM_PROCID", "0"},
                               {"SLURM_STEP_NUM_TASKS", "2"},
                               {"RANK", "9"},
                               {"WORLD_SIZE", "16"},
                               {"MASTER_ADDR", "host"}});
  EXPECT_EQ(ranks.rank, 9);
  EXPECT_EQ(ranks.world, 16);
}

TEST(Ranks, ContradictionsAreNamed) {
  EXPECT_RANK_ERROR(({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
                    "found RANK=2 and WORLD_SIZE=2, expected a rank below the number of processes");
  EXPECT_RANK_ERROR(({{"RANK", "0"}}), "found RANK but no WORLD_SIZE, expected both or neither");
  EXPECT_RANK_ERROR(({{"WORLD_SIZE", "2"}}),
                    "found WORLD_SIZE but no RANK, expected both or neither");
  EXPECT_RANK_ERROR(({{"RANK", "one"}, {"WORLD_SIZE", "2"}}),
                    "found RANK=one, expected a whole number of 0 to 2147483647");
  EXPECT_RANK_ERROR(
      ({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}),
      "found MASTER_PORT=70000, expected a whole number of 1 to 65535");
}

TEST(Ranks, FirstHostOfSlurmsLists) {
  EXPECT_EQ(FirstHost("node7"), "node7");
  EXPECT_EQ(FirstHost("node7,node9"), "node7");
  EXPECT_EQ(FirstHost("gpu[07-09,12],big1"), "gpu07");
  EXPECT_EQ(FirstHost("rack[2,4]-gpu[1-8].local"), "rack2-gpu1.local");
}

TEST(Ranks, ProcessesOfAHostSpreadOverItsGpus) {
  const auto two = [](const std::string& name) { return name == "cuda:0" || name == "cuda:1"; };
  const auto none = [](const std::string&) { return false; };
  EXPECT_EQ(DeviceOfRank("auto", 1, two), "cuda:1");
  EXPECT_EQ(DeviceOfRank("cuda", 1, two), "cuda:1");
  EXPECT_EQ(DeviceOfRank("cuda", 2, two), "cuda");
  EXPECT_EQ(DeviceOfRank("auto", 1, none), "auto");
  EXPECT_EQ(DeviceOfRank("cpu", 1, two), "cpu");
  EXPECT_EQ(DeviceOfRank("cuda:0", 1, two), "cuda:0");
}

}  // namespace
}  // namespace kvtune
