// The three kinds of YAML files that commands take: told apart by their keys, so that one given to
// the wrong command is named as what it is.
#pragma once

#include <string>

#include "io/config/yaml_tree.h"

namespace memengine {

enum class FileKind { unknown, run, evaluation, study };

FileKind kind_of(const YamlNode& tree);

// Input error, with the command that takes it, where the tree is of a known kind and not of the
// one that was asked for.
void refuse_other_kind(const YamlNode& tree, const std::string& path, FileKind asked);

// The same of a file, for one that could not be read as what was asked for. Nothing where it cannot
// be read at all.
void refuse_other_kind(const std::string& path, FileKind asked);

}  // namespace memengine
