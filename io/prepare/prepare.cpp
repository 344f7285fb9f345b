// The order of work for each source, and what makes a finished folder.
#include "io/prepare/prepare.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/new_folders.h"
#include "io/files/output_folder.h"
#include "io/json/json_text.h"
#include "io/prepare/prepare_record.h"
#include "io/prepare/prepare_shards.h"
#include "io/prepare/prepare_tokenize.h"
#include "io/prepare/source_name.h"
#include "io/shards/shard.h"
#include "io/shards/shard_writer.h"
#include "io/text/one_line.h"
#include "io/text/text_files.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void check(const PrepareOptions& options) {
  if (!options.tokenizer) fail_internal("prepare needs a tokenizer");
  const Tokenizer& tokenizer = *options.tokenizer;
  if (options.sources.empty()) fail_input("prepare: no source is named");
  if (options.add_bos && tokenizer.bos_id() < 0) {
    fail_input("the {} tokenizer has no BOS token; set add_bos to false", tokenizer.name());
  }
  if (options.add_eos && tokenizer.eos_id() < 0) {
    fail_input("the {} tokenizer has no EOS token; set add_eos to false", tokenizer.name());
  }
  if (!(options.validation_fraction >= 0 && options.validation_fraction < 1)) {
    fail_input("the validation fraction is {}; it must be at least 0 and below 1",
               options.validation_fraction);
  }
  if (options.max_shard_tokens < 2 || options.max_shard_tokens > 2'000'000'000) {
    fail_input("the shard size is {} tokens; it must lie between 2 and 2,000,000,000",
               options.max_shard_tokens);
  }
  std::set<std::string> names;
  for (const auto& source : options.sources) {
    if (!can_name_source(source.name)) {
      fail_input("'{}' cannot name a source: use letters, digits, '.', '_' and '-'",
                 one_line(source.name));
    }
    if (!names.insert(source.name).second) fail_input("source '{}' appears twice", source.name);
    if (options.validation_fraction > 0 && !source.validation_inputs.empty()) {
      fail_input("source '{}' has both a validation fraction and validation inputs", source.name);
    }
  }
}

// Everything that the output depends on; readable, and hashed to compare.
nlohmann::ordered_json describe(const PrepareOptions& options, const PrepareSource& source) {
  const auto files = [&](const std::vector<fs::path>& inputs) {
    auto list = nlohmann::ordered_json::array();
    if (inputs.empty()) return list;
    const TextSource texts(inputs, options.text);
    for (const fs::path& path : texts.files()) {
      if (is_standard_input(path)) {  // two streams are not known to be the same
        list.push_back(
            {{"path", "-"}, {"read", std::chrono::system_clock::now().time_since_epoch().count()}});
        continue;
      }
      list.push_back({{"path", json_text<nlohmann::ordered_json>(
                                   fs::absolute(path).lexically_normal().string())},
                      {"bytes", fs::file_size(path)},
                      {"modified", fs::last_write_time(path).time_since_epoch().count()}});
    }
    return list;
  };
  auto fields = nlohmann::ordered_json::array();
  for (const std::string& field : options.text.fields) {
    fields.push_back(json_text<nlohmann::ordered_json>(field));
  }
  return {{"format", 2},
          {"tokenizer", options.tokenizer->name()},
          {"tokenizer_hash", options.tokenizer->hash()},
          {"vocab_size", options.tokenizer->vocab_size()},
          {"seed", options.seed},
          {"validation_fraction", options.validation_fraction},
          {"add_bos", options.add_bos},
          {"add_eos", options.add_eos},
          {"max_shard_tokens", options.max_shard_tokens},
          {"fields", fields},
          {"paragraphs", options.text.paragraphs},
          {"max_document_bytes", options.text.max_document_bytes},
          {"inputs", files(source.inputs)},
          {"validation_inputs", files(source.validation_inputs)}};
}

// Why a source has nothing to train on.
std::string why_empty(const PrepareOptions& options, const std::vector<fs::path>& inputs,
                      const TokenizePass& pass) {
  if (pass.bad_lines > 0) {
    return fmt::format("each of its {} lines was skipped as bad{}", pass.bad_lines,
                       pass.problems.empty() ? "" : ", the first: " + pass.problems.front());
  }
  if (pass.ordinal > 0) return "its texts have no tokens";
  const TextSource texts(inputs, options.text);
  const bool has_bytes = std::any_of(
      texts.files().begin(), texts.files().end(),
      [](const fs::path& path) { return !is_standard_input(path) && fs::file_size(path) > 0; });
  return has_bytes ? "its files hold no texts" : "its input is empty";
}

