// The trainer's checkpoints: resuming, saving, and what stands around them.
//
// A save is a barrier: the device finishes its step, then the host streams parameters, moments and
// tables to the disk while training waits, so that a checkpoint is one consistent moment. What that
// costs is what the disk takes for the bytes; between full checkpoints only the table rows updated
// since are written, which each row's own last step tells.
//
// Several ranks save and resume together: each writes its own part of one checkpoint
// (model_files.h), rank 0 does what is done once, and what fails on one fails on all, so that they
// all go on in the same way.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "engine/clock.h"
#include "engine/config/row_optimizer_choice.h"
#include "engine/evaluation/evaluation.h"
#include "engine/model_files/initial/background_use.h"
#include "engine/model_files/initial/initial_weights.h"
#include "engine/model_files/model_files.h"
#include "engine/model_files/model_source.h"
#include "engine/run/run_files.h"
#include "engine/run/run_state.h"
#include "engine/training/trainer.h"
#include "io/files/parallel.h"
#include "kernels/runtime/printable.h"
#include "kernels/runtime/ranks/together.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::int64_t folder_bytes(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code unknown;
    const std::uintmax_t size = at->file_size(unknown);
    if (!unknown) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

// Versions without a mark left a file `lock` that names the process.
bool has_older_lock(const fs::path& folder) {
  try {
    const std::string text = read_text_file(folder / "lock", 512);
    return text.starts_with("process ") && text.find(" on ") != text.npos;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void Trainer::lock_checkpoints() {
  do_together(ranks(), [&] {
    if (is_first()) lock_folders();
  });
  owner_ = gather_texts(ranks(), owner_).front();
}

void Trainer::lock_folders() {
  const fs::path folder = config_.dump_dir, root = config_.checkpoint_path();
  const auto older = [](const fs::path& path) {
    return [path] { return has_older_lock(path) || holds_checkpoints(path); };
  };
  try {
    folder_ = std::make_unique<OutputFolder>(folder, "training run", older(folder));
  } catch (const Error& error) {
    fail_input("dump_dir: {}", error.what());
  }
  owner_ = folder_->id();
  // Another folder, which runs with other dump_dirs may name too.
  std::error_code ignored;
  if (fs::equivalent(folder, root, ignored)) return;
  try {
    checkpoint_folder_ = std::make_unique<OutputFolder>(root, "run's checkpoints", older(root));
  } catch (const Error& error) {
    fail_input("checkpoint.path: {}", error.what());
  }
}

void Trainer::check_disk() {
  const SaveEvery& dump = config_.checkpoint.dump;
  if (dump.every <= 0 || step_ >= config_.steps || !is_first()) return;
  const std::string root = config_.checkpoint_path();
  std::int64_t one = model_.memory_plan().checkpoint_bytes + (1 << 20);
  for (const MemoryBank& bank : model_.transformer().banks()) {
    for (const ValueTable& table : bank.tables()) {  // and the rows of other ranks
      one += (table.table_rows() - table.rows().rows) * table.rows().layout.state_bytes();
    }
  }
  const std::int64_t saves = (config_.steps - step_ + dump.every - 1) / dump.every;
  // Old ones go only after the new one is there, and a base stays as long as it is needed.
  const bool increments =
      config_.checkpoint.increment_share > 0 && !model_.transformer().banks().empty();
  const auto present = static_cast<std::int64_t>(checkpoint_steps(root).size());
  std::int64_t most = present + saves;
  if (dump.keep > 0) most = std::min(most, dump.keep + (increments ? 2 : 1));
  const std::int64_t wanted = std::max(most * one - folder_bytes(root), one);
  const auto free =
      static_cast<std::int64_t>(std::min<std::uint64_t>(files_.free_bytes(root), INT64_MAX));
  if (free < one) {
    fail_input(
        "a checkpoint takes {}, and the disk of {} has {} free: free some space, set "
        "checkpoint.path to another disk, lower the model's size, or set checkpoint.dump.every=0 "
        "to "
        "save nothing",
        bytes_text(one), root, bytes_text(free));
  }
  if (free < wanted) {
    notice(
        fmt::format("the disk of {} has {} free; {} checkpoints of {} each will want {} more at "
                    "the most: lower "
                    "checkpoint.dump.keep (it is {}) or set checkpoint.path to another disk",
                    root, bytes_text(free), most, bytes_text(one), bytes_text(wanted), dump.keep));
  }
}

// --- Resuming ------------------------------------------------------------------------------------

void Trainer::resume() {
  const fs::path root = config_.checkpoint_path();
  do_together(ranks(), [&] {
    if (is_first()) restore_checkpoints(files_, root);
  });
  const auto recover = [&] {
    do_together(ranks(), [&] {
      if (is_first()) recover_checkpoints(files_, root, owner_);
    });
  };
  std::vector<std::int64_t> steps = checkpoint_steps(root);
  do_together(ranks(), [&] {
    const auto newest = ranks().gather<std::int64_t>(steps.empty() ? -1 : steps.back());
    for (const std::int64_t step : newest) {
      if (step == newest.front()) continue;
      fail_input(
          "checkpoint.path: ranks see different checkpoints in {} (steps {}): it must be on a disk "
          "that all hosts share",
          root.string(), fmt::join(newest, ", "));
    }
  });
  std::string newest_damage;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    // Read once: blocks are verified on their way into the model, and a damaged one only means that
    // the next older checkpoint is read over what is there already.
    std::string damage;
    do_together(ranks(), [&] {
      try {
        resume_from(Checkpoint(root / checkpoint_name(*step)));
      } catch (const DamagedCheckpoint& damaged) {
        damage = damaged.what();
      }
    });
    // What one rank finds damaged, all pass over.
    for (const std::string& found : gather_texts(ranks(), damage)) {
      if (damage.empty()) damage = found;
    }
    if (damage.empty()) return recover();
    if (!config_.checkpoint.skip_damaged) {
      fail_input("{}; checkpoint.skip_damaged=true goes on from the one before", damage);
    }
    damaged_.insert(*step);
    if (newest_damage.empty()) newest_damage = damage;
    notice(fmt::format("passing over the checkpoint of step {}: {}", *step, damage));
  }
  if (!newest_damage.empty()) {
    fail_input(
        "no checkpoint in {} is whole (newest: {}): move the folder away to start afresh, or "
        "choose another dump_dir",
        root.string(), newest_damage);
  }
  recover();
  initialise_weights();
  loader_ = data_.training_loader(config_, host_allocator(), nullptr);
}

void Trainer::resume_from(const Checkpoint& checkpoint) {
  const RunState state = read_run_state(checkpoint);
  const std::vector<std::string> notices =
      check_resumable(config_, data_.tokenizer->hash(), state, checkpoint.folder().string());
  load_model_files(runtime_.context(), checkpoint, model_.transformer(), &model_.optimizer());
  step_ = saved_step_ = state.step;
  total_tokens_ = state.total_tokens;
  base_ = checkpoint.base();
  if (!checkpoint.owner().empty()) owner_ = checkpoint.owner();
  loader_ = data_.training_loader(config_, host_allocator(), &state.position);
  for (const std::string& message : notices) notice(message);
  const LoaderPosition now = loader_->position();
  for (std::size_t i = 0; i < now.sources.size(); ++i) {
    const std::string& before = state.position.sources[i].shards;
    if (!before.empty() && before != now.sources[i].shards) {
      notice(fmt::format("resumed by force: the shards of source {} have other contents",
                         now.sources[i].name));
    }
  }
}

// Batches the GPU copies from must be page-locked, or every copy would make the host wait.
HostAllocator Trainer::host_allocator() {
  if (!runtime_.context().on_cuda()) return {};
  return {[](std::size_t bytes) { return allocate_pinned(bytes); },
          [](void* address) { free_pinned(address); }};
}

void Trainer::initialise_weights() {
  const std::optional<std::string>& path = config_.checkpoint.init_ckpt_path;
  if (config_.rows_per_step && !path) {
    fail_input(
        "optim.rows_per_step={}: rows are chosen by how other text uses those of a trained model: "
        "name one with checkpoint.init_ckpt_path",
        *config_.rows_per_step);
  }
  model_.initialize();
  if (!path) return;
  const ModelSource source = find_model(*path);
  const Context& context = runtime_.context();
  for (const std::string& message :
       load_initial_weights(context, config_, source, model_.transformer())) {
    notice(message);
  }
  if (config_.rows_per_step) load_background(context, source, model_.transformer());
  compare_tokenizers(source);
}

void Trainer::compare_tokenizers(const ModelSource& source) {
  if (!source.tokenizer) return;
  // Other tokens mean other words: the weights would be of no use, and no number would say so.
  std::string theirs;
  try {
    theirs = open_tokenizer(source)->hash();
  } catch (const Error&) {
    return;  // it is not here to be compared
  }
  if (theirs == data_.tokenizer->hash()) return;
  notice(
      fmt::format("checkpoint.init_ckpt_path: {} was made with another tokenizer than {}: its "
                  "token ids mean other words",
                  source.folder.string(), config_.data.tokenizer.path.value_or("bytes")));
}

// --- Saving --------------------------------------------------------------------------------------

// A save that fails in the middle of a run leaves the checkpoints before it as they were, and the
// next interval tries again. The last one is all that keeps the final state: while the disk refuses
// it, it is tried again for a while, in which somebody may make room. That is so for disks and
// other input: an internal error (a device whose fault a synchronize finds) says that the numbers
// in memory cannot be trusted, and ends the run at once.
void Trainer::save(bool last, const std::function<bool()>& give_up) {
  const double patience = 60 * config_.checkpoint.retry_minutes;  // seconds
  const double until = now_seconds() + patience;
  for (bool said = false;; said = true) {
    std::string trouble;
    try {
      write_checkpoint(last);
      return;
    } catch (const Error& error) {
      if (error.kind() != Error::Kind::input) throw;
      trouble = error.what();
    } catch (const fs::filesystem_error& error) {
      trouble = printable(error.what());
    }
    if (!last) {
      notice(fmt::format("not saved, training goes on and the next save tries again: {}", trouble));
      return;
    }
    const double pause = now_seconds() + std::min(5.0, patience / 10);
    if (!said && pause < until) {
      notice(fmt::format("the last state is not saved: {}; trying again for {}", trouble,
                         duration_text(patience)));
    }
    while (now_seconds() < std::min(pause, until) && !give_up()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    if (ranks().largest(now_seconds() >= until || give_up() ? 1 : 0) != 0) {
      fail_input("the state of step {} could not be saved: {}", step_, trouble);
    }
  }
}

void Trainer::write_checkpoint(bool last) {
  if (saved_step_ == step_) return;
  const double begin = now_seconds();
  model_.row_exchange().store();
  runtime_.synchronize();
  watch_numbers(step_);
  // A run that produces nothing but bad numbers must not push the good checkpoints out.
  const std::int64_t bad = bad_numbers_.state().bad_in_a_row;
  if (bad > 0 && !last) {
    notice(fmt::format("not saved: the last {} updates were skipped; the checkpoints before stay",
                       bad));
    return;
  }
  SaveOptions options;
  options.keep = bad > 0 ? -1 : config_.checkpoint.dump.keep;
  options.threads = file_threads();
  options.damaged = damaged_;
  options.owner = owner_;
  options.ranks = &ranks();
  std::vector<CheckpointFile> contents;
  const bool rows_stay = row_optimizer(config_.model.productkey_args).touches_only_picked_rows;
  if (base_ && rows_stay && config_.checkpoint.increment_share > 0 && step_ < config_.steps) {
    auto increment = increment_files(runtime_.context(), model_.transformer(), model_.optimizer(),
                                     *base_, config_.checkpoint.increment_share);
    if (increment) {
      options.increment = std::move(increment->increment);
      contents = std::move(increment->files);
    }
  }
  if (!options.increment) {
    contents = model_files(runtime_.context(), model_.transformer(), &model_.optimizer());
  }
  const RunState state{step_, total_tokens_, loader_->position(), {}, data_.tokenizer->hash()};
  std::string trouble;
  const SavedCheckpoint saved = save_checkpoint(files_, config_.checkpoint_path(), step_, contents,
                                                run_state(config_, state), options, &trouble);
  if (!options.increment) base_ = CheckpointBase{step_, saved.checksum};
  saved_step_ = step_;
  damaged_.erase(step_);
  const SaveReport report{step_, saved.path.string(), now_seconds() - begin,
                          static_cast<std::int64_t>(saved.bytes),
                          options.increment ? options.increment->base.step : -1};
  clock_ += report.seconds;
  tell([&](TrainingListener& listener) { listener.saved(report); });
  if (!trouble.empty()) notice(trouble);
}

// --- Evaluation ----------------------------------------------------------------------------------

bool Trainer::was_evaluated(std::int64_t step) const {
  std::error_code error;
  return fs::exists(training_results(config_, step), error);
}

SettledEvaluation Trainer::open_evaluation() const {
  SettledEvaluation settled = settle_evaluation(config_);
  if (!settled.config) return settled;
  const std::vector<std::int64_t> saved = checkpoint_steps(config_.checkpoint_path());
  const bool finished =
      !saved.empty() && saved.back() >= config_.steps && was_evaluated(saved.back());
  if (!finished) {
    check_items(*settled.config, *data_.tokenizer, config_.data, config_.model);
  }
  return settled;
}

// Evaluation reads the checkpoint like anybody would, beside the model in training. Like a save,
// one that fails in the middle of a run does not end it.
void Trainer::evaluate() {
  const double begin = now_seconds();
  const fs::path checkpoint = fs::path(config_.checkpoint_path()) / checkpoint_name(step_);
  try {
    const Evaluation evaluation = evaluate_during_training(*evaluation_.config, checkpoint,
                                                           runtime_.context().device, {}, &ranks());
    // Whatever becomes of the files, the results are seen.
    tell([&](TrainingListener& listener) {
      listener.evaluated(step_, eval_table(evaluation.results));
    });
    do_together(ranks(), [&] {
      if (is_first()) write_training_evaluation(config_, evaluation, step_);
    });
  } catch (const Error& error) {
    if (step_ >= config_.steps || error.kind() != Error::Kind::input) throw;
    notice(fmt::format("not evaluated, training goes on: {}", error.what()));
  }
  clock_ += now_seconds() - begin;
}

}  // namespace memengine
