// SPDX-License-Identifier: Apache-2.0
// What the files of the Avro part share; not for other rooms.
#ifndef SCHEMA_AVRO_INTERNAL_H
#define SCHEMA_AVRO_INTERNAL_H

#include "schema/avro.h"

const char *avro_kind_name(enum avro_kind k);  // "record"
bool avro_name_ok(struct str s, bool dots);    // letters, digits, _; not starting with a digit; dots: several with . between
const char *avro_short_name(const char *full); // behind the last dot
// Do the names of two named types match for resolution: the short names, or an alias of the reader's?
bool avro_names_match(const struct avro_schema *reader, const struct avro_schema *writer);
// The writer's field that the reader's field takes: by name, or by an alias. -1 = none.
int avro_writer_field(const struct avro_schema *writer, const struct avro_field *reader_field);
// May a value of kind w be read as kind r (same kind or promotion), unions and contents aside?
bool avro_kind_resolves(enum avro_kind w, enum avro_kind r);
// The branch of a reader's union for a value of the (not union) writer's type: the same type first, then a promotion. -1 = none.
int avro_reader_branch(const struct avro_schema *reader, const struct avro_schema *writer);
// The one type beside null of [null, X], [X, null], [X]; NULL for other unions. *null_branch is -1 when there is none.
const struct avro_schema *avro_optional(const struct avro_schema *u, int *null_branch);

#endif
