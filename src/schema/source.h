// SPDX-License-Identifier: Apache-2.0
// Where schemas come from: an interface that the schema registry's store fills in, so that lower rooms can look schemas up.
#ifndef SCHEMA_SOURCE_H
#define SCHEMA_SOURCE_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

struct schema_source {
    void *self;
    // The text of the schema with that registry id, copied into `a`. ERR_NOT_FOUND. Any thread; does not block on the network.
    enum err_code (*get)(void *self, int32_t id, struct arena *a, struct str *text, struct err *err);
    // The newest schema of a subject ("flights-value"): its id and text. ERR_NOT_FOUND.
    enum err_code (*latest)(void *self, struct str subject, struct arena *a, int32_t *id, struct str *text, struct err *err);
};

#endif
