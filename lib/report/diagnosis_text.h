// The diagnosis for people: "Layers 0 and 27 need at least int8 keys; without them int4 keys are
// safe", and the measurements behind it.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/diagnosis.h"

namespace kvtune {

// One sentence that ends in a line break; empty where the target quantizes no keys.
std::string DiagnosisSentence(const Diagnosis& diagnosis);

// The sentence and, where there are fragile layers, a row for each. `width` as in
// TextTable::Render.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width);

}  // namespace kvtune
