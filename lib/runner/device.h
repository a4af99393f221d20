// The device that a model runs on, for those who do not see libtorch.
#pragma once

#include <string>

#include "lib/core/model_size.h"

namespace kvtune {

// `device` as in ModelOptions. Throws Error for one that is unknown or absent.
DeviceDescription DescribeDevice(const std::string& device);

}  // namespace kvtune
