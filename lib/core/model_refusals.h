// Architectures that kvtune knows but does not run, each with the reason.
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
