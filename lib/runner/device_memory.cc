#include "lib/runner/device_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace kvtune {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// The line to read has this form (proc(5)): "MemAvailable:   21474836 kB".
int64_t MachineMemory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (int64_t kibibytes = 0; file >> key >> kibibytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return kUnknown;
}

int64_t NumberIn(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? number : kUnknown;  // the file says "max" when there is no limit
}

// The line to read has the form "0::/user.slice/..." (cgroups(7), version 2). The limits of the
// parents of that group hold too.
int64_t ControlGroupMemory() {
  std::ifstream file("/proc/self/cgroup");
  int64_t free = kUnknown;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::/")) continue;
    const std::filesystem::path root = "/sys/fs/cgroup";
    for (std::filesystem::path group = root / line.substr(4);; group = group.parent_path()) {
      const int64_t limit = NumberIn(group / "memory.max"),
                    used = NumberIn(group / "memory.current");
      if (limit != kUnknown && used != kUnknown)
        free = std::min(free, std::max<int64_t>(0, limit - used));
      if (group == root || !group.has_relative_path()) break;
    }
  }
  return free;
}

}  // namespace

int64_t FreeMemory(const at::Device& device) {
  if (device.is_cpu()) return std::min(MachineMemory(), ControlGroupMemory());
  return static_cast<int64_t>(
      c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

void ReturnUnusedMemory(const at::Device& device) {
  if (!device.is_cpu()) c10::getDeviceAllocator(device.type())->emptyCache();
}

int64_t PeakMemory(const at::Device& device) {
  if (device.is_cpu()) return 0;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return c10::getDeviceAllocator(device.type())
      ->getDeviceStats(device.index())
      .allocated_bytes[kAll]
      .peak;
}

}  // namespace kvtune
