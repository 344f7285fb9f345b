// Pages are read back with libxml2, as XML: what a browser shows is what was put in.
#include "engine/report/page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/report/html.h"
#include "engine/report/svg.h"
#include "tests/engine/report/xml_testing.h"

namespace memengine {
namespace {

TEST(Page, TextComesBackAsItWas) {
  const std::string hostile =
      "</title><script>alert(1)</script> \"x\" 'y' & &amp; <!-- ]]> \xE6\x97\xA5 \xF0\x9F\x98\x80";
  HtmlPage page;
  page.title = hostile;
  page.lead = hostile;
  page.body = html_section("a", hostile, html_element("p", {{"title", hostile}}, "x"));
  const XmlDocument document(html_page(page));
  EXPECT_EQ(document.text("//h:title"), hostile);
  EXPECT_EQ(document.text("//h:h1"), hostile);
  EXPECT_EQ(document.text("//h:section/h:h2"), hostile);
  EXPECT_EQ(document.text("//h:p/@title"), hostile);
  EXPECT_EQ(document.count("//h:script"), 0);
}

TEST(Page, WhatXmlDoesNotKnowIsReplaced) {
  static constexpr char bad[] = "a\0b\x1b[31m\xff\xed\xa0\x80\xef\xbf\xbf\xe2\x80\xaez\n\t";
  const XmlDocument document("<p xmlns=\"http://www.w3.org/1999/xhtml\">" +
                             html_text(std::string_view(bad, sizeof(bad) - 1)) + "</p>");
  const std::string text = document.text("//h:p");
  EXPECT_TRUE(
      text.starts_with("a\xEF\xBF\xBD"
                       "b\xEF\xBF\xBD[31m\xEF\xBF\xBD"))
      << text;
  EXPECT_TRUE(text.ends_with("z\n\t")) << text;
  EXPECT_EQ(text.find("\xe2\x80\xae"), std::string::npos);
}

TEST(Page, AsksNobodyForAnything) {
  HtmlPage page;
  page.title = "t";
  const XmlDocument document(html_page(page));
  EXPECT_EQ(document.count("//@src | //@href | //h:link | //h:img | //h:iframe"), 0);
  EXPECT_NE(document.text("//h:meta[@http-equiv]/@content").find("default-src 'none'"),
            std::string::npos);
}

TEST(Chart, ALineHasItsPointsAndGapsWhereNumbersAreNot) {
  Chart chart;
  chart.x_title = "<steps>";
  ChartSeries series;
  series.name = "a & b";
  series.points = {{0, 1}, {1, 2}, {2, std::nan("")}, {3, 3}, {4, INFINITY}, {5, 1}};
  chart.series = {series};
  const XmlDocument document(svg_chart(chart));
  EXPECT_EQ(document.text("//s:title"), "a & b");
  const std::string path = document.text("//s:path[@class='curve']/@d");
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 3) << path;
  EXPECT_EQ(std::count(path.begin(), path.end(), 'L'), 1) << path;
  EXPECT_EQ(path.find("nan"), std::string::npos);
  EXPECT_NE(document.text("/s:svg").find("<steps>"), std::string::npos);
}

TEST(Chart, OfNothingSaysSo) {
  Chart chart;
  EXPECT_NE(svg_chart(chart).find("no finite values"), std::string::npos);
  ChartSeries series;
  series.points = {{0, std::nan("")}};
  chart.series = {series};
  EXPECT_NE(svg_chart(chart).find("no finite values"), std::string::npos);
  chart.log_y = true;
  chart.series[0].points = {{0, -1}, {1, 0}};
  EXPECT_NE(svg_chart(chart).find("no finite values"), std::string::npos);
}

TEST(Chart, ABandIsClosedAroundItsLine) {
  Chart chart;
  ChartSeries series;
  series.points = {{0, 1}, {1, 1}};
  series.low = {0.5, 0.5};
  series.high = {1.5, 1.5};
  chart.series = {series};
  const std::string path = XmlDocument(svg_chart(chart)).text("//s:path[@class='band']/@d");
  EXPECT_EQ(std::count(path.begin(), path.end(), 'L'), 3) << path;
  EXPECT_TRUE(path.ends_with("Z"));
}

TEST(Chart, TicksAreRoundNumbersWithinTheAxis) {
  EXPECT_EQ(axis_ticks(0, 1000, 5), (std::vector<double>{0, 200, 400, 600, 800, 1000}));
  for (const auto& [low, high] : {std::pair(0.13, 0.17), {-3.0, 7.0}, {1e-9, 3e-9}, {5e8, 9e12}}) {
    const std::vector<double> ticks = axis_ticks(low, high, 5);
    ASSERT_GE(ticks.size(), 2u);
    EXPECT_LE(ticks.size(), 12u);
    for (const double tick : ticks) {
      EXPECT_GE(tick, low - (high - low) * 1e-6);
      EXPECT_LE(tick, high + (high - low) * 1e-6);
    }
  }
}

TEST(HeatMap, HasACellForWhatIsNotEmpty) {
  const std::string svg = svg_heat_map(
      2, 3, [](std::size_t row, std::size_t column) { return row == 0 ? 0.0 : 0.5 * column; },
      [](std::size_t, std::size_t column) { return "<" + std::to_string(column); });
  const XmlDocument document(svg);
  EXPECT_EQ(document.count("//s:rect"), 2);
  EXPECT_EQ(document.text("//s:rect[1]/s:title"), "<1");
}

}  // namespace
}  // namespace memengine
