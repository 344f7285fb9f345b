// Readers first: their mean gate belongs to the read-out.
#include "engine/memory_probe/rows/row_report.h"

#include "engine/memory_probe/rows/value_readout.h"

namespace memengine {

std::vector<RowReport> report_rows(ProbeModel& model, const std::vector<std::int64_t>& rows,
                                   std::size_t table_of, const NextPass& next, std::size_t keep) {
  std::vector<RowReaders> readers;
  if (next) {
    readers = find_row_readers(model, next, rows, table_of, keep);
  } else {
    readers = RowReads(model, rows, table_of, keep).result();
  }
  const auto updates = last_updates(model.source(), table_of, rows);
  ValueReadout readout(model);
  std::vector<RowReport> reports;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowReport report;
    report.table = model.table_name(table_of);
    if (updates) report.last_update = (*updates)[i];
    for (std::size_t memory = 0; memory < model.layers().size(); ++memory) {
      if (!model.shares_table() && memory != table_of) continue;
      const std::vector<double>& gate = readers[i].gate[memory];
      report.says.push_back(
          {memory, !gate.empty(), readout.strongest(memory, rows[i], gate, keep)});
    }
    report.readers = std::move(readers[i]);
    reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace memengine
