// Pieces that the plan files of several engines are made of: words for formats, Python lists of
// bits, and text that may or may not be JSON. For what a command line or a configuration sets, see
// engine_settings.h.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// An engine's word for a format. One word may stand for two formats, one with calibrated scales and
// one with unit scales, because engines take the scales of the checkpoint where it has them.
struct FormatWord {
  std::string_view word;
  KvFormatId format;
};

// The engine's word for a format. REQUIRES: it has one.
std::string_view WordOf(std::span<const FormatWord> words, KvFormatId format);

// All words as "fp8_e4m3, nvfp4, ...", for messages.
std::string WordsOf(std::span<const FormatWord> words);

// A comment line that kvtune itself writes to say which of two formats with the same word is meant.
// It is the only comment that is read.
inline constexpr std::string_view kCalibratedNote = "# scales: calibrated";
enum class ScaleNote { kNone, kCalibrated };
ScaleNote ScaleNoteOf(std::string_view content);
bool HasCalibratedScales(const PrecisionPlan& plan);

// The format of a word; nullopt for a word that is not in `words`. Where the word stands for two
// formats, the note decides: kCalibrated means the one with calibrated scales.
std::optional<KvFormatId> FormatOfWord(std::span<const FormatWord> words, std::string_view word,
                                       ScaleNote note = ScaleNote::kNone);

// Reads a layer's index. Throws Error, which begins with `where`, when the text is not the index of
// a layer.
size_t LayerIndexOf(std::string_view text, size_t layer_count, const std::string& where);

// Parses the content; nullopt when it is not JSON.
std::optional<Json> TryJson(std::string_view content);
// Whether the content is a JSON object with this key.
bool IsJsonWith(std::string_view content, std::string_view key);

// "KV_BITS = [(8, 4), ...]": the bits of keys and values of every layer, 16 for exact ones, several
// layers to a line.
std::string PythonBits(const PrecisionPlan& plan);
// Whether the text has that list, outside of comments, and `word` too.
bool HasPythonBits(std::string_view content, std::string_view word);
// Reads that list, with the format in `formats` that has the bits of each entry. Throws Error
// naming the layer.
PrecisionPlan ReadPythonBits(std::string_view content, const std::string& source,
                             size_t layer_count, std::span<const KvFormatId> formats);

// The line "# Plan p07: KV4;0:KV8", which tells readers of an exported file where it comes from.
std::string PlanComment(std::string_view name, const PrecisionPlan& plan);

}  // namespace kvtune
