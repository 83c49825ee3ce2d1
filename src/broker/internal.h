// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: topics, partitions, and what is shared between its files. Not for other rooms.
//
// Locks: broker.mutex guards the catalog (maps of topics, partition arrays); partition.wait_mutex the list of waits. Neither is held over
// input or output, except broker.change, which makes catalog changes one at a time and is held while files are written.
// Everything of a partition that says "owner" is touched on its loop only. A partition lives until its last reference is gone.
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/vec.h"
#include "broker/broker.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "broker/producers.h"
#include "broker/unstable.h"
#include "log/log.h"

struct batch_scanner;
struct topic_setting_values { // parsed, effective values of the configs that are USED
    bool compact, delete_old, append_time;
    int64_t max_message_bytes, max_decompressed_bytes, timestamp_after_max_ms, timestamp_before_max_ms;
    int64_t flush_messages, flush_ms; // acknowledged before it is durable, which is made so after this; 1 = acknowledged when durable
    int compression, compression_level; // codec that batches are brought to; -1 = as they come
    int64_t min_compaction_lag_ms, max_compaction_lag_ms, delete_retention_ms, min_dirty_ppm;
    struct log_config log;
};

struct topic_kv {
    char *name, *value;
};
typedef VEC(struct topic_kv) topic_kvs;

struct topic {
    char *name;
    uint8_t id[16];
    topic_kvs configs; // those set on the topic, sorted by name
    VEC(struct partition *) partitions;
    bool yields; // made at the start, by nobody's wish: while it has no record, who creates it gets it
};

struct partition {
    struct broker *broker;
    char *topic_name;
    int32_t index;
    atomic_int refs;
    struct loop *owner;
    struct log *log;
    atomic_bool deleted;
    // settings: written by catalog changes, read on the owner's loop
    atomic_bool compact, delete_old, append_time;
    _Atomic int64_t max_message_bytes, max_decompressed_bytes, timestamp_after_max_ms, timestamp_before_max_ms;
    _Atomic int64_t min_compaction_lag_ms, max_compaction_lag_ms, delete_retention_ms, min_dirty_ppm;
    _Atomic int64_t flush_messages, flush_ms;
    atomic_bool flush_due; // the next write is a sync (of topics that do not wait for it)
    atomic_int compression, compression_level;
    _Atomic uint64_t segment_bytes;
    atomic_bool uncleanable; // compaction met damage
    _Atomic int64_t clean_not_before_us; // monotonic; after a compaction that achieved nothing
    // owner
    bool cleaning; // the cleaner is at work here
    struct producers producers;
    struct verifying *verifying; // transactional batches that wait for the coordinator (verify.c)
    bool maintenance_running, stall_registered;
    atomic_bool closing;
    struct broker_produce *stalled_first, *stalled_last; // waiting for room in produce_bytes_max, or for the check of one before
    struct loop_timer retry, flush, check_retry; // the last two: with a reference while set
    enum err_code sync_code; // of the worker
    struct err sync_err;
    struct loop_event *closed; // set when `closing` and nothing runs any more
    atomic_bool ahead_running; // one read-ahead at a time
    _Atomic int64_t ahead_at;  // where it begins
    _Atomic int64_t trim_before; // segments below may go (share group state)
    // shared with the worker that syncs, which answers by itself; nothing is called under this mutex but the log's look-ups
    struct sys_mutex sync_mutex;
    bool sync_running;
    uint64_t dirty_bytes, syncing_bytes; // not yet durable: before and in the running sync
    struct broker_produce *pending_first, *pending_last; // written, waiting for the sync
    struct unstable unstable; // any thread
    // waits
    struct sys_mutex wait_mutex;
    struct wait_token *waits;
};

struct broker {
    struct sys *sys;
    char *dir;
    struct loop **loops;
    size_t n_loops;
    struct pool *pool;
    struct log_cache *cache;
    struct pool *readers; // what reads from the disk for consumers
    struct pool *checkers; // what looks at large produces
    struct sys_mutex alive_mutex;
    struct sys_cond all_gone;
    int64_t alive; // partitions in memory, those included that were deleted and are still held
    struct sys_mutex scanners_mutex;
    VEC(struct batch_scanner *) scanners; // those not in use (validate.c)
    struct broker_config config;
    topic_kvs static_configs;
    struct sys_mutex mutex, change;
    struct map topics;   // name -> struct topic
    struct map topic_ids; // id -> struct topic
    _Atomic int64_t n_partitions;
    _Atomic uint64_t undurable_bytes; // over all partitions
    struct sys_mutex stalled_mutex;
    VEC(struct partition *) stalled; // have a produce waiting for room; with a reference
    struct loop_timer tick, expiry_tick;
    int64_t last_retention_us;
    bool tick_stopped;
    struct coordinator *coordinator;
    struct cleaner *cleaner;
    struct share *share;
    struct producer_ids *producer_ids;
    struct store *store;     // store.h
    struct dynamic *dynamic; // dynamic.h
    struct broker_features *features; // features.h
    struct txn_coordinator *txns;
};

// ---- topics.c: the catalog and its file ----
enum err_code topics_create_file(struct broker *b, struct err *err); // an empty one, in a new directory
void topics_yield(struct broker *b, const char *name); // the server made it for itself: who creates it before it has a record takes it
void topics_spare(struct broker *b); // sets aside what a change on a full disk needs; at opening and when there is room again
enum err_code topics_load(struct broker *b, bool clean, struct err *err);
void topics_free(struct broker *b);
void topics_settings(struct broker *b); // the broker's configs changed: all partitions take what they inherit. Under broker.change
bool topic_name_ok(const char *name, struct err *err);
struct partition *partition_find(struct broker *b, const char *topic, int32_t index); // with a reference; NULL = none
bool topics_id(struct broker *b, const char *topic, int32_t index, uint8_t id[16]); // the topic's; false = no such partition
void partitions_all(struct broker *b, struct partition ***out, size_t *n);            // each with a reference; mem_free the array

