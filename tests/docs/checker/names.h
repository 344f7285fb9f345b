// Inline code: every path, symbol, option, command and config key that it names is there.
//
// What a span is taken for, the first that fits:
//   a command       its first word is memengine, make, cmake, ctest, or a command of memengine that
//                   an option follows (`train --gpus N`)
//   an option       it begins with --
//   a key           key=value or `key: value`; a dotted word that begins with a section of the
//                   config (`optim.lr`)
//   a path          it has a '/' and begins with a room of the tree, or it is a file's name. Files
//                   of code must exist somewhere; other files (metrics.jsonl) must exist or be
//                   named in code, because the program reads or writes them
//   symbols         in all else: every identifier with '_' within, '::' or '(' beside it, or
//                   capitals within (RunConfig), must be a word of code outside of comments
// A number of lines beside a path, "`a/b.h` (52 lines" or "`a/b.h`, 52 lines", is that of the file,
// to a fifth. Anything else is not checked. Names of elsewhere stand in
// tests/docs/foreign_names.txt, each with its reason; one that no page uses any more is a fault
// too.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/docs/checker/keys.h"
#include "tests/docs/checker/page.h"
#include "tests/docs/checker/tree.h"

namespace memengine::prose {

class ForeignNames {
 public:
  ForeignNames() = default;
  // Lines `name   reason`; empty lines and those that begin with # are left out.
  explicit ForeignNames(const std::filesystem::path& file);

  bool take(const std::string& name);
  Faults unused() const;

 private:
  struct Name {
    int line = 0;
    bool used = false;
    bool has_reason = false;
  };
  std::string path_;
  std::map<std::string, Name> names_;
};

Faults check_names(const Page& page, const Tree& tree, const Keys& keys, ForeignNames& foreign);

}  // namespace memengine::prose
