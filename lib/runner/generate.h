// Greedy generation for many sequences, each a prompt under a plan, in steps that they share.
#pragma once

#include "lib/core/generation.h"
#include "lib/runner/runner_state.h"

namespace kvtune {

// Decodes every row of the request. A batch has a fixed number of places; a sequence that ends
// leaves its place to the next row. The places follow from the free memory and the longest
// sequence, or the mean one where layers are packed; a packed sequence begins when there is room
// for its own bytes. Their memory is taken once.
//
// On a CPU every thread has a batch of its own, whose matrix products have the same shape whatever
// sequences are in it, and attends one sequence at a time. So a row of a model without experts gets
// the same numbers in any company as far as the matrix product of that shape treats its rows alike;
// experts are multiplied by as many rows as chose them. On a GPU there is one batch, and the last
// bits of a row depend on how many places it has.
//
// Throws Error, also where not even one sequence fits into the memory.
void GenerateRows(RunnerState& state, const GenerationRequest& request,
                  const OnGeneratedRow& finished);

}  // namespace kvtune
