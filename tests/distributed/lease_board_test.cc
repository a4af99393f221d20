#include "lib/distributed/lease_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/distributed/lease_worker.h"
#include "tests/support/memory_store.h"

namespace kvtune {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

std::string Twice(const std::string& request) { return request + request; }

std::vector<std::string> Requests(size_t count) {
  std::vector<std::string> requests;
  for (size_t i = 0; i < count; ++i) requests.push_back(std::to_string(i));
  return requests;
}

std::vector<std::string> Answers(size_t count) {
  std::vector<std::string> answers;
  for (const std::string& request : Requests(count)) answers.push_back(Twice(request));
  return answers;
}

using RequestWork = std::function<std::string(const std::string& request)>;

// All results, in the order of the requests.
std::vector<std::string> RunAll(LeaseBoard& board, const std::vector<std::string>& requests,
                                const RequestWork& work) {
  std::vector<std::string> results(requests.size());
  board.Run(
      requests, [&](size_t lease) { return work(requests[lease]); },
      [&](size_t lease, const std::string& result) {
        EXPECT_EQ(results[lease], "") << "lease " << lease << " twice";
        results[lease] = result;
        return true;
      });
  return results;
}

class LeaseBoardTest : public ::testing::Test {
 protected:
  LeaseBoardTest() { SetLogLevel(LogLevel::kQuiet); }

  std::unique_ptr<Store> Connect() { return std::make_unique<MemoryStore>(state); }
  Ranks RanksOf(int rank, int world) { return {.rank = rank, .world = world}; }

  // A process that works until the run ends, and notes how many requests it had.
  std::thread Worker(int rank, LeaseWorker::Work work, std::atomic<int>& count) {
    return std::thread([this, rank, work, &count] {
      const std::unique_ptr<Store> store = Connect();
      Heartbeat own_beat(Connect(), rank, times, nullptr);
      LeaseWorker worker(*store, own_beat, RanksOf(rank, 9), times);
      worker.Serve([&](const std::string& request) {
        ++count;
        return work(request);
      });
    });
  }

