#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/timing.h"

namespace kvtune {
namespace {

void Require(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // The next call is not to fail for this one's reason.
  throw Error(std::string("timing on CUDA, ") + doing + ": found \"" + cudaGetErrorString(error) +
              "\", expected it to work");
}

// The time between two points of a stream.
class Stopwatch {
 public:
  Stopwatch() {
    Require(cudaEventCreate(&begin_), "making an event");
    Require(cudaEventCreate(&end_), "making an event");
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // The milliseconds of one of `repeats` calls in a row.
  template <typename Work>
  double TimeOf(cudaStream_t stream, int repeats, const Work& work) const {
    Require(cudaEventRecord(begin_, stream), "recording an event");
    for (int i = 0; i < repeats; ++i) work();
    Require(cudaEventRecord(end_, stream), "recording an event");
    Require(cudaEventSynchronize(end_), "running the work");
    float elapsed = 0;
    Require(cudaEventElapsedTime(&elapsed, begin_, end_), "reading the time");
    return static_cast<double>(elapsed) / repeats;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// A captured graph, given back at the end.
struct Graph {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replayed = nullptr;

  Graph() = default;
  ~Graph() {
    if (replayed != nullptr) cudaGraphExecDestroy(replayed);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

}  // namespace

std::string CudaDeviceName(int device) {
  cudaDeviceProp properties;
  Require(cudaGetDeviceProperties(&properties, device), "asking for the device's name");
  return properties.name;
}

std::vector<double> TimeReplays(const CudaPlace& place, const std::function<void()>& work,
                                int measurements, int replays) {
  const CurrentDevice current(place.device);
  const cudaStream_t stream = StreamOf(place);
  const Stopwatch watch;
  Graph graph;
  for (int i = 0; i < 2; ++i) work();
  Require(cudaStreamSynchronize(stream), "running the work");
  Require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "beginning a graph");
  work();
  Require(cudaStreamEndCapture(stream, &graph.graph), "ending a graph");
  Require(cudaGraphInstantiate(&graph.replayed, graph.graph, 0), "preparing a graph");
  const auto replay = [&] {
    Require(cudaGraphLaunch(graph.replayed, stream), "replaying a graph");
  };
  watch.TimeOf(stream, replays, replay);
  std::vector<double> milliseconds;
  for (int i = 0; i < measurements; ++i)
    milliseconds.push_back(watch.TimeOf(stream, replays, replay));
  return milliseconds;
}

std::vector<double> TimeCopies(const CudaPlace& place, const void* from, void* to, int64_t bytes,
                               int measurements) {
  constexpr int kCopies = 20;
  const CurrentDevice current(place.device);
  const cudaStream_t stream = StreamOf(place);
  const Stopwatch watch;
  const auto copy = [&] {
    Require(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream),
            "copying");
  };
  for (int i = 0; i < 5; ++i) watch.TimeOf(stream, kCopies, copy);
  std::vector<double> milliseconds;
  for (int i = 0; i < measurements; ++i)
    milliseconds.push_back(watch.TimeOf(stream, kCopies, copy));
  return milliseconds;
}

}  // namespace kvtune
