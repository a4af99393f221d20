#include "lib/base/version.h"

namespace kvtune {

std::string_view Version() { return KVTUNE_VERSION; }

}  // namespace kvtune
