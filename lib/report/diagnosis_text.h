// The diagnosis as text for people, for example "Layers 0 and 27 need at least int8 keys; without
// them int4 keys are safe", and the measurements behind it.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/diagnosis.h"

namespace kvtune {

// Returns one sentence that ends in a line break, or an empty string when the target quantizes no
// keys.
std::string DiagnosisSentence(const Diagnosis& diagnosis);

// Returns the sentence and, when there are fragile layers, a table with one row for each of them.
// `width` is as in TextTable::Render.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width);

}  // namespace kvtune
