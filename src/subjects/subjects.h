// SPDX-License-Identifier: Apache-2.0
// The schema registry's store: subjects, versions, global ids, compatibility levels and modes, as Confluent's registry has them.
//
// What is true is the topic `_schemas` (one partition; keys and values are Confluent's JSON records, so that a dump of theirs can be put into ours
// and back); the state in memory follows it, also when somebody else writes to the topic. A change is durable when the function returns.
// All functions may be called from any thread that may block (workers, HTTP threads), never from a loop. Results are copies in the
// caller's arena. Functions return SUBJECTS_OK or the registry's own error code, with the registry's message in `err`.
#ifndef SUBJECTS_SUBJECTS_H
#define SUBJECTS_SUBJECTS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "schema/source.h"

struct topics;
struct subjects;

enum {
    SUBJECTS_NAME_MAX = 1024,
    SUBJECTS_TEXT_MAX = 1 << 20, // one schema
    SUBJECTS_REFS_MAX = 100,     // references of one schema, with those of its references
    SUBJECTS_LATEST = -1,
    SUBJECTS_ALL = 0,
};

// The registry's error codes: the HTTP status is the first three digits.
enum subjects_code {
    SUBJECTS_OK = 0,
    SUBJECTS_INCOMPATIBLE = 409,
    SUBJECTS_NO_SUBJECT = 40401,
    SUBJECTS_NO_VERSION = 40402,
    SUBJECTS_NO_SCHEMA = 40403,
    SUBJECTS_SUBJECT_SOFT_DELETED = 40404,
    SUBJECTS_SUBJECT_NOT_SOFT_DELETED = 40405,
    SUBJECTS_VERSION_SOFT_DELETED = 40406,
    SUBJECTS_VERSION_NOT_SOFT_DELETED = 40407,
    SUBJECTS_NO_LEVEL = 40408,
    SUBJECTS_NO_MODE = 40409,
    SUBJECTS_BAD_SCHEMA = 42201,
    SUBJECTS_BAD_VERSION = 42202,
    SUBJECTS_BAD_LEVEL = 42203,
    SUBJECTS_BAD_MODE = 42204,
    SUBJECTS_NOT_PERMITTED = 42205,
    SUBJECTS_REFERENCED = 42206,
    SUBJECTS_ID_TAKEN = 42207,
    SUBJECTS_BAD_SUBJECT = 42208,
    SUBJECTS_TOO_LARGE = 42209,
    SUBJECTS_STORE = 50001,
    SUBJECTS_NOT_SUPPORTED = 501,
};

enum subjects_level {
    SUBJECTS_NONE, SUBJECTS_BACKWARD, SUBJECTS_BACKWARD_TRANSITIVE, SUBJECTS_FORWARD, SUBJECTS_FORWARD_TRANSITIVE, SUBJECTS_FULL,
    SUBJECTS_FULL_TRANSITIVE, SUBJECTS_LEVEL_COUNT,
};
enum subjects_mode { SUBJECTS_READWRITE, SUBJECTS_READONLY, SUBJECTS_READONLY_OVERRIDE, SUBJECTS_IMPORT, SUBJECTS_MODE_COUNT };
const char *subjects_level_name(int level); // "BACKWARD"; NULL = no such level
int subjects_level_of(struct str name);     // any case; -1 = none of these
const char *subjects_mode_name(int mode);
int subjects_mode_of(struct str name);

struct subjects_ref {
    const char *name, *subject;
    int32_t version;
};

struct subjects_schema {
    const char *subject;
    int32_t version, id;
    bool deleted;     // softly
    const char *type; // "AVRO"
    struct str text;  // compact JSON
    const struct subjects_ref *refs;
    size_t n_refs;
    struct str metadata, rule_set; // JSON as given; n = 0: none. Kept and given back, not interpreted
};

// A schema to register, look up or check. type NULL or "" = AVRO; others are SUBJECTS_NOT_SUPPORTED (JSON, PROTOBUF) or SUBJECTS_BAD_SCHEMA.
struct subjects_new {
    struct str text;
    const char *type;
    const struct subjects_ref *refs;
    size_t n_refs;
    struct str metadata, rule_set;
    int32_t id, version; // IMPORT mode: as asked; else 0
};

// Reads the topic if there is one; it is made by the first write. NULL: ERR_CORRUPT, ERR_IO.
struct subjects *subjects_open(struct topics *t, struct err *err);
void subjects_close(struct subjects *s); // no call may be in flight
const struct schema_source *subjects_source(struct subjects *s); // lives as long as s. Schemas with references come whole

// ---- schemas --------------------------------------------------------------------------------------------------------------
int subjects_register(struct subjects *s, const char *subject, const struct subjects_new *in, struct arena *a, struct subjects_schema *out,
                      struct err *err);
int subjects_lookup(struct subjects *s, const char *subject, const struct subjects_new *in, bool deleted, struct arena *a,
                    struct subjects_schema *out, struct err *err);
size_t subjects_list(struct subjects *s, const char *prefix, bool deleted, bool deleted_only, struct arena *a, const char ***names); // sorted
int subjects_versions(struct subjects *s, const char *subject, bool deleted, bool deleted_only, struct arena *a, int32_t **versions, size_t *n,
                      struct err *err);
int subjects_get(struct subjects *s, const char *subject, int32_t version, bool deleted, struct arena *a, struct subjects_schema *out,
                 struct err *err);
int subjects_get_id(struct subjects *s, int32_t id, struct arena *a, struct subjects_schema *out,
                    struct err *err); // subject, version: the first user's
int32_t subjects_max_id(struct subjects *s);
// Every (subject, version) that has the id; n = 0: none.
size_t subjects_uses(struct subjects *s, int32_t id, bool deleted, struct arena *a, struct subjects_schema **out);
// Every version of every subject, by subject and version.
size_t subjects_all(struct subjects *s, const char *prefix, bool deleted, bool latest_only, struct arena *a, struct subjects_schema **out);
// Ids of live schemas that refer to (subject, version).
int subjects_referenced_by(struct subjects *s, const char *subject, int32_t version, struct arena *a, int32_t **ids, size_t *n, struct err *err);
// version SUBJECTS_ALL: the whole subject. permanent: only what was softly deleted before. Gives the versions deleted.
int subjects_delete(struct subjects *s, const char *subject, int32_t version, bool permanent, struct arena *a, int32_t **versions, size_t *n,
                    struct err *err);
// Against one version, or SUBJECTS_ALL: those that the subject's level says. Unknown subject: compatible. Messages as in Confluent's.
int subjects_check(struct subjects *s, const char *subject, int32_t version, const struct subjects_new *in, struct arena *a, bool *compatible,
                   const char ***messages, size_t *n_messages, struct err *err);

// ---- levels and modes -------------------------------------------------------------------------------------------------------
// subject NULL = the global one. get with `or_global` false and nothing set: SUBJECTS_NO_LEVEL, SUBJECTS_NO_MODE.
int subjects_get_level(struct subjects *s, const char *subject, bool or_global, int *level, struct err *err);
int subjects_set_level(struct subjects *s, const char *subject, int level, struct err *err);
int subjects_delete_level(struct subjects *s, const char *subject, int *level_before, struct err *err);
int subjects_get_mode(struct subjects *s, const char *subject, bool or_global, int *mode, struct err *err);
int subjects_set_mode(struct subjects *s, const char *subject, int mode, bool force, struct err *err);
int subjects_delete_mode(struct subjects *s, const char *subject, int *mode_before, struct err *err);

#endif
