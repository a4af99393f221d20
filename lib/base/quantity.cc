#include "lib/base/quantity.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <string>

namespace kvtune {
namespace {

constexpr double kMost = 0x1p62;

// The factor of a unit without its "B"; nullopt for a unit that there is not.
std::optional<double> FactorOf(std::string_view unit, double base) {
  if (unit.empty()) return 1;
  constexpr std::string_view kLetters = "KMGT";
  const char letter = unit[0] == 'k' ? 'K' : unit[0];
  const size_t power = kLetters.find(letter);
  if (unit.size() > 1 || power == std::string_view::npos) return std::nullopt;
  return std::pow(base, static_cast<double>(power) + 1);
}

// "iB", "B" and "i" say which powers a unit counts in; what is left is the unit's letter.
std::optional<double> FactorOfUnit(std::string_view unit, bool is_size) {
  const bool has_byte = is_size && unit.ends_with('B');
  if (has_byte) unit.remove_suffix(1);
  const bool is_binary = unit.size() > 1 && unit.ends_with('i');
  if (is_binary) unit.remove_suffix(1);
  return FactorOf(unit, has_byte && !is_binary ? 1000 : 1024);
}

std::optional<double> ParseQuantity(std::string_view text, bool is_size) {
  double number = 0;
  const auto [end, reason] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (reason != std::errc() || std::signbit(number) || !std::isfinite(number)) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  const std::optional<double> factor = FactorOfUnit(unit, is_size);
  if (!factor || number * *factor > kMost) return std::nullopt;
  return number * *factor;
}

std::string ThreeDigits(double value, std::string_view unit, bool is_plain) {
  const int decimals = is_plain || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, unit);
}

}  // namespace

std::optional<uint64_t> ParseCount(std::string_view text) {
  uint64_t whole = 0;
  const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (reason == std::errc() && end == text.data() + text.size()) return whole;
  const std::optional<double> number = ParseQuantity(text, false);
  if (!number || *number != std::floor(*number)) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

std::optional<uint64_t> ParseSize(std::string_view text) {
  const std::optional<double> number = ParseQuantity(text, true);
  if (!number) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

std::string SizeText(double bytes) {
  constexpr std::string_view kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return ThreeDigits(bytes, kUnits[unit], unit == 0);
}

std::string CountText(double count) {
  constexpr std::string_view kUnits[] = {"", " K", " M", " B", " T"};
  size_t unit = 0;
  while (count >= 1000 && unit + 1 < std::size(kUnits)) {
    count /= 1000;
    ++unit;
  }
  return ThreeDigits(count, kUnits[unit], unit == 0);
}

std::string WithShortExponent(const std::string& text) {
  const size_t e = text.find('e');
  if (e == std::string::npos) return text;
  return fmt::format("{}e{}", text.substr(0, e), std::stoi(text.substr(e + 1)));
}

std::string FactorText(double factor, int digits) {
  constexpr double kMostInDigits = 1e6;
  const std::string text = fmt::format("{:.{}g}", factor, digits);
  if (text.find('e') == std::string::npos) return text;  // "inf" too
  const double rounded = std::strtod(text.c_str(), nullptr);
  if (rounded >= 1 && rounded < kMostInDigits) return fmt::format("{:.0f}", rounded);
  return WithShortExponent(text);
}

std::string TokensText(int64_t tokens) {
  if (tokens > 0 && tokens % 1024 == 0) return fmt::format("{}k", tokens / 1024);
  return fmt::format("{}", tokens);
}

}  // namespace kvtune
