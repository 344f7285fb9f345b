// Names of sources from names of files in any script; no two of them meet.
#include "io/prepare/source_name.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

TEST(SourceName, IsTheInputsNameWithoutItsEndings) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "my.texts.txt");
  EXPECT_EQ(source_name("texts/novels.jsonl.zst"), "novels");
  EXPECT_EQ(source_name("v1.5-news.JSON.GZ"), "v1.5-news");
  EXPECT_EQ(source_name("новости.txt"), "новости");
  EXPECT_EQ(source_name("日本語.json"), "日本語");
  EXPECT_EQ(source_name(folder / "my.texts.txt/"), "my.texts.txt");
  EXPECT_EQ(source_name("-"), "stdin");
}

TEST(SourceName, DifferentNamesStayDifferentAndUsable) {
  std::set<std::string> names;
  const std::vector<std::string> inputs = {"a b.txt",     "a-b.txt",   "a=b.txt",   "a:b.txt",
                                           "a,b.txt",     "{a}.txt",   "(a).txt",   ".hidden.txt",
                                           "-hidden.txt", "a\xFF.txt", "a\xFE.txt", "a\u202Eb.txt",
                                           "два слова",   "два_слова", "три слова"};
  for (const std::string& input : inputs) {
    const std::string name = source_name(input);
    EXPECT_TRUE(can_name_source(name)) << input << " -> " << name;
    names.insert(name);
  }
  EXPECT_EQ(names.size(), inputs.size());
  EXPECT_EQ(source_name("a b.txt").substr(0, 4), "a-b-");
}

TEST(SourceName, WhatCannotNameASource) {
  for (const char* name : {"", ".", "..", ".a", "a/b", "a b", "a\n", "\xFF", "a:b", "\u200Bx"}) {
    EXPECT_FALSE(can_name_source(name)) << name;
  }
}

}  // namespace
}  // namespace memengine
