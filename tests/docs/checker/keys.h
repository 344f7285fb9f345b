// Whether a config key that a page names is one, asked of the config reader itself.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "tests/docs/checker/page.h"

namespace memengine::prose {

class Keys {
 public:
  Keys();

  // A whole dotted key, or the last parts of one ("mem_knn", "harness.limit"); a section too.
  bool has(const std::string& key) const;
  // Whether a dotted word begins with a section of the config, so that it must be a key.
  bool begins_like_a_key(const std::string& word) const;
  // "there is no config key 'x'; the nearest is 'y'", or "" where all is well. Braces are expanded,
  // and a section followed by .* is a key.
  std::string complaint(const std::string& key) const;

 private:
  std::set<std::string> whole_, endings_, sections_, first_parts_;
};

// A YAML block: a run's config, an evaluation's, or a study, or part of one. What the config reader
// refuses is returned as one line, else "". Files that it names need not be
// there, but for a study's base, which is one of the tree's configs.
std::string yaml_complaint(const std::string& yaml, const std::filesystem::path& root);

}  // namespace memengine::prose
