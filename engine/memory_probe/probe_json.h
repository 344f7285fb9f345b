// What was found in a memory, as JSON for programs. Rows are numbers of the table, layers those of
// the model, tokens text and id.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/memory_probe/rows/row_change.h"
#include "engine/memory_probe/rows/row_reads.h"
#include "engine/memory_probe/rows/row_use.h"
#include "engine/memory_probe/silence/ablation.h"
#include "engine/memory_probe/silence/facts.h"
#include "engine/memory_probe/text_probe.h"

namespace memengine {

// A row, with all that `memory row` finds of it.
struct RowReport {
  RowReaders readers;
  std::string table;
  std::optional<std::int64_t> last_update;  // 0: never
  // Of each memory that reads it: tokens and their logits above the mean.
  struct Says {
    std::size_t memory = 0;
    bool gated = false;  // by the mean gate of its readers
    std::vector<std::pair<std::int32_t, double>> tokens;
  };
  std::vector<Says> says;
};

using Json = nlohmann::ordered_json;

Json use_json(const ProbeModel& model, const RowUse& use, const std::string& corpus,
              std::size_t top);
Json text_json(const ProbeModel& model, const TextProbe& probe, const std::string& corpus);
Json row_json(const ProbeModel& model, const RowReport& row, const std::string& corpus,
              std::int64_t tokens);
Json ablation_json(const Ablation& ablation);
Json change_json(const ProbeModel* model, const std::vector<TableChange>& tables,
                 const std::vector<std::vector<RowReport>>& rows);
Json facts_json(const FactStudy& study, const FactsOptions& options);

// Two spaces a level, a line feed at the end; bytes that are no UTF-8 become U+FFFD.
std::string json_text(const Json& json);

}  // namespace memengine
