// The config reader: types, overrides, dumps that read back, and one clear line for every mistake.
#include "io/config/config_reader.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cstdlib>
#include <random>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

template <typename Function>
std::string error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

ConfigReader reader_of(std::string_view yaml, std::vector<std::string> overrides = {}) {
  return ConfigReader::from_text(yaml, "t.yaml", overrides);
}

enum class Color { red, green };
constexpr ConfigReader::Name<Color> color_names[] = {{"red", Color::red}, {"green", Color::green}};

struct Item {
  std::string task;
  std::optional<std::int64_t> shots;
  bool operator==(const Item&) const = default;
};

struct Sample {
  bool flag = false;
  std::int64_t count = 1;
  double rate = 0.5;
  std::string text = "default";
  std::vector<std::string> words{"a"};
  std::map<std::string, double> weights;
  std::optional<double> maybe;
  Color color = Color::red;
  std::vector<Item> items;
  bool operator==(const Sample&) const = default;
};

void bind(ConfigReader& reader, Sample& sample) {
  reader.bind("flag", sample.flag);
  reader.bind("a.count", sample.count);
  reader.bind("a.b.rate", sample.rate);
  reader.bind("a.b.text", sample.text);
  reader.bind("words", sample.words);
  reader.bind("weights", sample.weights);
  reader.bind("maybe", sample.maybe);
  reader.bind_enum("color", sample.color, std::span<const ConfigReader::Name<Color>>(color_names));
  reader.bind_list("items", sample.items, "task", [&](const std::string& path, Item& item) {
    reader.bind(path + ".task", item.task);
    reader.bind(path + ".shots", item.shots);
  });
}

Sample read(std::string_view yaml, std::vector<std::string> overrides = {}) {
  ConfigReader reader = reader_of(yaml, overrides);
  Sample sample;
  bind(reader, sample);
  reader.finish();
  return sample;
}

std::string read_error(std::string_view yaml, std::vector<std::string> overrides = {}) {
  return error_of([&] { read(yaml, overrides); });
}

TEST(ConfigReader, ReadsEveryType) {
  const Sample s = read(
      "flag: true\na:\n  count: 1_000\n  b: {rate: 3e-4, text: '12'}\nwords: [x, 'y z']\n"
      "weights: {novels: 1, web.v2: 0.5}\nmaybe: 1e-4\ncolor: green\n"
      "items: [one, {task: two, shots: 5}]\n");
  EXPECT_TRUE(s.flag);
  EXPECT_EQ(s.count, 1000);
  EXPECT_DOUBLE_EQ(s.rate, 3e-4);
  EXPECT_EQ(s.text, "12");
  EXPECT_EQ(s.words, (std::vector<std::string>{"x", "y z"}));
  EXPECT_EQ(s.weights.at("web.v2"), 0.5);
  EXPECT_EQ(s.maybe, 1e-4);
  EXPECT_EQ(s.color, Color::green);
  EXPECT_EQ(s.items, (std::vector<Item>{{"one", {}}, {"two", 5}}));
}

TEST(ConfigReader, AbsentKeysKeepDefaults) {
  EXPECT_EQ(read(""), Sample());
  EXPECT_EQ(read("# nothing\n"), Sample());
  EXPECT_EQ(read("a:\n"), Sample());  // an empty section
}

TEST(ConfigReader, NumbersAsPeopleWriteThem) {
  EXPECT_EQ(read("a: {count: 128e3}").count, 128000);
  EXPECT_EQ(read("a: {count: -7}").count, -7);
  EXPECT_EQ(read("a: {count: '9'}").count, 9);
  EXPECT_EQ(read("a: {b: {rate: '3e-4'}}").rate, 3e-4);
  EXPECT_EQ(read("a: {b: {rate: 1}}").rate, 1.0);
  EXPECT_EQ(read("a: {b: {rate: +.5}}").rate, 0.5);
  EXPECT_EQ(read("a: {b: {text: 4}}").text, "4");
  EXPECT_EQ(read("maybe: null").maybe, std::nullopt);
}

