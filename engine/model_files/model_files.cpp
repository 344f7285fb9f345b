// Lists a model's tensors for files.
//
// Each tensor of a checkpoint is described once, by a FileTensor that can both read and write a
// range of its bytes; saving and loading walk the same list, so what is saved is what is loaded.
#include "engine/model_files/model_files.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <set>

#include "engine/model_files/initial/background_use.h"
#include "engine/model_files/row_decay.h"
#include "engine/model_files/table_columns.h"
#include "io/files/parallel.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

std::vector<std::int64_t> shape_of(const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int axis = 0; axis < tensor.rank(); ++axis) shape.push_back(tensor.dim(axis));
  return shape;
}

// FP32 numbers of a file into a model in double, which lies in host memory. Such a model is not
// saved.
FileTensor widened(const std::string& name, const Tensor& tensor) {
  FileTensor file;
  file.source = {name, FileDtype::f32, shape_of(tensor), {}};
  file.write = [tensor](std::uint64_t offset, std::span<const std::byte> bytes) {
    std::vector<float> numbers(bytes.size() / sizeof(float));
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
    std::copy(numbers.begin(), numbers.end(), tensor.as<double>() + offset / sizeof(float));
  };
  return file;
}

// A tensor that lies in memory as it lies in the file.
FileTensor plain(const Context& context, const std::string& name, const Tensor& tensor) {
  auto* base = static_cast<std::byte*>(tensor.data());
  FileTensor file;
  file.source = {name, file_dtype(tensor.dtype()), shape_of(tensor),
                 [&context, base](std::uint64_t offset, std::span<std::byte> bytes) {
                   copy_bytes(context, bytes.data(), base + offset,
                              static_cast<std::int64_t>(bytes.size()));
                 }};
  file.write = [&context, base](std::uint64_t offset, std::span<const std::byte> bytes) {
    copy_bytes(context, base + offset, bytes.data(), static_cast<std::int64_t>(bytes.size()));
  };
  return file;
}

struct ModelTensors {
  std::vector<FileTensor> model, optimizer;  // all but the tables
  std::vector<FileTensor> moments;           // of the optimizer's, those that this rank alone has
  std::vector<const ValueTable*> tables;
};

// Rows of the whole table that were ever used, of which each rank counts its own. Read back they
// are counted again, by count_used_rows().
FileTensor used_rows(const Context& context, const ValueTable& table, bool saving) {
  const std::string name = table.name() + ".rows_ever_used";
  if (!table.is_spread()) return plain(context, name, table.rows_ever_used());
  std::int32_t mine = 0;
  copy_bytes(context, &mine, table.rows_ever_used().data(), sizeof(mine));
  const std::int32_t all = saving ? context.communicator->sum(mine) : 0;
  FileTensor file;
  file.source = {name, FileDtype::i32, {1}, [all](std::uint64_t offset, std::span<std::byte> to) {
                   std::memcpy(to.data(), reinterpret_cast<const std::byte*>(&all) + offset,
                               to.size());
                 }};
  file.write = [](std::uint64_t, std::span<const std::byte>) {};
  return file;
}

void count_used_rows(const Context& context, const ValueTable& table) {
  if (!table.is_spread()) return;
  const auto count = static_cast<std::int32_t>(rows_updated_after(context, table, 0).size());
  copy_bytes(context, table.rows_ever_used().data(), &count, sizeof(count));
}

ModelTensors list_tensors(const Context& context, const Transformer& transformer,
                          const Optimizer* optimizer, bool saving) {
  ModelTensors list;
  const ParameterStore& parameters = transformer.parameters();
  for (const NamedTensor& named : parameters.named()) {
    list.model.push_back(transformer.size().dtype == DType::f64
                             ? widened(named.name, named.value)
                             : plain(context, named.name, named.value));
    if (optimizer == nullptr) continue;
    const auto moment_of = [&](const Tensor& block) {
      return parameters.part_of(block, named.value, optimizer->first_parameter());
    };
    const Tensor first_moment = moment_of(optimizer->first_moment());
    if (first_moment.empty()) continue;
    auto& moments = optimizer->is_part() ? list.moments : list.optimizer;
    moments.push_back(plain(context, named.name + ".first_moment", first_moment));
    moments.push_back(
        plain(context, named.name + ".second_moment", moment_of(optimizer->second_moment())));
  }
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      list.tables.push_back(&table);
      if (optimizer == nullptr) continue;
      list.optimizer.push_back(used_rows(context, table, saving));
    }
  }
  if (optimizer == nullptr) return list;
  list.optimizer.push_back(plain(context, "optimizer.step", optimizer->steps_done()));
  for (const MemoryBank& bank : transformer.banks()) {
    if (!bank.chooses()) continue;
    const std::string& table = bank.values().name();
    list.optimizer.push_back(
        plain(context, document_frequency_name(table), bank.background().document_frequency));
    list.optimizer.push_back(
        plain(context, background_batches_name(table), bank.background().batches));
  }
  // The guard's memory: what it was told to look at may change, and older checkpoints have none.
  const GuardTensors& guard = optimizer->guard();
  for (const auto& [name, tensor] :
       {std::pair("guard.state", guard.state), std::pair("guard.window", guard.window)}) {
    if (tensor.empty()) continue;
    list.optimizer.push_back(plain(context, name, tensor));
    list.optimizer.back().optional = true;
  }
  return list;
}