// The work on one source whose folder is locked; false when stopped.
bool prepare_locked(const PrepareOptions& options, const PrepareSource& source,
                    const fs::path& folder, const fs::path& work,
                    const nlohmann::ordered_json& description, const std::string& fingerprint,
                    PreparedSource& done) {
  const fs::path marker = folder / "prepare.json";
  std::error_code error;
  // Shards of an unfinished run of ours were still being moved in; anything else is the user's.
  const bool ours = is_there(work / ("moving-" + fingerprint));
  if (!ours) check_only_ours(folder);
  if (fs::exists(marker, error) && !read_prepare_record(marker)) {
    fail_input("{}: was not made by prepare: move it away, or choose another output folder",
               marker.string());
  }
  if (!shards_in(folder).empty() && !ours && !options.overwrite) {
    fail_input(
        "{} already holds shards made with other settings or inputs: choose another output "
        "folder, or ask to overwrite",
        folder.string());
  }

  const auto train_pass =
      tokenize_inputs(options, source.name, "tokenize", work / "train", source.inputs, fingerprint);
  TokenizePass val_pass;
  const bool explicit_val = !source.validation_inputs.empty();
  if (explicit_val && train_pass.complete) {
    val_pass = tokenize_inputs(options, source.name, "validation", work / "val",
                               source.validation_inputs, fingerprint);
  }
  done.notices = train_pass.notices;
  done.notices.insert(done.notices.end(), val_pass.notices.begin(), val_pass.notices.end());
  done.problems = train_pass.problems;
  done.problems.insert(done.problems.end(), val_pass.problems.begin(), val_pass.problems.end());
  if (!train_pass.complete || (explicit_val && !val_pass.complete)) return false;
  if (train_pass.documents == 0 || (explicit_val && val_pass.documents == 0)) {
    fs::remove_all(work, error);
    const bool train_empty = train_pass.documents == 0;
    fail_input("source '{}' has no {}documents: {}", source.name, train_empty ? "" : "validation ",
               train_empty ? why_empty(options, source.inputs, train_pass)
                           : why_empty(options, source.validation_inputs, val_pass));
  }

  const fs::path finished = work / "shards";
  fs::remove_all(finished);
  fs::create_directories(finished);
  const auto written = write_shards(options, source.name, work, train_pass,
                                    explicit_val ? &val_pass : nullptr, finished);
  if (!written) return false;
  write_file_atomically(FileSystem::real(), work / ("moving-" + fingerprint), "");
  fs::remove(marker);
  for (const auto& old : shards_in(folder)) {
    fs::remove(shard_sidecar_path(old));
    fs::remove(old);
  }
  for (const auto& entry : fs::directory_iterator(finished)) {
    fs::rename(entry.path(), folder / entry.path().filename());
  }
  done.name = source.name;
  done.train_documents = written->train.documents;
  done.train_tokens = written->train.tokens;
  done.train_shards = written->train.shards;
  done.val_documents = written->val.documents;
  done.val_tokens = written->val.tokens;
  done.val_shards = written->val.shards;
  done.text_bytes = train_pass.text_bytes + val_pass.text_bytes;
  done.bad_lines = train_pass.bad_lines + val_pass.bad_lines;
  const nlohmann::ordered_json record = {
      {"fingerprint", fingerprint},          {"train_documents", done.train_documents},
      {"train_tokens", done.train_tokens},   {"train_shards", done.train_shards},
      {"val_documents", done.val_documents}, {"val_tokens", done.val_tokens},
      {"val_shards", done.val_shards},       {"text_bytes", done.text_bytes},
      {"bad_lines", done.bad_lines},         {"settings", description}};
  write_file_atomically(FileSystem::real(), marker, record.dump(2) + "\n");
  fs::remove_all(work, error);
  return true;
}

// Work worth going on with; the journals say so.
bool has_journal(const fs::path& work) {
  return is_there(work / "train/journal.json") || is_there(work / "val/journal.json");
}

// One source from start to end; false when stopped.
bool prepare_source(const PrepareOptions& options, const PrepareSource& source,
                    PreparedSource& done) {
  const fs::path folder = options.out_dir / source.name, work = folder / ".prepare";
  const auto description = describe(options, source);
  const std::string fingerprint = tokenizer_file_hash(description.dump());
  const fs::path marker = folder / "prepare.json";
  std::error_code error;
  // Of versions without a mark: the record of a finished source, or the work on one.
  const auto is_older = [&] {
    return read_prepare_record(marker).has_value() || has_journal(work);
  };
  const NewFolders made(folder);  // goes last
  const OutputFolder locked(folder, "source of prepared data", is_older);
  const auto record = read_prepare_record(marker);
  if (record && record->at("fingerprint") == fingerprint) {
    done = read_done(*record, source.name, marker);
    fs::remove_all(work, error);
    return true;
  }
  fs::create_directories(work, error);
  if (error) fail_input("cannot make {}: {}", work.string(), error.message());
  try {
    const bool whole =
        prepare_locked(options, source, folder, work, description, fingerprint, done);
    if (!whole && reads_standard_input(source)) fs::remove_all(work, error);
    return whole;
  } catch (const Error& failure) {
    // Work that a journal names is kept, and the user is told; nothing else is left behind.
    if (has_journal(work) && !reads_standard_input(source)) {
      throw Error(failure.kind(),
                  fmt::format("{} (what was done before is kept in {}: once this is mended, the "
                              "same command goes on, or starts over if the inputs changed)",
                              failure.what(), work.string()));
    }
    fs::remove_all(work, error);
    throw;
  } catch (...) {  // out of memory or threads
    if (!has_journal(work)) fs::remove_all(work, error);
    throw;
  }
}

}  // namespace

bool reads_standard_input(const PrepareSource& source) {
  const auto among = [](const std::vector<fs::path>& inputs) {
    return std::any_of(inputs.begin(), inputs.end(), is_standard_input);
  };
  return among(source.inputs) || among(source.validation_inputs);
}

PrepareResult prepare(const PrepareOptions& options) {
  check(options);
  PrepareResult result;
  for (const PrepareSource& source : options.sources) {
    PreparedSource done;
    if (!prepare_source(options, source, done)) {
      result.stopped = true;
      return result;
    }
    result.sources.push_back(std::move(done));
  }
  return result;
}

}  // namespace memengine