TEST(ConfigReader, OverridesReplaceAndAdd) {
  const Sample s =
      read("a: {count: 3}\nweights: {old: 2}", {"a.count=4", "a.b.text=x=y", "weights={new: 1}",
                                                "weights.more=2", "words=[p,q]", "a.count=5"});
  EXPECT_EQ(s.count, 5);
  EXPECT_EQ(s.text, "x=y");
  EXPECT_EQ(s.weights, (std::map<std::string, double>{{"new", 1}, {"more", 2}}));
  EXPECT_EQ(s.words, (std::vector<std::string>{"p", "q"}));
}

TEST(ConfigReader, ErrorsSayPlaceKeyAndExpectation) {
  EXPECT_EQ(read_error("\na:\n  count: many\n"),
            "t.yaml:3: a.count must be a whole number, not 'many'");
  EXPECT_EQ(read_error("a: {count: 1.5}"), "t.yaml:1: a.count must be a whole number, not '1.5'");
  EXPECT_EQ(read_error("flag: 1"), "t.yaml:1: flag must be true or false, not '1'");
  EXPECT_EQ(read_error("flag: 'true'"), "t.yaml:1: flag must be true or false, not 'true'");
  EXPECT_EQ(read_error("color: blue"), "t.yaml:1: color must be one of red, green, not 'blue'");
  EXPECT_EQ(read_error("words: x"), "t.yaml:1: words must be a list, not 'x'");
  EXPECT_EQ(read_error("a: {b: {rate: .nan}}"),
            "t.yaml:1: a.b.rate must be a finite number, not '.nan'");
  EXPECT_EQ(read_error("weights: {x: y}"), "t.yaml:1: weights.x must be a finite number, not 'y'");
  EXPECT_EQ(read_error("", {"a.count=x"}),
            "override a.count=x: a.count must be a whole number, not 'x'");
  EXPECT_EQ(read_error("a: 5"), "t.yaml:1: expected a map of keys such as 'count', not '5'");
  EXPECT_EQ(read_error("- a\n- b\n"),
            "t.yaml:1: a config is a map of `key: value` lines, not a list");
  EXPECT_EQ(read_error("a: {count: 99999999999999999999}"),
            "t.yaml:1: a.count must be a whole number, not '99999999999999999999'");
}

TEST(ConfigReader, UnknownKeysNameTheNearest) {
  EXPECT_EQ(read_error("flag: true\na:\n  cuont: 3\n"),
            "t.yaml:3: unknown key 'a.cuont'; did you mean 'a.count'?");
  EXPECT_EQ(read_error("rate: 3"), "t.yaml:1: unknown key 'rate'; did you mean 'a.b.rate'?");
  EXPECT_EQ(read_error("", {"colour=red"}),
            "override colour=red: unknown key 'colour'; did you mean 'color'?");
  EXPECT_EQ(read_error("items: [{task: x, shot: 1}]"),
            "t.yaml:1: unknown key 'items[0].shot'; did you mean 'items[0].shots'?");
  EXPECT_EQ(
      read_error("items: [{flag: x}]"),
      "t.yaml:1: unknown key 'items[0].flag', and none is like it; 'items[0]' has shots, task");
  EXPECT_NE(read_error("other: {}").find("unknown key 'other'"), std::string::npos);
  EXPECT_NE(read_error("other:\n").find("unknown key 'other'"), std::string::npos);
}

