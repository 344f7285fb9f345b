// Pages read back by an XML parser: well-formed whatever the text says, and every link has an end.
#include "engine/memory_probe/pages/pages.h"

#include <algorithm>
#include <set>

#include "tests/engine/memory_probe/probe_testing.h"
#include "tests/engine/report/xml_testing.h"

namespace memengine {
namespace {

RowUse use_of(ProbeModel& model) {
  std::mt19937 random(3);
  bool given = false;
  const ScoreRows rows = random_documents(random, {64, 64});
  return count_row_use(model, [&](ScoreRows& pass) {
    pass = rows;
    return !std::exchange(given, true);
  });
}

TEST(Pages, ATextIsShownAsItIsAndItsLinksLead) {
  const TemporaryFolder folder;
  for (const char* memory : {"mem_share_values: true", "mem_share_values: false"}) {
    write_probe_model(folder / "a <b> & 'c'", probe_config(memory));
    ProbeModel model(probe_options(folder / "a <b> & 'c'", Device::cpu, 128));
    const RowUse use = use_of(model);
    const std::string text = "<script>alert(\"&amp;\")</script>\n\x01\xff ]]>";
    const TextProbe probe = probe_text(model, text, &use);
    const XmlDocument page(text_page(model, probe, &use, "<corpus>", 3));
    std::string shown;
    for (const std::string& word : page.texts("//h:div[@class='text']/h:a")) shown += word;
    EXPECT_NE(shown.find("<script>alert(\"&amp;\")</script>"), std::string::npos) << shown;
    EXPECT_EQ(page.count("//h:div[@class='text']/h:a"), static_cast<int>(probe.tokens.size()));
    EXPECT_EQ(page.count("//h:script"), 1);
    std::set<std::string> ends;
    for (const std::string& id : page.texts("//@id")) EXPECT_TRUE(ends.insert("#" + id).second);
    const std::vector<std::string> links = page.texts("//@href");
    EXPECT_GT(links.size(), probe.tokens.size());
    for (const std::string& link : links) EXPECT_TRUE(ends.contains(link)) << link;
    // The strongest row of the first token's first head, and that this token reads it.
    const std::string row = "r0-" + std::to_string(probe.tokens[0].picks[0][0].row);
    EXPECT_EQ(page.count("//h:div[@id='" + row + "']//h:a[@href='#t0']"), 1);
  }
}

TEST(Pages, AGridHasThePicksOfItsCells) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config());
  ProbeModel model(probe_options(folder / "model", Device::cpu, 128));
  const RowUse use = use_of(model);
  const XmlDocument page(use_page(model, use, "corpus", 4));
  EXPECT_EQ(page.count("//s:svg"), 2 * (1 + 2));  // layers, and their heads
  EXPECT_EQ(page.count("//h:section[@id='figures']//h:tbody/h:tr"), 2 * (1 + 2));
  // Two cells of one strength in a row are one piece; an empty one is none.
  const XmlDocument grid(svg_log_grid({5, 5, 0, 0, 0, 0, 0, 0, 99}, 3));
  EXPECT_EQ(grid.texts("//@d"), (std::vector<std::string>{"M0 0h2v1h-2z", "M2 2h1v1h-1z"}));
}

TEST(Pages, AStudyHasThreeBarsAnArm) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config());
  ProbeModel model(probe_options(folder / "model"));
  FactStudy study;
  study.arms.resize(6);
  study.arms[0].name = "answer";
  study.arms[0].own = {10, 5, 0.5, 0.1, -1.0};
  const XmlDocument page(facts_page(model, study, {}));
  EXPECT_EQ(page.count("//s:svg//s:rect"), 18);
  EXPECT_EQ(page.text("//s:svg//s:title"), "answer, this fact's questions: 5 of 10 lost");
}

}  // namespace
}  // namespace memengine
