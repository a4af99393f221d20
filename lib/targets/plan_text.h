// Pieces that the plan files of several engines are made of: words for formats, Python lists of
// bits, JSON that may not be JSON. What a command line or a configuration sets: engine_settings.h.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// An engine's word for a format. One word may stand for two formats, that with calibrated scales
// and that with unit scales: engines take what the checkpoint has.
struct FormatWord {
  std::string_view word;
  KvFormatId format;
};

// REQUIRES: the engine has a word for the format.
std::string_view WordOf(std::span<const FormatWord> words, KvFormatId format);

// "fp8_e4m3, nvfp4, ..." for messages.
std::string WordsOf(std::span<const FormatWord> words);

// A comment line of kvtune's own that says which of two formats of one word is meant. No other
// comment is read.
inline constexpr std::string_view kCalibratedNote = "# scales: calibrated";
enum class ScaleNote { kNone, kCalibrated };
ScaleNote ScaleNoteOf(std::string_view content);
bool HasCalibratedScales(const PrecisionPlan& plan);

// nullopt for another word. With a note, the format with calibrated scales where there is one.
std::optional<KvFormatId> FormatOfWord(std::span<const FormatWord> words, std::string_view word,
                                       ScaleNote note = ScaleNote::kNone);

// Throws Error: not a layer's index.
size_t LayerIndexOf(std::string_view text, size_t layer_count, const std::string& where);

// nullopt where the content is not JSON.
std::optional<Json> TryJson(std::string_view content);
// A JSON object with this key.
bool IsJsonWith(std::string_view content, std::string_view key);

// "KV_BITS = [(8, 4), ...]": keys and values of each layer, 16 for exact, several to a line.
std::string PythonBits(const PrecisionPlan& plan);
// Whether the text has that list, outside of comments, and `word` too.
bool HasPythonBits(std::string_view content, std::string_view word);
// Bits to formats by `formats`. Throws Error naming the layer.
PrecisionPlan ReadPythonBits(std::string_view content, const std::string& source,
                             size_t layer_count, std::span<const KvFormatId> formats);

// "# Plan p07: KV4;0:KV8"
std::string PlanComment(std::string_view name, const PrecisionPlan& plan);

}  // namespace kvtune
