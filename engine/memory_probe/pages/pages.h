// What was found in a memory, as pages that open offline (engine/report/page.h).
#pragma once

#include <string>

#include "engine/memory_probe/probe_model.h"
#include "engine/memory_probe/rows/row_use.h"
#include "engine/memory_probe/silence/facts.h"
#include "engine/memory_probe/text_probe.h"

namespace memengine {

// Figures of each layer and head, the product grid in log counts, and which heads use rows alike.
std::string use_page(const ProbeModel& model, const RowUse& use, const std::string& corpus,
                     std::size_t top);

// The text, each token the stronger coloured the rarer its rows are. A click on a token shows the
// `top` strongest rows of each head, a click on a row the tokens that read it. Without a corpus
// (`use` null) there are no colours.
std::string text_page(const ProbeModel& model, const TextProbe& probe, const RowUse* use,
                      const std::string& corpus, std::size_t top);

// The study as bars, and its figures.
std::string facts_page(const ProbeModel& model, const FactStudy& study,
                       const FactsOptions& options);

// A square picture of cells [side, side] as SVG: the accent colour in twelve strengths by
// log(1 + x); 0 stays empty. Cells of one strength are one path, and runs of them one piece of it.
std::string svg_log_grid(const std::vector<double>& cells, std::int64_t side);

}  // namespace memengine