// The tensors that `reader`, a Checkpoint or a WeightReader, is to fill; `where` is its name.
template <typename Reader>
std::vector<TensorSink> sinks_of(const Reader& reader, const std::string& where,
                                 std::vector<FileTensor> tensors) {
  std::vector<TensorSink> sinks;
  for (FileTensor& tensor : tensors) {
    const TensorInfo* found = reader.find(tensor.source.name);
    const bool fits = found != nullptr && found->shape == tensor.source.shape &&
                      found->dtype == tensor.source.dtype;
    if (tensor.optional && !fits) continue;
    if (found == nullptr) {
      fail_input("{}: no tensor '{}': the weights are of another model", where, tensor.source.name);
    }
    if (!fits) {
      fail_input("{}: tensor '{}' is {} [{}], the config makes it {} [{}]", where,
                 tensor.source.name, file_dtype_name(found->dtype), fmt::join(found->shape, ", "),
                 file_dtype_name(tensor.source.dtype), fmt::join(tensor.source.shape, ", "));
    }
    sinks.push_back({tensor.source.name, std::move(tensor.write), tensor.concurrent,
                     tensor.owner.rank, tensor.owner.size});
  }
  return sinks;
}

// Saved as it is; on the way back past_row_decay() reads it, which knows older checkpoints too.
void add_past_decay(std::vector<FileTensor>& list, const Context& context,
                    const Optimizer& optimizer) {
  const Tensor past = optimizer.past_decay(context);
  if (!past.empty()) list.push_back(plain(context, past_decay_name, past));
}

CheckpointFile file_of(const std::string& name, const std::vector<FileTensor>& tensors) {
  CheckpointFile file{name, {}};
  for (const FileTensor& tensor : tensors) file.tensors.push_back(tensor.source);
  return file;
}

// "rows.safetensors", or of several ranks "rows-0-of-2.safetensors".
std::string file_name(const char* what, const Communicator& ranks) {
  if (ranks.size() == 1) return fmt::format("{}.safetensors", what);
  return fmt::format("{}-{}-of-{}.safetensors", what, ranks.rank(), ranks.size());
}

// What all ranks have, dealt out among them.
void add_dealt(std::vector<CheckpointFile>& files, const Communicator& ranks, ModelTensors list) {
  if (ranks.rank() == 0) files.push_back(file_of("model.safetensors", list.model));
  std::vector<FileTensor> mine = std::move(list.moments);
  for (std::size_t i = 0; i < list.optimizer.size(); ++i) {
    if (static_cast<int>(i) % ranks.size() == ranks.rank()) mine.push_back(list.optimizer[i]);
  }
  if (!mine.empty()) files.push_back(file_of(file_name("optimizer", ranks), mine));
}

}  // namespace

std::vector<CheckpointFile> model_files(const Context& context, const Transformer& transformer,
                                        const Optimizer* optimizer) {
  ModelTensors list = list_tensors(context, transformer, optimizer, true);
  const Communicator& ranks = *context.communicator;
  CheckpointFile rows{file_name("table", ranks), {}, true};
  for (const ValueTable* table : list.tables) {
    for (const TablePart part : table_parts(*table)) {
      const bool weights = part == TablePart::weights;
      if (!weights && optimizer == nullptr) continue;
      if (table->is_spread()) {
        rows.tensors.push_back(own_rows_tensor(context, *table, part));
      } else {
        (weights ? list.model : list.optimizer).push_back(table_tensor(context, *table, part));
      }
    }
  }
  std::vector<CheckpointFile> files;
  if (ranks.size() > 1 && optimizer != nullptr) {
    add_past_decay(list.optimizer, context, *optimizer);
    add_dealt(files, ranks, std::move(list));
    if (!rows.tensors.empty()) files.push_back(std::move(rows));
    return files;
  }
  files.push_back(file_of("model.safetensors", list.model));
  if (optimizer == nullptr) return files;
  add_past_decay(list.optimizer, context, *optimizer);
  files.push_back(file_of("optimizer.safetensors", list.optimizer));
  return files;
}

