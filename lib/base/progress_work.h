// How stages tell the line of the whole command what they have done.
#pragma once

namespace kvtune {

// Adds work, in the unit of RunProgress, that took so many seconds.
void ReportWork(double work, double seconds);

}  // namespace kvtune