TEST(ConfigReader, BrokenYaml) {
  EXPECT_NE(read_error("a: 1\nb: [1, 2\nc: 3\n").find("t.yaml:"), std::string::npos);
  EXPECT_NE(read_error("a: [").find("not valid YAML"), std::string::npos);
  EXPECT_EQ(read_error("flag: true\nflag: false\n"),
            "t.yaml:2: key 'flag' is given twice (first at t.yaml:1); remove one");
  EXPECT_NE(read_error("--- 1\n--- 2\n").find("several YAML documents"), std::string::npos);
  EXPECT_NE(read_error("? [a]\n: 1\n").find("a key must be plain text"), std::string::npos);
  EXPECT_NE(read_error(std::string("a: \0", 4)).find("zero byte"), std::string::npos);
  EXPECT_NE(error_of([] { ConfigReader::from_file("/nonexistent/x.yaml"); }).find("cannot open"),
            std::string::npos);
  EXPECT_NE(error_of([] { ConfigReader::from_file("/tmp"); }).find("config"), std::string::npos);
  EXPECT_NE(read_error("", {"novalue"}).find("write key=value"), std::string::npos);
  EXPECT_NE(read_error("\"x\\ny\": 1\n").find("unknown key 'x\\ny'"), std::string::npos);
  EXPECT_NE(read_error("", {"x\ny=\n]"}).find("override"), std::string::npos);
  EXPECT_NE(read_error("", {"a..b=1"}).find("empty part"), std::string::npos);
  EXPECT_NE(read_error("flag: true", {"flag.x=1"}).find("not a map"), std::string::npos);
}