// ---- configs.c: the tables ----
// Values in force for a topic: its own, the broker's static ones, the defaults. `own` must have been checked.
void configs_settings(const struct broker *b, const topic_kvs *own, struct topic_setting_values *out);
// Applies changes to a copy of `own`; ERR_CONFIG, ERR_NOT_SUPPORTED name the key and what is allowed.
enum err_code configs_apply(topic_kvs *own, const struct broker_kv *changes, size_t n, struct err *err);
enum err_code configs_check_static(const struct broker_config *c, topic_kvs *out, struct err *err); // ERR_CONFIG, as broker_open
const char *configs_place(const struct broker_config *c, const char *name); // where it was given; NULL = nobody knows
enum err_code configs_check_relations(const struct broker_config *c, const topic_kvs *given, struct err *err); // ERR_CONFIG: two that contradict
const char *kvs_get(const topic_kvs *v, const char *name);
void kvs_set(topic_kvs *v, const char *name, const char *value);
void kvs_remove(topic_kvs *v, const char *name);
void kvs_copy(topic_kvs *to, const topic_kvs *from);
void kvs_free(topic_kvs *v);
size_t configs_describe(const struct broker *b, const topic_kvs *own, struct arena *a, struct broker_config_entry **out);
const char *configs_broker_text(const struct broker *b, const char *name); // "" = no such config; lives as long as the broker
int64_t configs_broker_i64(const struct broker *b, const char *name, int64_t otherwise);
double configs_broker_double(const struct broker *b, const char *name, double otherwise);
bool configs_broker_is_set(const struct broker *b, const char *name);      // it is not the default that is in force

// ---- dynamic.c: configs changed while the server runs (dynamic.h) ----
void dynamic_open(struct broker *b); // loads them from the store
void dynamic_touch(struct broker *b); // what configs in force depend on besides has changed: another broker_config_version
void dynamic_free(struct dynamic *d);
const char *dynamic_value(const struct broker *b, const char *name, bool self); // of the broker; NULL = not set. Lives until the end

// ---- partition.c ----
struct partition *partition_open(struct broker *b, const char *topic, int32_t index, const uint8_t id[16],
                                 const struct topic_setting_values *v, bool clean, struct err *err);
void partition_settings(struct partition *p, const struct topic_setting_values *v);
void partition_ref(struct partition *p);
void partition_unref(struct partition *p);
void partition_produce(struct partition *p, struct broker_produce *r); // owner; takes over a reference
void partition_delete(struct partition *p);   // blocks until the owner knows; files are the caller's affair
void partitions_wait_gone(struct broker *b);  // blocks until nobody holds one: a worker may be the last to let go of a deleted one
void partition_quiesce(struct partition *p);  // blocks until nothing runs for it any more (broker_close)
void partition_maintain(void *partition);     // owner; takes over a reference
void partition_expire(void *partition);       // owner; takes over a reference: forgets idle producers
void partition_check_closed(struct partition *p); // owner; after something that ran for it has ended
enum err_code broker_produce_code(struct broker_produce *r); // of an answered one
int64_t partition_stable(struct partition *p, int64_t durable_end); // last stable offset; any thread
void partition_resume(struct partition *p, struct broker_produce *r, bool verified); // owner: one that waited for the coordinator
void partition_refuse(struct broker_produce *r, int kafka_error, const char *text);   // owner
void partition_resumed(struct partition *p); // owner: after the last of them
void partition_read_ahead(struct partition *p, int64_t offset); // any thread
void partition_wait_fire(struct partition *p, int64_t durable_end);
void broker_wake_stalled(struct broker *b);

// ---- verify.c: the first batch of a transaction in a partition ----
// True = an earlier batch of this producer waits: r waits behind it.
bool verify_joins(struct partition *p, struct broker_produce *r, int64_t producer_id);
void verify_start(struct partition *p, struct broker_produce *r, const struct batch *b);

// ---- committed.c: reads up to the last stable offset ----

// ---- txn*.c ----
struct txn_coordinator *txn_open(struct broker *b, struct err *err); // reads __transaction_state
void txn_stop(struct txn_coordinator *c); // blocks; loops run
void txn_free(struct txn_coordinator *c);

// ---- groups.c, offsets.c, producer_ids.c ----
struct coordinator *coordinator_open(struct broker *b, struct err *err); // reads the offsets topic
void coordinator_upkeep(struct coordinator *c); // expiry now, beside the regular turn
void coordinator_forget_topic(struct coordinator *c, const char *topic); // committed offsets of a topic that was deleted; blocks; loops run
void coordinator_topic_changed(struct coordinator *c, const char *topic); // created, grown or deleted: groups that read it look again; does not wait
void coordinator_stop(struct coordinator *c); // blocks; loops run
void coordinator_free(struct coordinator *c);
struct share *share_open(struct broker *b, struct err *err); // share_calls.c; after the coordinator
void share_stop(struct share *s);                            // blocks; loops run
void share_free(struct share *s);
struct producer_ids *producer_ids_open(struct broker *b, struct err *err);
void producer_ids_free(struct producer_ids *ids);

#endif
