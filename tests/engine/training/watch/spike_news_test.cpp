// Which spikes are told.
#include "engine/training/watch/spike_news.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace memengine {
namespace {

TEST(SpikeNews, AFloodIsAFewLinesAndARealSpikeStandsOut) {
  SpikeNews news(6.0, 100);
  int told = 0;
  std::uint64_t state = 3;
  // A spike of 6 to 10 deviations every four updates or so, as heavy-tailed gradients make them.
  for (std::int64_t step = 101; step < 500; step += 1 + static_cast<std::int64_t>(state >> 61)) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    told += news.judge(step, 6.0 + 4.0 * static_cast<double>(state >> 40) / 16777216.0) ? 1 : 0;
  }
  EXPECT_GE(told, 1);
  EXPECT_LE(told, 2);
  const auto real = news.judge(500, 40.0);
  ASSERT_TRUE(real);
  EXPECT_NE(real->find("smaller spikes from update"), std::string::npos) << *real;
  EXPECT_FALSE(news.judge(501, 55.0)) << "its neighbours are no news";
  EXPECT_TRUE(news.judge(502, 100.0));
}

TEST(SpikeNews, TheFirstIsToldAndQuietLowersTheBar) {
  SpikeNews news(6.0, 100);
  ASSERT_TRUE(news.judge(150, 6.5));
  EXPECT_EQ(*SpikeNews(6.0, 100).judge(150, 6.5), "");
  EXPECT_FALSE(news.judge(400, 8.0));
  const auto later = news.judge(20000, 8.0);
  ASSERT_TRUE(later);
  EXPECT_EQ(*later, "; 1 smaller spike from update 400 on was counted without a word");
}

}  // namespace
}  // namespace memengine
