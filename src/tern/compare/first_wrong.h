// Where a side begins to be wrong, once its own figures show that it is. For arbitration.cc alone.
#pragma once

#include "tern/compare/arbitration.h"

namespace tern::compare {

// Two right sides that compute a tensor from equal inputs have RMS that differ by the tensor's own rounding alone: no
// more than both may be off by their values. Judges a side without values where its hashes part from those of a side
// that has values and is right there.
void judge_where_they_part(const Sided<RunToArbitrate>& runs, Arbitration& arbitration);

// Of sides that are held to equal hashes: where they part, one is wrong. Sets `parted`, and moves the side that is
// wrong behind it forward to it. Both runs must be there. `oracle`: for its RMS.
void place_where_hashes_part(const Sided<RunToArbitrate>& runs, const trace::EngineRun& oracle,
                             Arbitration& arbitration);

// A side that is known to be wrong by its RMS began to be so before, if an RMS is off by less, but still by too much.
void place_by_deviation(const Sided<RunToArbitrate>& runs, Arbitration& arbitration);

// A side that is known to be wrong by its RMS began to be so where its hashes part from a right side's, if rounding
// does not explain that they do.
void place_by_hash(const Sided<RunToArbitrate>& runs, Arbitration& arbitration);

}  // namespace tern::compare
