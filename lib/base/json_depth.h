// The deepest nesting of JSON values that is read.
#pragma once

namespace kvtune {

// Functions that walk through a value call themselves, so one that is nested a hundred thousand
// deep would overflow the stack. Real files nest about ten deep.
inline constexpr int kDeepestJson = 256;

}  // namespace kvtune