std::optional<IncrementFiles> increment_files(const Context& context,
                                              const Transformer& transformer,
                                              const Optimizer& optimizer,
                                              const CheckpointBase& base, double most_share) {
  ModelTensors list = list_tensors(context, transformer, &optimizer, true);
  add_past_decay(list.optimizer, context, optimizer);
  IncrementFiles result;
  result.increment.base = base;
  Communicator& ranks = *context.communicator;
  CheckpointFile rows{file_name("rows", ranks), {}, ranks.size() > 1};
  double whole_bytes = 0;
  double increment_bytes = 0;
  for (const ValueTable* table : list.tables) {
    const auto touched = std::make_shared<const std::vector<std::int32_t>>(
        rows_updated_after(context, *table, base.step));
    std::vector<std::int32_t> numbers = *touched;  // in the whole table
    for (std::int32_t& row : numbers) row = static_cast<std::int32_t>(table->rows().row_of(row));
    const auto row_bytes = static_cast<double>(table_row_bytes(*table));
    whole_bytes += row_bytes * static_cast<double>(table->rows().rows);
    increment_bytes += (row_bytes + 4) * static_cast<double>(touched->size());
    const std::string list_name = table->name() + ".rows";
    rows.tensors.push_back(
        {list_name,
         FileDtype::i32,
         {static_cast<std::int64_t>(touched->size())},
         [numbers = std::move(numbers)](std::uint64_t offset, std::span<std::byte> bytes) {
           std::memcpy(bytes.data(), reinterpret_cast<const std::byte*>(numbers.data()) + offset,
                       bytes.size());
         }});
    for (const TablePart part : table_parts(*table)) {
      rows.tensors.push_back(table_rows_tensor(context, *table, part, touched));
      result.increment.patches[rows.tensors.back().name] = list_name;
    }
  }
  whole_bytes = ranks.sum(whole_bytes);  // all write one, or none does
  increment_bytes = ranks.sum(increment_bytes);
  if (list.tables.empty() || increment_bytes > most_share * whole_bytes) return std::nullopt;
  add_dealt(result.files, ranks, std::move(list));
  result.files.push_back(std::move(rows));
  return result;
}

void load_model_files(const Context& context, const Checkpoint& checkpoint,
                      Transformer& transformer, const Optimizer* optimizer) {
  ModelTensors list = list_tensors(context, transformer, optimizer, false);
  std::vector<FileTensor> all = std::move(list.model);
  std::move(list.optimizer.begin(), list.optimizer.end(), std::back_inserter(all));
  std::move(list.moments.begin(), list.moments.end(), std::back_inserter(all));
  for (const ValueTable* table : list.tables) {
    for (const TablePart part : table_parts(*table)) {
      if (part != TablePart::weights && optimizer == nullptr) continue;
      all.push_back(table_tensor(context, *table, part));
    }
  }
  const std::string where = checkpoint.folder().string();
  checkpoint.load(sinks_of(checkpoint, where, std::move(all)), file_threads());
  for (const ValueTable* table : list.tables) {
    if (optimizer != nullptr) count_used_rows(context, *table);
  }
  if (optimizer != nullptr) optimizer->restore_decay(context, past_row_decay(checkpoint), where);
  for (const MemoryBank& bank : transformer.banks()) {
    if (optimizer != nullptr && bank.chooses()) settle_background(context, bank, where);
  }
  transformer.parameters().refresh_compute(context);
}

namespace {

// Leaves the tensors that are there, and tells of all.
void report_weights(const WeightReader& reader, std::vector<FileTensor>& tensors,
                    WeightsReport& report) {
  std::set<std::string> known;
  std::vector<FileTensor> there;
  for (FileTensor& tensor : tensors) {
    const std::string& name = tensor.source.name;
    known.insert(name);
    if (reader.find(name) == nullptr) {
      report.fresh.push_back(name);
      continue;
    }
    report.taken.push_back(name);
    std::int64_t numbers = 1;
    for (const std::int64_t extent : tensor.source.shape) numbers *= extent;
    report.numbers += numbers;
    there.push_back(std::move(tensor));
  }
  tensors = std::move(there);
  for (const std::string& name : reader.names) {
    if (!known.contains(name)) report.left_over.push_back(name);
  }
}

}  // namespace

void load_weights(const Context& context, const WeightReader& reader, Transformer& transformer,
                  WeightsReport* report) {
  ModelTensors list = list_tensors(context, transformer, nullptr, false);
  for (const ValueTable* table : list.tables) {
    list.model.push_back(table_tensor(context, *table, TablePart::weights));
  }
  if (report != nullptr) report_weights(reader, list.model, *report);
  constexpr std::uint64_t block_bytes = 16 << 20;
  std::vector<std::byte> block;
  for (const TensorSink& sink : sinks_of(reader, reader.where, std::move(list.model))) {
    const std::uint64_t bytes = reader.find(sink.name)->bytes;
    for (std::uint64_t offset = 0; offset < bytes; offset += block_bytes) {
      block.resize(std::min(block_bytes, bytes - offset));
      reader.read(sink.name, offset, block);
      sink.write(offset, block);
    }
  }
  transformer.parameters().refresh_compute(context);
}

}  // namespace memengine