TEST(ConfigReader, HostileSizesAreRefused) {
  EXPECT_NE(read_error("a: " + std::string(40, '[') + std::string(40, ']')).find("nested deeper"),
            std::string::npos);
  EXPECT_NE(read_error(std::string(100'000, '[')), "no error");
  EXPECT_NE(read_error(std::string(2'000'000, '#')).find("too large"), std::string::npos);
  std::string many = "words: [";
  for (int i = 0; i < 30'000; ++i) many += "a,";
  EXPECT_NE(read_error(many + "a]").find("more than"), std::string::npos);
}

TEST(ConfigReader, RandomBytesNeverCrash) {
  std::mt19937 random(7);
  const std::string alphabet = "abc:{}[],'\"\n  -?&*!|>%@`#\t\\.0123456789~\xc3\xa9\x80";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::size_t i = random() % 99; i > 0; --i) text += alphabet[random() % alphabet.size()];
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
}

TEST(ConfigReader, DumpReadsBackEqual) {
  Sample sample;
  sample.flag = true;
  sample.count = -19;
  sample.rate = 0.1 + 0.2;
  for (const char* text : {"", "null", "true", "1e5", "a: b", "x\ny\t\"q\"\\", "- z", "#c",
                           "caf\xc3\xa9", " lead", "plain/path.bin", "\x01"}) {
    sample.text = text;
    sample.words = {text, "k"};
    sample.weights = {{text, 1e-9}};
    sample.maybe = 3e-4;
    sample.items = {{text, {}}, {"b", 3}};
    sample.color = Color::green;
    ConfigReader recorder;
    Sample copy = sample;
    bind(recorder, copy);
    EXPECT_EQ(read(recorder.dump()), sample) << recorder.dump();
  }
}

TEST(ConfigReader, IgnoredAndRequiredKeys) {
  const auto read_with = [](std::string_view yaml) {
    ConfigReader reader = reader_of(yaml);
    reader.ignore("env", "it steers Python");
    const std::string_view one[] = {"1"};
    reader.require("tp_size", one, "set it to 1");
    reader.finish();
    return reader.notices();
  };
  EXPECT_EQ(read_with("env: {A: {B: 1}}\ntp_size: 1\n"),
            (std::vector<std::string>{"t.yaml:1: env has no effect here: it steers Python"}));
  EXPECT_TRUE(read_with("env: null").empty());
  EXPECT_EQ(error_of([&] { read_with("tp_size: 2"); }),
            "t.yaml:1: tp_size=2 cannot be done by this build: set it to 1");
}

TEST(ConfigReader, UnknownKeysThatAreLikeNone) {
  EXPECT_EQ(read_error("a:\n  zzzzzz: 1\n"),
            "t.yaml:2: unknown key 'a.zzzzzz', and none is like it; 'a' has b, count");
  EXPECT_EQ(read_error("gpus_of_mine: 1\n"),
            "t.yaml:1: unknown key 'gpus_of_mine', and none is like it; a config has a, color, "
            "flag, items, maybe, weights, words");
}

TEST(ConfigReader, UnderscoresInNumbers) {
  EXPECT_EQ(read("a: {b: {rate: 100_000}}").rate, 100000);
  EXPECT_EQ(read("a: {b: {rate: 1_0.2_5e0_1}}").rate, 102.5);
  EXPECT_EQ(read("a: {count: 1_000_000}").count, 1000000);
  for (const char* bad : {"_1", "1_", "1__0", "1_.5", "1._5", "1_e5", "_"}) {
    EXPECT_NE(read_error(std::string("a: {count: ") + bad + "}"), "no error") << bad;
    EXPECT_NE(read_error(std::string("a: {b: {rate: ") + bad + "}}"), "no error") << bad;
  }
}

TEST(ConfigReader, AnchorsAndMergeKeys) {
  const Sample aliased = read("words: &w [x, y]\nweights: {a: &n 3}\na: {b: {rate: *n}}\n");
  EXPECT_EQ(aliased.words, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(aliased.rate, 3);
  // Its own keys win over merged ones, wherever they stand, and an earlier map over a later one.
  const Sample merged = read(
      "items:\n- &base {task: one, shots: 5}\n- {<<: *base, task: two}\n- task: three\n  <<: "
      "*base\n- <<: [{task: four}, *base]\n");
  EXPECT_EQ(merged.items, (std::vector<Item>{{"one", 5}, {"two", 5}, {"three", 5}, {"four", 5}}));
  EXPECT_EQ(read("weights: {'<<': 2}").weights.at("<<"), 2);  // quoted it is a name like others
  EXPECT_NE(read_error("a: &x {b: *x}\n").find("inside the value"), std::string::npos);
  EXPECT_NE(read_error("a: *x\n").find("t.yaml:1"), std::string::npos);
  EXPECT_NE(read_error("a: {<<: 3}\n").find("'<<' takes a map"), std::string::npos);
  EXPECT_NE(read_error("a: {<<: [1]}\n").find("'<<' takes a map"), std::string::npos);
  EXPECT_NE(read_error("a: &x b\n? *x\n: 1\n").find("not an alias"), std::string::npos);
}

TEST(ConfigReader, AliasesCountTowardsTheLimits) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  std::string deep = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "*a" + std::to_string(i - 1), name = "a" + std::to_string(i);
    bomb += name + ": &" + name + " [" + before;
    for (int j = 0; j < 9; ++j) bomb += ", " + before;
    bomb += "]\n";
    deep += name + ": &" + name + " [" + before + "]\n";
  }
  EXPECT_NE(read_error(bomb).find("more than 20000 values"), std::string::npos);
  EXPECT_NE(read_error(deep).find("nested deeper"), std::string::npos);
}

TEST(ConfigReader, TabsInTheIndentation) {
  for (const char* yaml :
       {"a:\n\tcount: 3\n", "a:\n  count: 3\n  \tb: {}\n", "# a comment\na:\n \tcount: 3\n"}) {
    EXPECT_NE(read_error(yaml).find(": a tab in the indentation; YAML wants spaces"),
              std::string::npos)
        << read_error(yaml);
  }
  EXPECT_EQ(read("a:\t{count:\t3}\t# tabs elsewhere\n").count, 3);
}

TEST(ConfigReader, Interpolation) {
  const auto text = [](const std::string& value, const std::vector<std::string>& overrides = {}) {
    return read("a: {count: 7, b: {text: \"" + value + "\"}}\ncolor: green\n", overrides).text;
  };
  EXPECT_EQ(text("runs/${color}-${a.count}/x"), "runs/green-7/x");
  EXPECT_EQ(text("${color}"), "green");
  EXPECT_EQ(text("${ a.count }"), "7");
  EXPECT_EQ(text("${..count}"), "7");
  EXPECT_EQ(text("x${...color}"), "xgreen");
  EXPECT_EQ(text("${color}", {"color=red"}), "red");
  EXPECT_EQ(text("", {"a.b.text=${color}!"}), "green!");
  EXPECT_EQ(text("\\\\${color}"), "${color}");
  EXPECT_EQ(read("words: [red]\ncolor: ${oc.env:MEMENGINE_NO_SUCH,red}\n").color, Color::red);
  ::setenv("MEMENGINE_TEST_WORD", "color", 1);
  EXPECT_EQ(text("${oc.env:MEMENGINE_TEST_WORD}"), "color");
  EXPECT_EQ(text("${${oc.env:MEMENGINE_TEST_WORD}}"), "green");
  EXPECT_EQ(text("${oc.env:MEMENGINE_NO_SUCH,'a, b'}"), "a, b");
  // Whole values keep their kind: numbers, null, lists.
  const Sample whole = read(
      "a: {count: 7, b: {rate: \"${a.count}\"}}\nmaybe: \"${oc.env:MEMENGINE_NO_SUCH,null}\"\n"
      "items: [{task: one}]\nwords: \"${weights}\"\nweights: ${oc.env:MEMENGINE_NO_SUCH,null}\n");
  EXPECT_EQ(whole.rate, 7);
  EXPECT_FALSE(whole.maybe);
  EXPECT_TRUE(whole.words.empty());
}

TEST(ConfigReader, InterpolationOfWhatIsNotThere) {
  const auto fails = [](const std::string& yaml, const std::string& part) {
    const std::string error = read_error(yaml);
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_TRUE(error.starts_with("t.yaml:")) << error;
  };
  fails("color: ${colour}\n", "${colour}: the config has no such key");
  fails("color: ${color}\n", "refers to itself");
  fails("words: [\"${a.b.text}\"]\na: {b: {text: \"${words}\"}}\n", "refers to itself");
  fails("a: ${..x}\n", "names no key");
  fails("color: ${}\n", "names no key");
  fails("color: ${a\n", "no closing brace");
  fails("words: [a]\ncolor: x${words}\n", "cannot stand within text");
  fails("color: ${oc.env:MEMENGINE_NO_SUCH}\n", "no variable 'MEMENGINE_NO_SUCH'");
  fails("color: ${now:%Y}\n", "${now:...} is not known");
  std::string doubled = "x0: xxxxxxxxxxxxxxxx\n";
  for (int i = 1; i < 30; ++i) {
    doubled += fmt::format("x{}: ${{x{}}}${{x{}}}\n", i, i - 1, i - 1);
  }
  fails(doubled, "more than 4096 characters");
  std::string chained;
  for (int i = 0; i < 5000; ++i) chained += fmt::format("x{}: a${{x{}}}\n", i, i + 1);
  fails(chained + "x5000: 1\n", "deeper than a config needs");
}

TEST(ConfigReader, InterpolationFindsDefaultsAndDumpsReadBack) {
  ConfigReader reader = ConfigReader::from_text("text: runs/${rate}-\\${x}\n", "t.yaml", {},
                                                "rate: 0.5\nnothing: null\n");
  std::string bound;
  reader.bind("text", bound);
  EXPECT_EQ(bound, "runs/0.5-${x}");
  ConfigReader again = ConfigReader::from_text(reader.dump(), "again");
  std::string read_back;
  again.bind("text", read_back);
  EXPECT_EQ(read_back, bound) << reader.dump();
}

TEST(ConfigReader, HomeInPaths) {
  const auto path = [](const std::string& value) {
    ConfigReader reader = reader_of("path: " + value + "\n");
    std::string bound;
    reader.bind_path("path", bound);
    return bound;
  };
  const char* home = std::getenv("HOME");
  const std::string before = home == nullptr ? "" : home;
  ::setenv("HOME", "/home/me", 1);
  EXPECT_EQ(path("~/runs/x"), "/home/me/runs/x");
  EXPECT_EQ(path("\"~\""), "/home/me");
  EXPECT_EQ(path("./~/x"), "./~/x");
  EXPECT_EQ(path("a~b"), "a~b");
  EXPECT_EQ(path("~root/x").find('~'), std::string::npos);
  EXPECT_NE(error_of([&] { path("~no_such_user_here/x"); }).find("no user 'no_such_user_here'"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { path("[1]"); }), "t.yaml:1: path must be text, not a list");
  if (home != nullptr) ::setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace memengine
