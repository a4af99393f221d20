#include "lib/runner/side_streams.h"

#include <algorithm>
#include <string>

#include "lib/base/log.h"

namespace kvtune {
namespace {

// Streams beside the current one. A layer's sequences have at most some ten pairs of formats.
constexpr int kSides = 7;

}  // namespace

SideStreams::SideStreams(const at::Device& device) : device_(device), begin_(device.type()) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  try {
    for (int i = 0; i < kSides; ++i)
      sides_.push_back({guard.getStreamFromGlobalPool(device), c10::Event(device.type())});
  } catch (const c10::Error&) {  // A driver that has no memory left for a stream.
    LogDetail("work on " + device.str() + " runs on fewer streams, because its memory is full");
  }
}

void SideStreams::Join(int64_t sides, const c10::Stream& current) {
  for (int64_t i = 0; i < sides; ++i) {
    Side& side = sides_[static_cast<size_t>(i)];
    side.done.record(side.stream);
    side.done.block(current);
  }
}

void SideStreams::ForEach(int64_t count, const Work& work) {
  const int64_t sides = std::min(std::ssize(sides_), count - 1);
  if (sides < 1) {
    for (int64_t i = 0; i < count; ++i) work(i, scratch_);
    return;
  }
  const c10::Stream current = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  begin_.record(current);
  for (int64_t i = 0; i < sides; ++i) begin_.block(sides_[static_cast<size_t>(i)].stream);
  try {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = i % (sides + 1);
      if (place == sides) {
        work(i, scratch_);
        continue;
      }
      Side& side = sides_[static_cast<size_t>(place)];
      const c10::StreamGuard on(side.stream);
      work(i, side.scratch);
    }
  } catch (...) {
    Join(sides, current);  // Memory that the pieces use may be given back now.
    throw;
  }
  Join(sides, current);
}

}  // namespace kvtune
