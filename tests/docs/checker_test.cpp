// The checker of pages notices what is wrong, says where and what is near, and lets pass what is
// right: on pages written here, against this repository.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/docs/checker/blocks.h"
#include "tests/docs/checker/calls.h"
#include "tests/docs/checker/concepts.h"
#include "tests/docs/checker/links.h"
#include "tests/docs/checker/names.h"
#include "tests/docs/checker/printed.h"
#include "tests/docs/checker/words.h"
#include "tests/io/temporary_folder.h"

namespace memengine::prose {
namespace {

const Tree& tree() {
  static const Tree here(MEMENGINE_SOURCE_DIR);
  return here;
}

std::string told(const Faults& faults) {
  std::string text;
  for (const Fault& fault : faults) text += fault.text() + "\n";
  return text;
}

std::string check(const std::string& text) {
  const Page page = parse_page("docs/page.md", text);
  const Keys keys;
  ForeignNames foreign;
  return told(check_names(page, tree(), keys, foreign)) + told(check_blocks(page, tree(), keys)) +
         told(check_links(page, tree()));
}

TEST(CheckedProse, LetsPassWhatIsThere) {
  EXPECT_EQ(
      check("`kernels/table/deduplicate.h`, `tests/engine/evaluation/harness/<task>/`, "
            "`task_list.cpp`, `metrics.jsonl`, `samples_<task>.jsonl`, [x](glossary.md#runs)\n"
            "`RunConfig`, `linear_forward()`, `Training.GraphsChangeNothing`, `mem_knn`\n"
            "`optim.{lr, warmup}`, `placement: beside`, `cache_gib=8`, `logging.*`\n"
            "`memengine train CONFIG [a.b=value ...]`, `memory use | text MODEL`, `--json`, "
            "`report -o`, `mpirun -n 2 ./memengine eval ...`, `make test`\n"
            "plain words, `</s>`, `n_keys = 3`, `ulimit -v`, `std`\n"),
      "");
  EXPECT_EQ(
      check("```sh\nmemengine synth --people 3 --out x  # makes `nothing`\n"
            "./memengine train configs/demo.yaml steps=10 'data.sources={a: 1}' && ls x\n```\n"
            "```\n$ memengine tokenize bytes \\\n    --text ab\noutput --of it\n```\n"
            "```yaml\nsteps: 3\noptim: {lr: 1e-3}\n```\n"),
      "");
}

TEST(CheckedProse, TellsAPathThatIsNot) {
  EXPECT_EQ(check("one\n`kernels/tables/deduplicate.h`\n"),
            "docs/page.md:2: `kernels/tables/deduplicate.h`: there is no file "
            "'kernels/tables/deduplicate.h'; the nearest is 'kernels/table/deduplicate.h'\n");
  EXPECT_NE(check("`dedupe.cpp`").find("docs/page.md:1: `dedupe.cpp`: there is no file"),
            std::string::npos);
  EXPECT_NE(check("`metric_lines.jsonl`").find("there is no file"), std::string::npos);
  EXPECT_NE(check("`kernels/{norm, nrm}/rms_norm.h`").find("'kernels/nrm/rms_norm.h'"),
            std::string::npos);
  EXPECT_NE(check("```sh\nls configs/demos.yaml\n```").find("docs/page.md:2: there is no file"),
            std::string::npos);
}

TEST(CheckedProse, TellsASymbolThatIsNot) {
  EXPECT_EQ(check("a\n\nthe function `linear_forwards`\n"),
            "docs/page.md:3: `linear_forwards`: no code has 'linear_forwards'; the nearest is "
            "'linear_forward'\n");
  EXPECT_NE(check("`DenseFeedForwrd`").find("'DenseFeedForward'"), std::string::npos);
  EXPECT_NE(check("`gather(quixotic())`").find("no code has 'quixotic'"), std::string::npos);
  EXPECT_NE(check("`std::quixotic`").find("no code has 'quixotic'"), std::string::npos);
}

TEST(CheckedProse, AWordOfACommentIsNoSymbol) {
  EXPECT_EQ(without_comments("int a;  // b_c\n/* d_e */ f(\"// g_h\");\nx = 1'000; char c = '\"';"),
            "int a;  \n f(\"// g_h\");\nx = 1'000; char c = '\"';");
}

TEST(CheckedProse, TellsACommandThatDoesNotParse) {
  EXPECT_EQ(check("`memengine trian CONFIG`\n")
                    .find("there is no command 'trian'; the nearest is "
                          "'train'") == std::string::npos,
            false);
  EXPECT_EQ(check("`memengine synth --peple N`\n"),
            "docs/page.md:1: `memengine synth --peple N`: memengine synth has no option '--peple'; "
            "the nearest is '--people'\n");
  EXPECT_NE(check("`train --gpu 3`").find("memengine train has no option '--gpu'"),
            std::string::npos);
  EXPECT_NE(check("`--tokenizr`").find("the nearest is '--tokenizer'"), std::string::npos);
  EXPECT_NE(check("`memengine memory rows MODEL`").find("memengine memory has no 'rows'"),
            std::string::npos);
  EXPECT_NE(check("`memory use | txt MODEL --json`").find("has no 'txt'"), std::string::npos);
  // A block is typed as it stands: what a command needs must be there.
  EXPECT_NE(check("```sh\nmemengine synth --people many --out x\n```\n")
                .find("page.md:2: memengine says"),
            std::string::npos);
  EXPECT_NE(check("```sh\nmemengine export\n```\n").find("is required"), std::string::npos);
  EXPECT_NE(
      check("```sh\nmake tests\n```").find("the Makefile has no 'tests'; the nearest is 'test'"),
      std::string::npos);
  EXPECT_NE(check("`cmake --preset assan`").find("CMakePresets.json has no 'assan'"),
            std::string::npos);
}

TEST(CheckedProse, TellsAKeyThatIsNot) {
  EXPECT_EQ(check("`optim.lrr`\n"),
            "docs/page.md:1: `optim.lrr`: there is no config key 'optim.lrr'; the nearest is "
            "'optim.lr'\n");
  EXPECT_NE(check("`placment: beside`").find("no config key 'placment'"), std::string::npos);
  EXPECT_NE(check("`mem_kn=3`").find("no config key 'mem_kn'"), std::string::npos);
  EXPECT_NE(check("`distributed.{tp_size, tp_sizes}`").find("'distributed.tp_sizes'"),
            std::string::npos);
  EXPECT_NE(check("`memengine train CONFIG steps=3 otim.lr=1`").find("'otim.lr'"),
            std::string::npos);
  EXPECT_EQ(check("`memengine demo --study configs/studies/demo_gpu.yaml optim.lr=1e-3`\n"), "");
  EXPECT_NE(check("`memengine demo --study configs/studies/demo_gpu.yaml model.dim=-3`\n")
                .find("model.dim"),
            std::string::npos);
  EXPECT_NE(check("```sh\nmemengine train configs/demo.yaml model.dim=-3\n```").find("model.dim"),
            std::string::npos);
  EXPECT_NE(check("```yaml\nsteps: 3\nopti: {lr: 1}\n```").find("no config key 'opti'"),
            std::string::npos);
  EXPECT_NE(
      check("```yaml\nbase: ../demo.yaml\nout: x\nset: {model.dimm: 3}\n```").find("model.dimm"),
      std::string::npos);
}

TEST(CheckedProse, TellsALinkThatLeadsNowhere) {
  EXPECT_EQ(check("[a](glosary.md)\n"),
            "docs/page.md:1: the link 'glosary.md' leads nowhere; the nearest is "
            "'docs/glossary.md'\n");
  EXPECT_EQ(check("[a](glossary.md#the-machines)\n"),
            "docs/page.md:1: docs/glossary.md has no heading '#the-machines'; the nearest is "
            "'the-machine'\n");
  EXPECT_NE(check("![p](pictures/none.svg)").find("leads nowhere"), std::string::npos);
  EXPECT_EQ(heading_anchor("What `x` does, and K's price"), "what-x-does-and-ks-price");
  const std::vector<Page> pages = {parse_page("README.md", "[a](docs/a.md)"),
                                   parse_page("docs/a.md", "[b](b.md)"),
                                   parse_page("docs/b.md", ""), parse_page("docs/lost.md", "")};
  EXPECT_EQ(told(find_unreachable(pages)),
            "docs/lost.md:1: no chain of links from README.md leads here\n");
}

TEST(CheckedProse, TellsQuotedCodeThatHasChanged) {
  EXPECT_EQ(check("<!-- from: cli/command.h -->\n```cpp\nnamespace memengine {\n...\n"
                  "void add_train_command(CLI::App& program);\n```\n"),
            "");
  EXPECT_NE(
      check("<!-- from: cli/command.h -->\n```cpp\n#pragma once\nvoid add_no_command();\n```\n")
          .find("docs/page.md:4: cli/command.h does not have this line"),
      std::string::npos);
  const std::string diff =
      "```diff\n--- a/cli/command.h\n+++ b/cli/command.h\n@@\n #pragma once\n \n-gone\n"
      "+#include <CLI/CLI.hpp>\n```\n";
  EXPECT_EQ(check(diff), "");
  EXPECT_NE(
      check("<!-- to apply -->\n" + diff)
          .find("page.md:8: cli/command.h does not have this line after the one before: gone"),
      std::string::npos);
}

TEST(CheckedProse, TellsADiffThatCannotBeApplied) {
  const auto applied = [](const std::string& hunk) {
    return check("<!-- to apply -->\n```diff\n--- a/cli/command.h\n+++ b/cli/command.h\n@@\n" +
                 hunk + "```\n");
  };
  EXPECT_EQ(applied(" #pragma once\n \n+#include <map>\n #include <CLI/CLI.hpp>\n"), "");
  // An empty line is left out, the place is not said, and it is one of several.
  EXPECT_NE(applied(" #pragma once\n #include <CLI/CLI.hpp>\n")
                .find("page.md:7: cli/command.h does not have this line after the one before"),
            std::string::npos);
  EXPECT_NE(applied("+#include <map>\n").find("page.md:5: a hunk without context"),
            std::string::npos);
  EXPECT_NE(applied("+\n \n").find("page.md:7: the lines of this hunk stand in cli/command.h "),
            std::string::npos);
}

TEST(CheckedProse, TellsANumberOfLinesThatTheFileDoesNotHave) {
  const auto lines = std::to_string(split_lines(read_text(tree().root() / "cli/command.h")).size());
  EXPECT_EQ(check("`cli/command.h` (" + lines + " lines, all of it), `cli/command.h`, " + lines +
                  " lines\n"),
            "");
  EXPECT_EQ(check("`cli/command.h` (900 lines)\n"),
            "docs/page.md:1: `cli/command.h`: it has " + lines + " lines, not 900\n");
}

TEST(CheckedProse, TellsATreeThatIsNotTheFolders) {
  const std::string told_of = told(check_tree_block(
      parse_page("README.md", "```\nkernels/   operations\n  norm/  bags/   x\n```\n"), tree()));
  EXPECT_NE(told_of.find("README.md:3: there is no folder 'bags'"), std::string::npos) << told_of;
  EXPECT_NE(told_of.find("the tree does not have the folder 'kernels/table'"), std::string::npos);
  EXPECT_EQ(told_of.find("'kernels/norm'"), std::string::npos);
}

TEST(CheckedProse, TellsOutputThatIsNotPrinted) {
  const std::string page =
      "<!-- file: text.txt -->\n```\nab\n```\n<!-- run -->\n```console\n$ ./memengine tokenize "
      "bytes "
      "--ids --text ab\n97 98\n$ cat text.txt; echo 'took 3.1 s'\nab\ntook 12 s\n```\n";
  const auto run = [](const std::string& text) {
    return told(
        check_printed(parse_page("docs/page.md", text), MEMENGINE_SOURCE_DIR, MEMENGINE_PROGRAM));
  };
  EXPECT_EQ(run(page), "");
  std::string wrong = page;
  wrong.replace(wrong.find("97 98"), 5, "97 99");
  EXPECT_EQ(run(wrong), "docs/page.md:8: shows '97 99' where the command prints '97 98'\n");
  EXPECT_NE(run("<!-- run -->\n```console\n$ ./memengine tokenize none --text a\n```\n")
                .find("ended with 2, not 0"),
            std::string::npos);
  EXPECT_EQ(
      run("<!-- run: exit 2 -->\n```console\n$ ./memengine tokenize none --text a\n...\n```\n"),
      "");
  using Lines = std::vector<std::string>;
  EXPECT_EQ(first_difference(Lines{"a", "...", "d 1 ms"}, Lines{"a", "b", "c", "d 2.5 ms"}), -1);
  EXPECT_EQ(first_difference(Lines{"a", "...", "d"}, Lines{"a", "b", "d", "e"}), 3);
  EXPECT_EQ(first_difference(Lines{"loss ... end"}, Lines{"loss 3.1 end"}), -1);
  EXPECT_EQ(first_difference(Lines{"loss 3.2"}, Lines{"loss 3.1"}), 0);
}

TEST(CheckedProse, ForeignNamesNeedAReasonAndAUse) {
  TemporaryFolder folder;
  ForeignNames names(
      folder.write("names.txt", "# words\nfoo_bar  a word of Foo\nold_name  gone\nbare\n"));
  EXPECT_TRUE(names.take("foo_bar"));
  EXPECT_FALSE(names.take("other"));
  EXPECT_EQ(told(names.unused()),
            "names.txt:4: no page uses 'bare' any more\nnames.txt:4: 'bare' has no reason\n"
            "names.txt:3: no page uses 'old_name' any more\n");
}

TEST(CheckedProse, AStaleIndexIsTold) {
  TemporaryFolder folder;
  folder.write("docs/concepts.yaml",
               "- concept: twice\n  formula: 2 x\n  header: kernels/twice.h\n  chapter: 3\n"
               "- concept: lost\n  header: kernels/lost.h\n");
  folder.write("docs/course/03_twice.md", "# Twice\n");
  for (const char* file : {"kernels/twice.h", "kernels/twice.cpp", "kernels/twice.cu",
                           "tests/kernels/twice_test.cpp"}) {
    folder.write(file, "");
  }
  Faults faults;
  const std::string page = make_index(Tree(folder.path()), faults);
  EXPECT_NE(page.find("| twice | 2 x | [twice.h](../kernels/twice.h) | [twice.cpp](../kernels/"
                      "twice.cpp) | [twice.cu](../kernels/twice.cu) | [twice_test.cpp](../tests/"
                      "kernels/twice_test.cpp) | [3](course/03_twice.md) |\n"),
            std::string::npos)
      << page;
  EXPECT_NE(told(faults).find("docs/concepts.yaml:5: there is no file 'kernels/lost.h'"),
            std::string::npos)
      << told(faults);
  folder.write("docs/index.md", page);
  EXPECT_EQ(told(check_index(Tree(folder.path()))).find("docs/index.md"), std::string::npos);
  folder.write("docs/index.md", page + "| more |\n");
  EXPECT_NE(told(check_index(Tree(folder.path()))).find("docs/index.md:"), std::string::npos);
}

}  // namespace
}  // namespace memengine::prose
