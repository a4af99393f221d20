#include "lib/runner/device.h"

#include "lib/base/error.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/torch_device.h"
#include "lib/runner/torch_errors.h"

namespace kvtune {

int DeviceCount() {
  if (!at::hasCUDA()) return 0;
  return static_cast<int>(
      at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount());
}

at::Device ResolveDevice(const std::string& name) {
  const bool has_cuda = at::hasCUDA();
  if (name == "cpu" || (name == "auto" && !has_cuda)) return at::kCPU;
  if (name == "auto" || name == "cuda" || name.starts_with("cuda:")) {
    if (!has_cuda) {
      throw Error("choosing the device: found \"" + name +
                  "\" but no usable CUDA device, expected --device cpu or auto");
    }
    const std::string digits = name.starts_with("cuda:") ? name.substr(5) : "0";
    const int count = DeviceCount();
    const bool is_number =
        !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
    if (is_number && digits.size() < 4 && std::stoi(digits) < count) {
      return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(std::stoi(digits)));
    }
    throw Error("choosing the device: found \"" + name + "\", expected one of " +
                std::to_string(count) + " CUDA devices (cuda:0 and up)");
  }
  throw Error("choosing the device: found \"" + name + "\", expected auto, cpu, cuda or cuda:N",
              ExitCode::kUsage);
}

at::ScalarType DefaultType(const at::Device& device) {
  return device.is_cpu() ? at::kFloat : at::kBFloat16;
}

std::string TypeName(at::ScalarType type) {
  if (type == at::kBFloat16) return "bfloat16";
  if (type == at::kHalf) return "float16";
  return type == at::kDouble ? "float64" : "float32";
}

DeviceDescription DescribeDevice(const std::string& device) {
  return WithTorchErrors("looking at the device " + device, [&]() -> DeviceDescription {
    const at::Device resolved = ResolveDevice(device);
    const at::ScalarType type = DefaultType(resolved);
    return {resolved.str(), FreeMemory(resolved), TypeName(type),
            static_cast<int64_t>(c10::elementSize(type))};
  });
}

}  // namespace kvtune
