// The device that a model runs on, for code that does not see libtorch.
#pragma once

#include <string>

#include "lib/core/model_size.h"

namespace kvtune {

// `device` is named as in ModelOptions. Throws Error for a device that is unknown or absent.
DeviceDescription DescribeDevice(const std::string& device);

}  // namespace kvtune
