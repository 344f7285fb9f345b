#include "cli/arguments/arguments.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "io/files/home.h"
#include "kernels/runtime/error.h"

namespace memengine {

CLI::Validator at_least(std::int64_t least) {
  const auto check = [least](const std::string& text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc::result_out_of_range && !text.starts_with('-')) {
      std::uint64_t larger = 0;  // what holds no more is cut to what it holds: as good as all
      const bool fits = std::from_chars(text.data(), end, larger).ec == std::errc() && *end == '\0';
      return fits ? std::string()
                  : format_text("'{}' is more than {}", text,
                                std::numeric_limits<std::uint64_t>::max());
    }
    if (error == std::errc() && end == text.data() + text.size() && number >= least) {
      return std::string();
    }
    return format_text("'{}' must be a whole number of at least {}", text, least);
  };
  return CLI::Validator(check, "");
}

CLI::Validator above_zero() {
  const auto check = [](const std::string& text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number) &&
        number > 0) {
      return std::string();
    }
    return format_text("'{}' must be a number above zero", text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator home_path() {
  return CLI::Validator(
      [](std::string& text) {
        text = expand_home(text);
        return std::string();
      },
      "");
}

std::shared_ptr<ConfigArguments> add_config(CLI::App& command) {
  auto arguments = std::make_shared<ConfigArguments>();
  command.add_option("config", arguments->path, "YAML file (or config=FILE)")->required();
  command.add_option("overrides", arguments->overrides, "a.b.c=value");
  return arguments;
}

ConfigArguments settled(ConfigArguments arguments, const std::string& command) {
  std::vector<std::string> words = std::move(arguments.overrides);
  words.insert(words.begin(), arguments.path);
  ConfigArguments result;
  bool named = false;
  for (std::string& word : words) {
    if (word.starts_with("config=")) {
      if (named) fail_input("{}: two configs are named: {} and {}", command, result.path, word);
      result.path = expand_home(word.substr(7));
      named = true;
    } else {
      result.overrides.push_back(std::move(word));
    }
  }
  if (named) return result;
  result.path = std::move(result.overrides.front());
  result.overrides.erase(result.overrides.begin());
  std::error_code error;
  if (result.path.find('=') != std::string::npos && !std::filesystem::exists(result.path, error)) {
    fail_input("{}: no config is named; write memengine {} CONFIG {}", command, command,
               result.path);
  }
  return result;
}

}  // namespace memengine
