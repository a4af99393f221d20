// What a field that config.json leaves out means: the default of the model's configuration class in
// transformers.
#pragma once

#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune {

// The fields of "LlamaConfig", say, that change what is computed or cached, with their defaults.
// Beside the class's own names: model_type; rope_theta, rope_local_theta and partial_rotary_factor,
// which the class has in code; rope_parameters where the class scales without being asked; aliases,
// second names of fields. scripts/oracles/class_defaults.py writes the table and compares it with
// the installed classes. REQUIRES: one of the table's classes.
const Json& ClassDefaults(std::string_view config_class);

// The class's fields as `config` has them, else as the class has them. Fields that the class does
// not know are left out: transformers ignores them, and so does kvtune. The rotary fields are
// taken over as they are (lib/core/rope_config.h reads them).
Json WithClassDefaults(const Json& config, std::string_view config_class);

}  // namespace kvtune
