// memengine course [CHAPTER] [--answer ANSWER]: the examples and exercises of docs/course.
#include "engine/course/chapter.h"

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

struct CourseArguments {
  int chapter = 0;  // 0: none was given
  std::string answer;
  bool has_answer = false;
};

void run_course(const CourseArguments& arguments) {
  if (arguments.chapter == 0) {
    if (arguments.has_answer)
      fail_input("--answer: to which chapter? (memengine course 3 --answer ...)");
    for (const course::Chapter& chapter : course::chapters()) {
      print("{:>2}  {:<58}docs/course/{}.md\n", chapter.number, chapter.title, chapter.page);
    }
    print("\nmemengine course 1 shows the first chapter's example and its exercise.\n");
    return;
  }
  const course::Chapter& chapter = course::find_chapter(arguments.chapter);
  if (!arguments.has_answer) {
    print("{}. {}\n\n{}\n\nExercise\n{}\n", chapter.number, chapter.title, Lines{chapter.example()},
          Lines{chapter.question()});
    return;
  }
  const course::Verdict verdict = chapter.check(arguments.answer);
  if (!verdict.right) fail_input("not yet: {}", verdict.words);
  print("Right. {}\n", verdict.words);
}

}  // namespace

void add_course_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "course", "Examples and exercises of the course on memory layers (docs/course)");
  command->footer(
      "  memengine course                           the chapters\n"
      "  memengine course 3                         the example of chapter 3 and its exercise\n"
      "  memengine course 3 --answer '1 0 2'        is this right?");
  auto arguments = std::make_shared<CourseArguments>();
  command->add_option("chapter", arguments->chapter, "Number of a chapter")->check(at_least(1));
  CLI::Option* answer = command->add_option(
      "--answer", arguments->answer, "An answer to the chapter's exercise; exit code 2: not yet");
  command->callback([=] {
    arguments->has_answer = answer->count() > 0;
    run_course(*arguments);
  });
}

}  // namespace memengine
