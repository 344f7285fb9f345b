// `${a.b}` in a config's values, as OmegaConf expands it (the reference's configs rely on that).
//
//   ${data.root_dir}        the value of that key, from the root; a map or a list as a whole where
//                           it stands alone
//   ${.lr}, ${..seed}       the same from the map that the value is in, or from the one above that
//   ${oc.env:USER}          an environment variable, ${oc.env:USER,nobody} with a default
//   runs/${name}-${seed}    within text; ${optim.${which}} nested
//   \${name}                these characters themselves
#pragma once

#include "io/config/yaml_tree.h"

namespace memengine {

// Expands all of the tree's values in place. A key that the tree has not is looked up in `defaults`
// (without interpolations, may be null). Input errors, with the place: no such key or variable, a
// value that refers to itself, a map within text, an unclosed brace, what exceeds `limits`.
void interpolate(YamlNode& root, const YamlNode& defaults, const YamlLimits& limits);

}  // namespace memengine
