#include "engine/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

namespace memengine {
namespace {

// Keys that do not make another experiment.
bool is_incidental(const std::string& key) {
  static constexpr const char* keys[] = {"name",      "dump_dir",        "seed",
                                         "data.seed", "checkpoint.path", "eval.metric_log_dir"};
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys) ||
         key.starts_with("logging.");
}

std::string identity(const RunRecord& record) {
  std::string text = without_seed(record.name);
  for (const auto& [key, value] : record.config) {
    if (!is_incidental(key)) text += "\n" + key + "\t" + value;
  }
  return text;
}

struct Reader {
  ComparisonColumn column;
  std::function<double(const RunRecord&)> read;
};

std::vector<Reader> final_figures() {
  using enum FigureForm;
  const auto last = [](const char* key) {
    return [key](const RunRecord& record) { return record.last(key); };
  };
  const auto least = [](const char* key) {
    return [key](const RunRecord& record) {
      const Curve* curve = record.curve(key);
      return curve == nullptr ? nothing : curve->least();
    };
  };
  return {
      {{"steps", "steps", count, 60}, [](const RunRecord& r) { return r.end.step; }},
      {{"val_loss", "validation loss", loss, 99, true}, last("val/loss")},
      {{"best_val_loss", "best validation loss", loss, 50, true}, least("val/loss")},
      {{"loss", "training loss", loss, 95, true}, last("loss/out")},
      {{"seconds", "time", seconds, 90},
       [](const RunRecord& r) { return r.end.seconds > 0 ? r.end.seconds : nothing; }},
      {{"tokens", "tokens", count, 70},
       [](const RunRecord& r) { return r.end.tokens > 0 ? r.end.tokens : nothing; }},
      {{"flops", "training FLOPs", plain, 40},
       [](const RunRecord& r) { return r.end.flops > 0 ? r.end.flops : nothing; }},
      {{"tokens_per_second", "tokens/s", count, 80, false, true},
       [](const RunRecord& r) {
         return r.end.seconds > 0 && r.end.tokens > 0 ? r.end.tokens / r.end.seconds : nothing;
       }},
      {{"attainable_share", "of attainable speed", share, 45, false, true},
       last("speed/attainable_share")},
      {{"unique_rows", "rows per step", count, 55}, last("pkm/unique_rows")},
      {{"ever_used_share", "rows ever used", share, 56}, last("pkm/ever_used_share")},
      {{"usage_kl", "KL to uniform", plain, 57}, last("pkm/usage_kl")},
      {{"cache_hit_share", "found in the cache", share, 53, false, true},
       last("pkm/cache_hit_share")},
      {{"cache_link_bytes", "bytes over the link a step", count, 38}, last("pkm/cache_link_bytes")},
      {{"parameters", "dense parameters", count, 37}, last("model/parameters")},
      {{"table_parameters", "table parameters", count, 36}, last("model/table_parameters")},
      {{"device_bytes", "bytes on the device", count, 34}, last("memory/device_bytes")},
      {{"spikes", "spikes", count, 30},
       [](const RunRecord& r) {
         return r.curve("optim/spikes") == nullptr ? nothing : static_cast<double>(r.spikes);
       }},
      {{"skipped_updates", "skipped updates", count, 35},
       [](const RunRecord& r) {
         return r.curve("optim/skipped_updates") == nullptr ? nothing
                                                            : static_cast<double>(r.skipped);
       }},
  };
}

// Steps, tokens, seconds and FLOPs to the loss that is to be reached.
std::vector<Reader> target_figures(bool by_validation) {
  using enum FigureForm;
  const auto place = [by_validation](double RunPlace::*axis) {
    return [by_validation, axis](const RunRecord& record) {
      const Reached& reached = by_validation ? record.target : record.training_target;
      // Where lines do not say, for instance FLOPs, it stands at zero.
      return reached.reached && reached.place.*axis > 0 ? reached.place.*axis : nothing;
    };
  };
  return {{{"to_steps", "steps to it", count, 97, true}, place(&RunPlace::step)},
          {{"to_tokens", "tokens to it", count, 75, true}, place(&RunPlace::tokens)},
          {{"to_seconds", "time to it", seconds, 98, true}, place(&RunPlace::seconds)},
          {{"to_flops", "FLOPs to it", plain, 65, true}, place(&RunPlace::flops)}};
}

// An evaluation's "task/metric"; its errors over items are not those over seeds.
std::vector<Reader> evaluation_figures(const std::vector<RunRecord>& records) {
  std::map<std::string, bool> keys;
  for (const RunRecord& record : records) {
    for (const auto& [key, value] : record.evaluation) {
      if (!key.ends_with("_stderr")) keys[key] = true;
    }
  }
  std::vector<Reader> readers;
  for (const auto& [key, found] : keys) {
    if (readers.size() >= 60) break;
    const std::string metric = key.substr(key.rfind('/') + 1);
    const bool less = metric == "loss" || metric == "perplexity" || metric == "bits_per_byte";
    readers.push_back(
        {{key, key, FigureForm::loss, 52, less, !less}, [key = key](const RunRecord& record) {
           const auto value = record.evaluation.find(key);
           return value == record.evaluation.end() ? nothing : value->second;
         }});
  }
  return readers;
}

void add_column(Comparison& comparison, const Reader& reader) {
  std::vector<Figure> column;
  bool any = false;
  for (const RunGroup& group : comparison.groups) {
    std::vector<double> values;
    for (const RunRecord* record : group.runs) values.push_back(reader.read(*record));
    column.push_back(figure_of(values));
    any = any || column.back().count > 0;
  }
  if (!any) return;
  comparison.columns.push_back(reader.column);
  for (std::size_t i = 0; i < column.size(); ++i) comparison.figures[i].push_back(column[i]);
}

// Every "..." to it as a multiple of the least among the groups.
void add_ratios(Comparison& comparison) {
  const std::size_t count = comparison.columns.size();
  for (std::size_t c = 0; c < count; ++c) {
    const std::string key = comparison.columns[c].key;
    if (!key.starts_with("to_")) continue;
    double least = nothing;
    for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
      const Figure& figure = comparison.figures[g][c];
      const bool whole = figure.count == comparison.groups[g].runs.size();
      if (whole && !(least <= figure.mean)) least = figure.mean;
    }
    if (!(least > 0)) continue;
    comparison.columns.push_back({key + "_ratio", "ratio of " + key.substr(3), FigureForm::ratio,
                                  comparison.columns[c].importance - 10});
    for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
      Figure ratio = comparison.figures[g][c];
      ratio.mean /= least;
      ratio.error /= least;
      comparison.figures[g].push_back(ratio);
    }
  }
}

