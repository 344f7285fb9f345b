// One function a command; keys say their units.
#include "engine/memory_probe/probe_json.h"

#include <cmath>

namespace memengine {
namespace {

Json figures_json(const UseFigures& figures) {
  Json json;
  json["picks"] = figures.picks;
  json["distinct_rows"] = figures.distinct;
  json["entropy_nats"] = figures.entropy;
  json["kl_to_uniform_nats"] = figures.kl_to_uniform;
  json["dead_first_sub_keys"] = figures.dead_first;
  json["dead_second_sub_keys"] = figures.dead_second;
  json["picks_of_top_thousandth"] = figures.top_thousandth;
  json["top_rows"] = Json::array();
  for (const auto& [row, count] : figures.top) {
    json["top_rows"].push_back({{"row", row}, {"picks", count}});
  }
  return json;
}

Json token_json(const ProbeModel& model, std::int32_t token) {
  return {{"id", token}, {"text", token_text(model.tokenizer(), token)}};
}

Json counts_json(const ProbeModel& model,
                 const std::vector<std::pair<std::int32_t, std::int64_t>>& counts) {
  Json json = Json::array();
  for (const auto& [token, count] : counts) {
    json.push_back(token_json(model, token));
    json.back()["count"] = count;
  }
  return json;
}

Json group_json(const FactGroup& group) {
  return {{"asked", group.asked},
          {"lost", group.lost},
          {"share_lost", group.share_lost},
          {"share_lost_stderr", group.share_error},
          {"log_probability_change_nats", group.log_probability}};
}

Json recall_json(const EvalTaskResult& recall) {
  Json json;
  for (const EvalMetric& metric : recall.metrics) {
    const double recalled = metric.value * static_cast<double>(metric.count);
    json[metric.name] = {{"recalled", std::llround(recalled)}, {"asked", metric.count}};
  }
  return json;
}

}  // namespace

std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json use_json(const ProbeModel& model, const RowUse& use, const std::string& corpus,
              std::size_t top) {
  Json json;
  json["model"] = model.source().folder.string();
  json["corpus"] = corpus;
  json["tokens"] = use.tokens();
  json["rows"] = use.rows();
  json["n_keys"] = use.n_keys();
  json["knn"] = model.config().productkey_args.mem_knn;
  json["shared_table"] = model.shares_table();
  json["layers"] = Json::array();
  for (std::size_t m = 0; m < use.memories(); ++m) {
    Json layer = figures_json(use_figures(use.layer_counts(m), use.n_keys(), top));
    layer["layer"] = model.layers()[m];
    layer["table"] = model.table_name(m);
    layer["heads"] = Json::array();
    for (std::size_t head = 0; head < use.heads(); ++head) {
      layer["heads"].push_back(figures_json(use_figures(use.counts(m, head), use.n_keys(), top)));
    }
    json["layers"].push_back(layer);
  }
  json["overlaps"] = Json::array();
  for (const UseOverlap& overlap : use.overlaps()) {
    const auto name = [&](std::size_t list) {
      return Json{{"layer", model.layers()[list / use.heads()]}, {"head", list % use.heads()}};
    };
    json["overlaps"].push_back({{"a", name(overlap.a)},
                                {"b", name(overlap.b)},
                                {"rows_jaccard", overlap.rows},
                                {"picks_in_common", overlap.picks}});
  }
  return json;
}

Json text_json(const ProbeModel& model, const TextProbe& probe, const std::string& corpus) {
  const auto heads = static_cast<std::size_t>(model.heads());
  Json json;
  json["model"] = model.source().folder.string();
  if (!corpus.empty()) json["rarity_corpus"] = corpus;
  json["tokens"] = Json::array();
  for (const TextToken& token : probe.tokens) {
    Json one = {{"id", token.token}, {"text", token.piece}, {"loss_nats", token.loss}};
    if (token.rarity) one["rarity_bits"] = *token.rarity;
    one["layers"] = Json::array();
    for (std::size_t m = 0; m < model.layers().size(); ++m) {
      Json layer = {{"layer", model.layers()[m]}, {"heads", Json::array()}};
      if (token.rarity) layer["rarity_bits"] = token.rarity_by_layer[m];
      for (std::size_t head = 0; head < heads; ++head) {
        Json rows = Json::array(), weights = Json::array();
        for (const PickedRow& pick : token.picks[m * heads + head]) {
          rows.push_back(pick.row);
          weights.push_back(pick.weight);
        }
        layer["heads"].push_back({{"rows", rows}, {"weights", weights}});
      }
      one["layers"].push_back(layer);
    }
    json["tokens"].push_back(one);
  }
  return json;
}

Json row_json(const ProbeModel& model, const RowReport& row, const std::string& corpus,
              std::int64_t tokens) {
  const auto heads = static_cast<std::size_t>(model.heads());
  const std::int64_t n_keys = model.config().productkey_args.mem_n_keys;
  Json json;
  json["table"] = row.table;
  json["row"] = row.readers.row;
  json["sub_keys"] = {row.readers.row / n_keys, row.readers.row % n_keys};
  json["last_updated_at_step"] = row.last_update ? Json(*row.last_update) : Json();
  json["corpus"] = corpus;
  json["tokens"] = tokens;
  json["reads"] = row.readers.all_reads();
  json["readers"] = Json::array();
  for (std::size_t list = 0; list < row.readers.reads.size(); ++list) {
    if (row.readers.reads[list] == 0) continue;
    json["readers"].push_back({{"layer", model.layers()[list / heads]},
                               {"head", list % heads},
                               {"reads", row.readers.reads[list]},
                               {"weight", row.readers.weight[list]}});
  }
  json["read_at_tokens"] = counts_json(model, row.readers.tokens);
  json["next_tokens"] = counts_json(model, row.readers.next);
  json["contexts"] = Json::array();
  for (const RowRead& read : row.readers.strongest) {
    json["contexts"].push_back({{"weight", read.weight},
                                {"layer", model.layers()[read.memory]},
                                {"head", read.head},
                                {"place", read.place},
                                {"before", tokens_text(model.tokenizer(), read.before)},
                                {"token", token_text(model.tokenizer(), read.token)},
                                {"next", token_text(model.tokenizer(), read.next)}});
  }
  json["value_readout_approximation"] = Json::array();
  for (const RowReport::Says& says : row.says) {
    Json one = {{"layer", model.layers()[says.memory]},
                {"gate", says.gated ? "mean of its readers" : "1"},
                {"tokens", Json::array()}};
    for (const auto& [token, logit] : says.tokens) {
      one["tokens"].push_back(token_json(model, token));
      one["tokens"].back()["logit_above_mean"] = logit;
    }
    json["value_readout_approximation"].push_back(one);
  }
  return json;
}

Json ablation_json(const Ablation& ablation) {
  Json json;
  json["corpus"] = ablation.corpus;
  json["tokens"] = ablation.tokens;
  json["windows"] = ablation.windows;
  json["results"] = Json::array();
  for (const AblationResult& result : ablation.results) {
    Json one;
    one["silenced"] = result.silenced.empty() ? Json() : Json(result.silenced);
    if (result.layer >= 0) one["layer"] = result.layer;
    if (result.head >= 0) one["head"] = result.head;
    one["loss_nats"] = result.loss;
    one["loss_change"] = result.change;
    one["loss_change_stderr"] = result.change_error;
    if (result.recall) one["recall"] = recall_json(*result.recall);
    for (const EvalTaskResult& task : result.tasks) {
      for (const EvalMetric& metric : task.metrics) {
        one["tasks"][task.task.name][metric.name] = metric.value;
        if (metric.standard_error) {
          one["tasks"][task.task.name][metric.name + "_stderr"] = *metric.standard_error;
        }
      }
    }
    json["results"].push_back(one);
  }
  return json;
}

Json change_json(const ProbeModel* model, const std::vector<TableChange>& tables,
                 const std::vector<std::vector<RowReport>>& rows) {
  Json json;
  json["tables"] = Json::array();
  for (std::size_t t = 0; t < tables.size(); ++t) {
    const TableChange& table = tables[t];
    Json one = {{"table", table.table},
                {"layer", table.layer},
                {"rows", table.rows},
                {"changed_rows", table.changed},
                {"mean_change", table.mean_change},
                {"root_mean_square_change", table.root_mean_square},
                {"log10_change_histogram_from", -6},
                {"bins_per_decade", 4},
                {"histogram", table.histogram},
                {"most_changed", Json::array()}};
    for (std::size_t i = 0; i < table.top.size(); ++i) {
      const RowChange& change = table.top[i];
      Json row = {{"row", change.row},
                  {"change", change.change},
                  {"norm_a", change.before},
                  {"norm_b", change.after},
                  {"cosine", change.cosine}};
      if (model != nullptr && t < rows.size() && i < rows[t].size()) {
        const Json found = row_json(*model, rows[t][i], "", 0);
        for (const char* key : {"last_updated_at_step", "reads", "readers", "contexts",
                                "value_readout_approximation"}) {
          row[key] = found[key];
        }
      }
      one["most_changed"].push_back(row);
    }
    json["tables"].push_back(one);
  }
  return json;
}

Json facts_json(const FactStudy& study, const FactsOptions& options) {
  Json json = {{"people", options.people},
               {"passages", options.passages},
               {"seed", options.seed},
               {"share_of_paraphrases", options.share},
               {"common_share_of_other_questions", options.common},
               {"questions", study.questions},
               {"answered_by_the_whole_model", study.answered},
               {"facts_studied", study.facts},
               {"answers_changed_by_silencing_nothing", study.answers_changed},
               {"arms", Json::array()}};
  for (const FactArm& arm : study.arms) {
    json["arms"].push_back({{"silenced", arm.name},
                            {"rows", arm.rows},
                            {"share_of_reads", arm.share_of_reads},
                            {"own_questions", group_json(arm.own)},
                            {"other_facts_of_the_person", group_json(arm.person)},
                            {"other_people", group_json(arm.others)}});
  }
  return json;
}

}  // namespace memengine
