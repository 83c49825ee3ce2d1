// SPDX-License-Identifier: Apache-2.0
// YAML 1.1 (libyaml) into JSON values, as the core schema of YAML 1.2 types plain scalars: null ~ true false, integers (also 0x 0o),
// reals, else strings; quoted scalars are strings. Keys become strings. Merge keys (<<) are applied. Any thread.
#ifndef CODEC_YAML_H
#define CODEC_YAML_H

#include "codec/json.h"

enum { YAML_TEXT_MAX = 8 << 20, YAML_DEPTH_MAX = 64, YAML_NODES_MAX = 1000000 /* aliases counted as what they stand for */ };

// The first document; an empty text gives null. NULL with ERR_PARSE and "line 3, column 7: ...", or ERR_TOO_LARGE (alias bombs too).
json_t *yaml_parse(struct str text, struct err *err);
// All documents, as an array.
json_t *yaml_parse_all(struct str text, struct err *err);

#endif
