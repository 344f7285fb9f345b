// The lists of what is silent lie on the device; the model's layers are told where.
#include "engine/memory_probe/silence/silencer.h"

#include "kernels/runtime/runtime.h"

namespace memengine {

Silencer::Silencer(ProbeModel& model) : model_(model) {
  const std::int64_t tables =
      model.shares_table() ? 1 : static_cast<std::int64_t>(model.layers().size());
  Arena planned;
  for (Arena* arena : {&planned, &arena_}) {
    if (arena == &arena_) {
      arena_ = Arena(model.model().context().device, planned.planned_bytes());
    }
    heads_ = arena->allocate("silenced", DType::u8, {model.heads()});
    rows_ = arena->allocate("silenced", DType::u8, {tables, model.rows()});
  }
}

void Silencer::upload(const Tensor& to, const std::vector<std::uint8_t>& flags) {
  copy_bytes(model_.model().context(), to.data(), flags.data(), to.bytes());
  model_.model().synchronize();
}

void Silencer::clear() {
  for (const std::int64_t layer : model_.layers()) model_.model().transformer().silence(layer, {});
}

void Silencer::layer(std::size_t memory) {
  clear();
  model_.model().transformer().silence(model_.layers()[memory],
                                       {.layer = true, .heads = {}, .rows = {}});
}

void Silencer::head(std::size_t memory, std::size_t head) {
  clear();
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(model_.heads()));
  flags.at(head) = 1;
  upload(heads_, flags);
  model_.model().transformer().silence(model_.layers()[memory],
                                       {.layer = false, .heads = heads_, .rows = {}});
}

void Silencer::rows(std::span<const std::int64_t> rows, std::size_t memory) {
  std::vector<std::vector<std::int64_t>> of_tables(static_cast<std::size_t>(rows_.dim(0)));
  of_tables[model_.shares_table() ? 0 : memory].assign(rows.begin(), rows.end());
  this->rows(of_tables);
}

void Silencer::rows(const std::vector<std::vector<std::int64_t>>& of_tables) {
  clear();
  const auto rows = static_cast<std::size_t>(model_.rows());
  std::vector<std::uint8_t> flags(of_tables.size() * rows);
  for (std::size_t table = 0; table < of_tables.size(); ++table) {
    for (const std::int64_t row : of_tables[table]) {
      flags.at(table * rows + static_cast<std::size_t>(row)) = 1;
    }
  }
  upload(rows_, flags);
  for (std::size_t m = 0; m < model_.layers().size(); ++m) {
    const std::size_t table = model_.shares_table() ? 0 : m;
    if (of_tables[table].empty()) continue;
    const Tensor flags_of_table =
        rows_.rows(static_cast<std::int64_t>(table), 1).reshape({model_.rows()});
    model_.model().transformer().silence(model_.layers()[m],
                                         {.layer = false, .heads = {}, .rows = flags_of_table});
  }
}

}  // namespace memengine