void find_differences(Comparison& comparison) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<std::string>> values;
  for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
    for (const auto& [key, value] : comparison.groups[g].runs.front()->config) {
      if (is_incidental(key)) continue;
      auto [found, is_new] =
          values.emplace(key, std::vector<std::string>(comparison.groups.size(), "-"));
      if (is_new) order.push_back(key);
      found->second[g] = value;
    }
  }
  for (const std::string& key : order) {
    std::vector<std::string>& row = values[key];
    if (std::adjacent_find(row.begin(), row.end(), std::not_equal_to<>()) != row.end()) {
      comparison.differences.emplace_back(key, std::move(row));
    }
  }
}

// What tells a group from the others of its title: up to three keys of its config, else its folder.
std::string distinction(const RunGroup& group, const std::set<std::string>& differing) {
  std::string text;
  int keys = 0;
  for (const auto& [key, value] : group.runs.front()->config) {
    if (differing.find(key) == differing.end()) continue;
    if (++keys > 3) break;
    text += (text.empty() ? "" : ", ") + key.substr(key.rfind('.') + 1) + "=" + value;
  }
  return keys == 0 || keys > 3 ? group.runs.front()->folder.string() : text;
}

// The keys whose values are not the same in all groups of a title.
std::set<std::string> differing_keys(const std::vector<const RunGroup*>& groups) {
  std::map<std::string, std::string> first;
  std::set<std::string> differing;
  for (const RunGroup* group : groups) {
    for (const auto& [key, value] : group->runs.front()->config) {
      if (is_incidental(key)) continue;
      if (first.emplace(key, value).first->second != value) differing.insert(key);
    }
  }
  return differing;
}

}  // namespace

