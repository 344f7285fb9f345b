// Objects of a JSON text that is not one object a line: a list of them, or objects written over
// several lines, one after another.
//
// They are found by brackets and quotes alone; whether each is JSON is for its reader to check. So
// a file of any size is read in the memory of its longest object.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/text/text_lines.h"

namespace memengine {

// Whether a text that begins so (LineReader::peek) is JSON, and if so, whether its first line is an
// object by itself.
bool begins_like_json(std::string_view first);
bool begins_with_whole_object(std::string_view first);

class JsonObjects {
 public:
  // An object of more than `most` bytes is not kept.
  JsonObjects(LineReader& lines, std::size_t most) : lines_(lines), most_(most) {}

  // The next object's text, valid until the next call; false at the end. Where problem() is not
  // empty then, no object stands here and it says what does; reading goes on after it.
  bool next(std::string_view& object);

  const std::string& problem() const { return problem_; }
  bool too_long() const { return too_long_; }         // the last object
  std::uint64_t taken() const { return taken_; }      // objects and problems
  std::uint64_t number() const { return begun_at_; }  // the line where the last one began, from 1

 private:
  bool read_line();
  bool report(std::string problem);
  bool read_object();
  bool skip_entry();
  void append(std::string_view part);

  LineReader& lines_;
  std::size_t most_;
  std::string_view line_;  // what is left of the line at hand
  std::string object_, problem_;
  bool in_list_ = false, after_entry_ = false, too_long_ = false;
  std::uint64_t taken_ = 0, begun_at_ = 0;
};

}  // namespace memengine
