// The variables of a study: what its file says, what the user says, and names that were misspelt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/study/study_text.h"
#include "io/config/yaml_tree.h"

namespace memengine {

// Of the file's `variables`, with the user's values in place of the file's; takes these out of
// `overrides`. Input errors: no map; the name `out`, which is the study's folder.
StudyVariables settle_variables(const YamlNode* node, std::vector<std::string>& overrides);

// Input error where a variable of the file, or of its small form, is used nowhere in it: it was
// misspelt there, or where it is used. `tree` is the file as it was read.
void check_variables_are_used(const YamlNode& tree);

// Input error where an override that is left is of neither a config's key nor a variable, and is
// more like a variable than like any key, or like nothing.
void check_override_names(const std::vector<std::string>& overrides,
                          const StudyVariables& variables);

// "; did you mean 'people'?", or with nothing alike "; there are out, people".
std::string variable_meant(std::string_view name, const std::vector<std::string>& known);

}  // namespace memengine