std::vector<RunGroup> group_runs(const std::vector<RunRecord>& records) {
  std::vector<RunGroup> groups;
  std::map<std::string, std::size_t> known;
  for (const RunRecord& record : records) {
    const auto [found, is_new] = known.emplace(identity(record), groups.size());
    if (is_new) groups.push_back({without_seed(record.name), {}});
    groups[found->second].runs.push_back(&record);
  }
  std::map<std::string, std::vector<const RunGroup*>> titles;
  for (RunGroup& group : groups) {
    if (group.runs.size() == 1) group.title = group.runs.front()->name;
    titles[group.title].push_back(&group);
  }
  std::map<std::string, std::set<std::string>> differing;
  for (const auto& [title, same] : titles) {
    if (same.size() > 1) differing[title] = differing_keys(same);
  }
  std::set<std::string> taken;
  for (RunGroup& group : groups) {
    const auto keys = differing.find(group.title);
    if (keys == differing.end()) continue;
    const std::string title = group.title;
    group.title = title + " (" + distinction(group, keys->second) + ")";
    if (!taken.insert(group.title).second) {
      group.title = title + " (" + group.runs.front()->folder.string() + ")";
    }
  }
  return groups;
}

Figure figure_of(const std::vector<double>& values) {
  Figure figure;
  double sum = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++figure.count;
  }
  if (figure.count == 0) return figure;
  const auto count = static_cast<double>(figure.count);
  figure.mean = sum / count;
  if (figure.count < 2) return figure;
  double squares = 0;
  for (const double value : values) {
    if (std::isfinite(value)) squares += (value - figure.mean) * (value - figure.mean);
  }
  figure.error = std::sqrt(squares / (count - 1) / count);
  return figure;
}

Comparison compare_runs(const std::vector<RunRecord>& records, double target) {
  Comparison comparison;
  comparison.groups = group_runs(records);
  comparison.figures.resize(comparison.groups.size());
  comparison.target = target;
  comparison.by_validation =
      std::all_of(records.begin(), records.end(), [](const RunRecord& record) {
        const Curve* curve = record.curve("val/loss");
        return curve != nullptr && curve->lines() > curve->not_finite();
      });
  for (const Reader& reader : final_figures()) add_column(comparison, reader);
  for (const Reader& reader : evaluation_figures(records)) add_column(comparison, reader);
  if (target > 0) {
    for (const Reader& reader : target_figures(comparison.by_validation)) {
      add_column(comparison, reader);
    }
    add_ratios(comparison);
  }
  find_differences(comparison);
  return comparison;
}

int best_group(const Comparison& comparison, std::size_t column) {
  const ComparisonColumn& rule = comparison.columns[column];
  if (!rule.less_is_better && !rule.more_is_better) return -1;
  int best = -1;
  bool differs = false;
  double best_value = nothing;
  for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
    const Figure& figure = comparison.figures[g][column];
    if (figure.count < comparison.groups[g].runs.size()) continue;
    // Seconds are sums: what differs in their last bits is equal.
    const double difference = std::abs(figure.mean - best_value);
    if (best >= 0 && difference <= 1e-9 * std::abs(best_value)) continue;
    if (best >= 0) differs = true;
    if (best < 0 || (rule.less_is_better ? figure.mean < best_value : figure.mean > best_value)) {
      best = static_cast<int>(g);
      best_value = figure.mean;
    }
  }
  return differs ? best : -1;
}

}  // namespace memengine