  std::shared_ptr<MemoryStoreState> state = std::make_shared<MemoryStoreState>();
  std::unique_ptr<Store> first = Connect();
  LeaseTimes times = kPatientTimes;
  Heartbeat heartbeat{Connect(), 0, times, nullptr};
};

TEST_F(LeaseBoardTest, OneProcessDoesAllByItself) {
  LeaseBoard board(*first, 2, times);
  EXPECT_EQ(RunAll(board, Requests(3), Twice), Answers(3));
  EXPECT_EQ(board.ProcessCount(), 1u);
  board.End(kEndedWell);
}

TEST_F(LeaseBoardTest, ProcessesShareTheWorkOfEveryJob) {
  std::atomic<int> of_one = 0, of_two = 0, own = 0;
  const auto slow = [](const std::string& request) {
    std::this_thread::sleep_for(milliseconds(5));
    return Twice(request);
  };
  std::thread one = Worker(1, slow, of_one), two = Worker(2, slow, of_two);
  LeaseBoard board(*first, 3, times);
  const auto own_work = [&](const std::string& request) {
    ++own;
    while (of_one == 0 || of_two == 0) std::this_thread::sleep_for(milliseconds(1));
    return slow(request);
  };
  for (int job = 0; job < 5; ++job) EXPECT_EQ(RunAll(board, Requests(20), own_work), Answers(20));
  EXPECT_EQ(board.ProcessCount(), 3u);
  board.End(kEndedWell);
  one.join();
  two.join();
  EXPECT_EQ(own + of_one + of_two, 100);
  EXPECT_GT(own, 0);
}

TEST_F(LeaseBoardTest, NothingButEmptySlotsAndBeatsStaysInTheStore) {
  std::atomic<int> count = 0;
  std::thread one = Worker(1, Twice, count);
  LeaseBoard board(*first, 2, times);
  RunAll(board, Requests(10), Twice);
  board.End(kEndedWell);
  one.join();
  const std::scoped_lock lock(state->mutex);  // rank 0 goes on beating
  for (const auto& [key, value] : state->values) {
    if (key.starts_with("slot/")) {
      EXPECT_EQ(value, kSkippedSlot);
    } else {
      EXPECT_TRUE(key.starts_with("beat/") || key == kEndKey) << key;
    }
  }
}

TEST_F(LeaseBoardTest, WhatAProcessSaysAfterAJobHasEndedIsForgotten) {
  LeaseBoard board(*first, 2, times);
  RunAll(board, Requests(1), Twice);
  first->Append("done/0", std::string(4, '\0'));
  RunAll(board, Requests(1), Twice);
  EXPECT_FALSE(state->ValueOf("done/0"));
  first->Append("done/1", std::string(4, '\0'));
  board.End(kEndedWell);
  EXPECT_FALSE(state->ValueOf("done/1"));
}

TEST_F(LeaseBoardTest, TheLeaseOfASilentProcessGoesToAnother) {
  times = kQuickTimes;
  // It takes a slot, says so, and is never heard of again.
  std::unique_ptr<Store> dead = Connect();
  dead->Set(BeatKey(1),
            BeatText({.count = 5, .slot = dead->Add(std::string(kSlotCounter), 1) - 1}));
  LeaseBoard board(*first, 2, times);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(RunAll(board, Requests(3), Twice), Answers(3));
  EXPECT_GE(std::chrono::steady_clock::now() - start, times.expiry);
}

TEST_F(LeaseBoardTest, ASlotWhoseHolderNeverSaidSoExpiresToo) {
  times = kQuickTimes;
  first->Add(std::string(kSlotCounter), 1);
  LeaseBoard board(*first, 2, times);
  EXPECT_EQ(RunAll(board, Requests(3), Twice), Answers(3));
}

TEST_F(LeaseBoardTest, OnlyTheLeaseOfADeadProcessIsDoneAgain) {
  times = kQuickTimes;
  std::atomic<int> count = 0, own = 0;
  std::unique_ptr<Store> dead = Connect();
  dead->Set(BeatKey(2),
            BeatText({.count = 5, .slot = dead->Add(std::string(kSlotCounter), 1) - 1}));
  std::thread one = Worker(1, Twice, count);
  LeaseBoard board(*first, 3, times);
  EXPECT_EQ(RunAll(board, Requests(8), [&](const std::string& r) { return ++own, Twice(r); }),
            Answers(8));
  board.End(kEndedWell);
  one.join();
  EXPECT_EQ(own + count, 8);
}

TEST_F(LeaseBoardTest, AProcessThatBeatsKeepsItsLeaseHoweverLongItTakes) {
  times = kQuickTimes;
  std::atomic<int> count = 0;
  std::thread one = Worker(
      1,
      [](const std::string& request) {
        std::this_thread::sleep_for(2 * kQuickTimes.expiry);
        return Twice(request);
      },
      count);
  while (first->Add(std::string(kSlotCounter), 0) == 0) {  // until it waits in the first slot
    std::this_thread::sleep_for(milliseconds(1));
  }
  std::atomic<int> own = 0;
  LeaseBoard board(*first, 2, times);
  EXPECT_EQ(RunAll(board, Requests(2), [&](const std::string& r) { return ++own, Twice(r); }),
            Answers(2));
  EXPECT_EQ(own + count, 2);
  board.End(kEndedWell);
  one.join();
}

TEST_F(LeaseBoardTest, AJobEndsWhenItsResultsAreNotWanted) {
  LeaseBoard board(*first, 2, times);
  const std::vector<std::string> requests = Requests(4);
  std::vector<size_t> leases;
  board.Run(
      requests, [&](size_t lease) { return requests[lease]; },
      [&](size_t lease, const std::string&) {
        leases.push_back(lease);
        return leases.size() < 2;
      });
  EXPECT_THAT(leases, ElementsAre(0, 1));
  EXPECT_EQ(RunAll(board, Requests(3), Twice), Answers(3));
}

TEST_F(LeaseBoardTest, AProcessHearsThatItsLeaseIsNotWantedAnyMore) {
  const std::unique_ptr<Store> store = Connect();
  std::atomic<bool> is_busy = false;
  std::thread one([&] {
    Heartbeat own_beat(Connect(), 1, times, nullptr);
    LeaseWorker worker(*store, own_beat, RanksOf(1, 2), times);
    worker.Serve([&](const std::string&) {
      EXPECT_TRUE(worker.IsWanted());
      is_busy = true;
      while (worker.IsWanted()) std::this_thread::sleep_for(milliseconds(1));
      return std::string("too late");
    });
  });
  LeaseBoard board(*first, 2, times);
  while (first->Add(std::string(kSlotCounter), 0) == 0) {  // until it waits in the first slot
    std::this_thread::sleep_for(milliseconds(1));
  }
  board.Run(
      Requests(2),
      [&](size_t) {
        while (!is_busy) std::this_thread::sleep_for(milliseconds(1));
        return std::string("own");
      },
      [](size_t, const std::string&) { return false; });
  EXPECT_EQ(RunAll(board, Requests(0), Twice), Answers(0));
  board.End(kEndedWell);
  one.join();
  EXPECT_FALSE(state->ValueOf("result/0/0"));
}

TEST_F(LeaseBoardTest, ResultsOfOthersComeWhileRankZeroIsBusy) {
  std::atomic<int> count = 0;
  std::atomic<bool> rank_zero_is_busy = false;  // before that the other would take the second too
  std::thread one = Worker(
      1,
      [&](const std::string& request) {
        while (!rank_zero_is_busy) std::this_thread::sleep_for(milliseconds(1));
        return Twice(request);
      },
      count);
  LeaseBoard board(*first, 2, times);
  while (first->Add(std::string(kSlotCounter), 0) == 0) {  // until it waits in the first slot
    std::this_thread::sleep_for(milliseconds(1));
  }
  std::vector<std::string> results;
  board.Run(
      Requests(2),
      [&](size_t) {
        rank_zero_is_busy = true;
        while (results.empty()) {
          board.LookAround();
          std::this_thread::sleep_for(milliseconds(1));  // so that the others reach the store
        }
        return std::string("own");
      },
      [&](size_t, const std::string& result) {
        results.push_back(result);
        return true;
      });
  EXPECT_THAT(results, ElementsAre("00", "own"));
  board.End(kEndedWell);
  one.join();
}

TEST_F(LeaseBoardTest, TheLeaseOfRankZeroDoesNotExpireWhileItLooksAround) {
  times.expiry = milliseconds(40);
  LeaseBoard board(*first, 2, times);
  board.Run(
      Requests(1),
      [&](size_t) {
        const auto until = std::chrono::steady_clock::now() + 5 * times.expiry;
        while (std::chrono::steady_clock::now() < until) {
          board.LookAround();
          std::this_thread::sleep_for(milliseconds(1));
        }
        EXPECT_FALSE(state->ValueOf(SlotKey(1))) << "the lease was given away";
        return std::string("own");
      },
      [&](size_t, const std::string& result) {
        EXPECT_EQ(result, "own");
        return true;
      });
  board.End(kEndedWell);
}

TEST_F(LeaseBoardTest, LateResultsAreIgnored) {
  times = kQuickTimes;
  std::unique_ptr<Store> late = Connect();
  const int64_t slot = late->Add(std::string(kSlotCounter), 1) - 1;
  late->Set(BeatKey(1), BeatText({.count = 5, .slot = slot}));
  std::optional<SlotContent> content;
  LeaseBoard board(*first, 2, times);
  std::thread reader([&] {
    ASSERT_TRUE(late->Wait(SlotKey(slot), milliseconds(5000)));
    content = ParseSlot(*late->Get(SlotKey(slot)));
  });
  EXPECT_EQ(RunAll(board, Requests(2), Twice), Answers(2));
  reader.join();
  ASSERT_TRUE(content);
  late->Set(content->result_key, "wrong");
  late->Append(content->done_key, content->lease);
  late->Append(content->done_key, content->lease);
  EXPECT_EQ(RunAll(board, Requests(2), Twice), Answers(2));
}

TEST_F(LeaseBoardTest, AnErrorOfRankZeroEndsTheJobAndTheNextOneWorks) {
  LeaseBoard board(*first, 2, times);
  const auto fail = [](const std::string&) -> std::string { throw Error("no"); };
  EXPECT_THROW(RunAll(board, Requests(3), fail), Error);
  EXPECT_EQ(RunAll(board, Requests(3), Twice), Answers(3));
}

TEST_F(LeaseBoardTest, ProcessesHearHowRankZeroEnded) {
  auto own = std::make_unique<Heartbeat>(Connect(), 1, times, nullptr);
  const std::unique_ptr<Store> store = Connect();
  LeaseWorker worker(*store, *own, RanksOf(1, 2), times);
  LeaseBoard board(*first, 2, times);
  std::thread end([&] { board.End(kEndedWithError); });
  EXPECT_THAT([&] { worker.Serve(Twice); },
              ThrowsMessage<Error>(HasSubstr("serving rank 0: found that it ended with an error, "
                                             "which stands in its own messages")));
  own.reset();
  end.join();
}

TEST_F(LeaseBoardTest, ASilentRankZeroEndsTheOthers) {
  times = kQuickTimes;
  std::atomic<bool> lost = false;
  auto apart = std::make_shared<MemoryStoreState>();  // where rank 0 does not beat
  Heartbeat own(std::make_unique<MemoryStore>(apart), 1, times,
                [&](const std::string&) { lost = true; });
  MemoryStore store(apart);
  LeaseWorker worker(store, own, RanksOf(1, 2), times);
  EXPECT_THAT([&] { worker.Serve(Twice); },
              ThrowsMessage<Error>(HasSubstr("serving rank 0: found it silent for ")));
  while (!lost) std::this_thread::sleep_for(milliseconds(1));  // while its work goes on
}

TEST_F(LeaseBoardTest, AStoreThatIsGoneEndsTheOthers) {
  std::string message;
  std::atomic<bool> lost = false;
  Heartbeat own(Connect(), 1, times, [&](const std::string& text) {
    message = text;
    lost = true;
  });
  state->TakeAway();
  while (!lost) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_THAT(message, HasSubstr("asking the store: found no answer"));
  LeaseBoard(*first, 2, times).End(kEndedWell);  // does not throw
}

TEST_F(LeaseBoardTest, SlotsAndBeatsReadBackWhatTheyWrite) {
  const SlotContent content{.result_key = "result/1/2",
                            .done_key = "done/1",
                            .lease = std::string("\n\0\n\0", 4),
                            .request = "any\nbytes"};
  const std::optional<SlotContent> read = ParseSlot(SlotText(content));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->result_key, content.result_key);
  EXPECT_EQ(read->done_key, content.done_key);
  EXPECT_EQ(read->lease, content.lease);
  EXPECT_EQ(read->request, content.request);
  EXPECT_FALSE(ParseSlot(std::string(kSkippedSlot)));
  EXPECT_FALSE(ParseSlot("a\nb\nc"));
  EXPECT_EQ(ParseBeat(BeatText({.count = 12, .slot = -2})), (Beat{.count = 12, .slot = -2}));
  EXPECT_FALSE(ParseBeat("12"));
  EXPECT_FALSE(ParseBeat("12 x"));
}

}  // namespace
}  // namespace kvtune
