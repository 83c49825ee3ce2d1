// SPDX-License-Identifier: Apache-2.0
// What the lake's files share among themselves: the replay of a table's log, and the pieces of a snapshot. Not for other rooms.
#ifndef LAKE_INTERNAL_H
#define LAKE_INTERNAL_H

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "lake/lake.h"

enum { LAKE_PATH_MAX = 4096, LAKE_SMALL_FILE_MAX = 1 << 20 };
#define LAKE_LOG_DIR "_delta_log"

// A data file of the table, or the tombstone of one that was removed. Counted: snapshots of one table share them.
struct lake_node {
    atomic_int refs;
    struct lake_file file;   // path decoded
    char *raw_path;          // as in the log (percent-encoded)
    char *key;               // decoded path, and the deletion vector's id if there is one: what identifies a file in the log
    char *partition_json;    // {"column":"value"|null,...}; NULL = none
    int64_t removed_ms;      // tombstones: when; 0 = a live file
    bool has_deletion_vector;
};
struct lake_node *lake_node_ref(struct lake_node *n);
void lake_node_unref(struct lake_node *n);

struct lake_text_list {
    char **p;
    size_t n;
};

// The table-wide part of a snapshot: the last protocol and metaData actions. Immutable after parsing, shared by count.
struct lake_meta {
    atomic_int refs;
    struct arena arena;
    char *id, *name, *description, *provider, *schema_json;
    json_t *format_options;
    int64_t created_ms;
    struct cols_schema *schema;
    struct lake_text_list partition_columns;
    struct map config; // key -> char * in the arena
};
void lake_meta_unref(struct lake_meta *m);

struct lake_protocol {
    int reader, writer;
    json_t *reader_features, *writer_features; // arrays; NULL = none
};

struct lake_app {
    int64_t version, updated_ms;
    char *id;
};

// Log replay under way: newest action per key wins. Owner: one thread, on its stack.
struct lake_replay {
    struct map files;      // key -> struct lake_node *
    struct map tombstones; // key -> struct lake_node *
    struct map apps;       // application id -> struct lake_app *
    struct lake_meta *meta;
    struct lake_protocol protocol;
    struct map other; // kept for checkpoints: "domainMetadata/<domain>" -> json_t *
    int64_t time_ms;
    json_t *sidecars; // paths met in a V2 checkpoint
};

struct lake_snapshot {
    atomic_int refs;
    char *dir;
    int64_t version, time_ms;
    struct lake_meta *meta;
    struct lake_protocol protocol;
    struct lake_node **files;
    size_t n_files;
    struct lake_node **tombstones;
    size_t n_tombstones;
    struct map apps; // id -> struct lake_app *
    struct map other;
};

// ---- actions: replay.c
void lake_replay_init(struct lake_replay *r);
void lake_replay_from(struct lake_replay *r, const struct lake_snapshot *s);
void lake_replay_fini(struct lake_replay *r);
enum err_code lake_replay_line(struct lake_replay *r, struct str line, struct err *err);    // one JSON action
enum err_code lake_replay_ndjson(struct lake_replay *r, struct str text, const char *name, struct err *err);
struct lake_snapshot *lake_replay_finish(struct lake_replay *r, const char *dir, int64_t version, struct err *err); // takes what r holds
struct lake_meta *lake_meta_parse(const json_t *action, struct err *err);
void lake_protocol_copy(struct lake_protocol *to, const struct lake_protocol *from);
void lake_protocol_fini(struct lake_protocol *p);
char *lake_path_decode(const char *raw);
char *lake_path_encode(const char *path);

// ---- features: protocol.c
enum err_code lake_check_readable(const struct lake_snapshot *s, struct err *err);
enum err_code lake_check_writable(const struct lake_protocol *p, const struct lake_meta *m, bool removes, struct err *err);
bool lake_schema_has_ntz(const struct cols_schema *schema);
bool lake_protocol_can_checkpoint(const struct lake_protocol *p);

// ---- log files: load.c
void lake_commit_name(int64_t version, char out[32]); // "00000000000000000007.json"
// The table's snapshot at `version` (-1 newest), from `known` (an older or equal snapshot of it, or NULL) where that helps.
struct lake_snapshot *lake_load(struct lake *l, const char *dir, int64_t version, struct lake_snapshot *known, struct err *err);

// ---- checkpoints: checkpoint.c
enum err_code lake_checkpoint_read(struct lake *l, const char *log_dir, int64_t version, const struct sys_list *names, struct lake_replay *r,
                                   struct err *err);
enum err_code lake_checkpoint_write(struct lake *l, const struct lake_snapshot *s, struct err *err);
json_t *lake_meta_json(const struct lake_meta *m);         // the metaData action's object
json_t *lake_protocol_json(const struct lake_protocol *p); // the protocol action's object
// Version of a checkpoint file's name; -1 = not one.
int64_t lake_checkpoint_version(const char *name);

// ---- lake.c
struct sys *lake_sys(struct lake *l);
void lake_commit_enter(struct lake *l); // until lake_commit_leave no table is dropped; not to be nested
void lake_commit_leave(struct lake *l);
void lake_checkpoint_lock(struct lake *l); // one checkpoint is written at a time
void lake_checkpoint_unlock(struct lake *l);
const struct lake_parquet *lake_parquet_of(struct lake *l); // NULL = none

#endif
