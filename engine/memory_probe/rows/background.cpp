#include "engine/memory_probe/rows/background.h"

namespace memengine {

std::vector<DocumentFrequency> count_document_frequency(ProbeModel& model, std::int64_t most,
                                                        const NextPass& next) {
  const std::size_t memories = model.layers().size();
  const std::size_t tables = model.shares_table() ? 1 : memories;
  const auto rows = static_cast<std::size_t>(model.rows());
  std::vector<DocumentFrequency> counts;
  for (std::size_t t = 0; t < tables; ++t) {
    counts.push_back({model.table_name(t), 0, std::vector<std::int32_t>(rows)});
  }
  // The last batch that read a row, from 1 on.
  std::vector<std::vector<std::int32_t>> last(tables, std::vector<std::int32_t>(rows));
  std::int32_t batches = 0;
  std::int64_t begun = 0;
  const auto limited = [&](ScoreRows& pass) { return begun++ < most && next(pass); };
  read_lookups(model.model(), {}, limited, [&](const LookupPass& pass) {
    ++batches;
    const std::int64_t picks = pass.size() * pass.heads * pass.knn;
    for (std::size_t m = 0; m < memories; ++m) {
      const std::size_t t = tables == 1 ? 0 : m;
      for (std::int64_t p = 0; p < picks; ++p) {
        const auto row = static_cast<std::size_t>(pass.memories[m].picks[p]);
        if (last[t][row] == batches) continue;
        last[t][row] = batches;
        ++counts[t].of_row[row];
      }
    }
  });
  for (DocumentFrequency& table : counts) table.batches = batches;
  return counts;
}

}  // namespace memengine
