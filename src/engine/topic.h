// SPDX-License-Identifier: Apache-2.0
// Inside the room: what a topic looks like as a table.
#ifndef ENGINE_TOPIC_H
#define ENGINE_TOPIC_H

#include "engine/internal.h"

// Columns: those of the newest schema of subject TOPIC-value (none registered: `_value` as bytes), then _partition, _offset, _timestamp, _key,
// _headers, and with a schema `_error`. In the arena; NULL: the schema cannot be understood.
const struct cols_schema *topic_columns(struct engine *e, struct str topic, struct arena *a, struct err *err);

#endif
