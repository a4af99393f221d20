// Architectures that are known and that kvtune does not run, each with its reason.
#pragma once

#include <span>
#include <string_view>

namespace kvtune {

struct Refusal {
  std::string_view architecture;
  std::string_view reason;
};

std::span<const Refusal> Refusals();

}  // namespace kvtune
