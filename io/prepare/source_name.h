// Names of data sources: folders below the data folder, and keys of data.sources.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace memengine {

// Letters and digits of any script, '.', '_' and '-'; not empty, no '.' in front.
bool can_name_source(std::string_view name);

// A name for the source that an input is: the folder's or the file's, without the endings that tell
// kind and compression; "stdin" for "-". Where the name has other characters, they become '-' and a
// hash of the whole is added, so that different names stay different.
std::string source_name(const std::filesystem::path& input);

}  // namespace memengine
