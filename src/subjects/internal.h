// SPDX-License-Identifier: Apache-2.0
// What the files of this room share, and what its tests use: the store that records go to, the state, the way of a change.
#ifndef SUBJECTS_INTERNAL_H
#define SUBJECTS_INTERNAL_H

#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "subjects/subjects.h"
#include "sys/sys.h"

// Where records go: the topic, or a list in tests. A record is a key and a value (null: forget the key).
struct subjects_record {
    struct str key, value;
    bool value_null;
};
typedef void subjects_record_fn(void *arg, const struct subjects_record *r);
struct subjects_store {
    void *self;
    // Durable on return; all of them or none. *last: the offset of the last one.
    enum err_code (*append)(void *self, const struct subjects_record *records, size_t n, int64_t *last, struct err *err);
    // Calls fn for every record from offset *next on, and moves *next behind the last. *reset: what was read before is gone; *next was
    // set back to the beginning first.
    enum err_code (*read)(void *self, int64_t *next, bool *reset, subjects_record_fn *fn, void *arg, struct err *err);
    void (*close)(void *self); // may be NULL
};
struct subjects *subjects_open_store(const struct subjects_store *store, struct err *err);

struct entry { // one schema; shared by the versions that have its id
    int32_t id;
    size_t uses;
    char *identity; // what makes two schemas the same: text without order and spelling, references, metadata, rules
    char *type, *text, *metadata, *rule_set; // the last two "" = none
    struct subjects_ref *refs;
    size_t n_refs;
};

struct version {
    int32_t version;
    bool deleted;
    struct entry *entry;
};

struct subject {
    char *name;
    VEC(struct version) versions; // rising
    int level, mode;              // -1 = not set
};

struct subjects {
    struct subjects_store store;
    struct sys_mutex write; // one writer at a time; taken before `state`
    struct sys_mutex state; // everything below
    int64_t next_offset;
    struct map subjects; // name -> struct subject
    struct map by_id;    // 4 bytes -> struct entry
    struct map by_identity;
    int32_t max_id; // ever seen, also of what was deleted: ids are not used twice
    int level, mode; // global; -1 = not set
    struct schema_source source;
};

// state.c: all with `state` locked
void subjects_apply(struct subjects *s, const struct subjects_record *r);
void subjects_clear(struct subjects *s);
enum err_code subjects_catch_up(struct subjects *s, struct err *err);
struct subject *subjects_find(struct subjects *s, const char *name);  // NULL = never seen
struct entry *subjects_entry(struct subjects *s, int32_t id);
struct version *subject_version(struct subject *t, int32_t version, bool deleted); // SUBJECTS_LATEST: the newest; NULL = none
size_t subject_live(const struct subject *t);
void subjects_fill(const struct subject *t, const struct version *v, struct arena *a, struct subjects_schema *out);
int subjects_lock(struct subjects *s, struct err *err); // locks `state` and follows the store; not SUBJECTS_OK: not locked
void subjects_unlock(struct subjects *s);

// text.c
// The text as it is kept: compact, {"type": "int"} as "int". NULL with a message.
const char *subjects_compact(struct str text, struct arena *a, struct err *err);
const char *subjects_identity(const char *text, const char *type, const struct subjects_ref *refs, size_t n_refs, struct str metadata,
                              struct str rule_set, struct arena *a);

// inline.c: `text` with the named types of `refs` written out where they are used. NULL with a message.
const char *subjects_inline(const char *text, const struct str *refs, size_t n, struct arena *a, struct err *err);

// ops.c: the way of a change. Append, then follow the store behind it. `write` locked, `state` not.
int subjects_commit(struct subjects *s, const struct subjects_record *records, size_t n, struct err *err);
struct subjects_record subjects_put_schema(const struct subjects_schema *v, bool tombstone, struct arena *a);
bool subjects_reference_to(struct subjects *s, const char *subject, int32_t version, int32_t *by_id); // state locked
int subjects_name_ok(const char *subject, struct err *err);

// compat.c: state locked
struct avro_schema;
const struct avro_schema *subjects_parse(struct subjects *s, struct str text, const struct subjects_ref *refs, size_t n_refs, struct arena *a,
                                         struct err *err); // with its references
// The texts of the references and of theirs, each behind what it needs; SUBJECTS_REFS_MAX places. -1 = one is missing, or too many.
int subjects_references(struct subjects *s, const struct subjects_ref *refs, size_t n_refs, struct arena *a, struct str *texts, struct err *err);
// Messages of why `in` does not go with the subject's earlier versions; 0 = it does.
size_t subjects_conflicts(struct subjects *s, struct subject *t, int level, const struct version *only, const struct avro_schema *in, struct arena *a,
                          const char ***messages);
int subjects_level(struct subjects *s, const struct subject *t);
int subjects_mode(struct subjects *s, const struct subject *t);

#endif
