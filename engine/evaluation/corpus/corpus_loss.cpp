// A window is one request: its first token is the context, the others are the continuation. Where
// documents do not see each other each part of it is a request of its own.
#include "engine/evaluation/corpus/corpus_loss.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string_view>

#include "engine/evaluation/sha256.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t windows_at_once = 1024;

struct WindowLoss {
  double nats = 0;
  double tokens = 0;
};

void add_requests(const TokenWindow& window, std::vector<LoglikelihoodRequest>& requests) {
  const std::size_t read = window.tokens.size() - 1;
  for (std::size_t d = 0; d < window.starts.size(); ++d) {
    const std::size_t first = window.starts[d];
    const std::size_t last = d + 1 < window.starts.size() ? window.starts[d + 1] : read;
    const auto token = [&](std::size_t i) {
      return window.tokens.begin() + static_cast<std::ptrdiff_t>(i);
    };
    requests.push_back({{*token(first)}, {token(first + 1), token(last + 1)}});
  }
}

// What tells a window from another, whatever file it came from.
Document window_document(std::size_t index, const TokenWindow& window) {
  const std::string_view bytes(reinterpret_cast<const char*>(window.tokens.data()),
                               window.tokens.size() * sizeof(std::int32_t));
  Document document;
  document.record = nlohmann::ordered_json{
      {"window", index},
      {"targets", window.tokens.size() - 1},
      {"sha256",
       sha256(bytes)}}.dump();
  return document;
}

std::optional<double> error_of(const std::vector<WindowLoss>& losses, double loss, double tokens) {
  if (losses.size() < 2) return std::nullopt;
  double squares = 0;
  for (const WindowLoss& window : losses) {
    const double beyond = window.nats - loss * window.tokens;
    squares += beyond * beyond;
  }
  const auto count = static_cast<double>(losses.size());
  return std::sqrt(squares * count / (count - 1)) / tokens;
}

}  // namespace

void measure_loss(LanguageModel& model, TokenWindows& windows, std::size_t most,
                  EvalTaskResult& result, const EvalProgress& progress) {
  std::vector<WindowLoss> losses;
  std::vector<LoglikelihoodRequest> requests;
  std::vector<std::size_t> parts;  // requests of each window
  TokenWindow window;
  bool more = true;
  while (more) {
    requests.clear();
    parts.clear();
    const std::size_t before = losses.size();
    while (parts.size() < windows_at_once && before + parts.size() < most &&
           (more = windows.next(window))) {
      const std::size_t first = requests.size();
      add_requests(window, requests);
      parts.push_back(requests.size() - first);
      result.task.documents.push_back(window_document(before + parts.size() - 1, window));
    }
    if (parts.empty()) break;
    more = more && before + parts.size() < most;
    const auto answers = model.loglikelihoods(requests, [&](std::size_t done, std::size_t all) {
      if (progress) progress(before + done * parts.size() / std::max<std::size_t>(all, 1), most);
    });
    if (answers.size() != requests.size()) {
      fail_internal("the model answered {} of {} requests", answers.size(), requests.size());
    }
    std::size_t at = 0;
    for (const std::size_t count : parts) {
      WindowLoss& loss = losses.emplace_back();
      for (std::size_t i = 0; i < count; ++i, ++at) {
        loss.nats -= answers[at].sum;
        loss.tokens += static_cast<double>(requests[at].continuation.size());
      }
      EvalSample& sample = result.samples.emplace_back();
      sample.document = losses.size() - 1;
      sample.contexts = {""};
      sample.scores = {loss.nats / loss.tokens};
    }
  }
  if (losses.empty()) fail_internal("a loss over no windows");
  double nats = 0, tokens = 0;
  for (const WindowLoss& each : losses) nats += each.nats, tokens += each.tokens;
  const double loss = nats / tokens;
  const std::optional<double> error = error_of(losses, loss, tokens);
  const auto add = [&](const char* name, double scale, double value) {
    EvalMetric& metric = result.metrics.emplace_back();
    metric.name = name;
    metric.value = value;
    if (error) metric.standard_error = *error * scale;
    metric.higher_is_better = false;
    metric.count = losses.size();
  };
  add("loss", 1, loss);
  add("perplexity", std::exp(loss), std::exp(loss));
  const auto bytes = static_cast<double>(windows.text_bytes());
  if (bytes > 0 && static_cast<std::int64_t>(losses.size()) == windows.count()) {
    const double scale = tokens / bytes / std::numbers::ln2;
    add("bits_per_byte", scale, loss * scale);
  }
}

}  // namespace memengine
