// SPDX-License-Identifier: Apache-2.0
// Topics, partitions, idempotent producers, consumer groups: what a Kafka broker is, without the wire protocol.
//
// Each partition is owned by one of the loops given at open: appends run there, durability comes from a group-committed fdatasync
// on the pool, after which the high watermark moves and waiting producers and fetches are answered on the loop that asked.
// Functions marked [any] may be called from any thread and may block briefly; [loop] from a loop thread, never block; [block] only from
// threads that may block (workers, HTTP threads), never a loop.
//
// Errors of functions that return err_code are Kafka's by err_info(code)->kafka: ERR_NO_TOPIC 3, ERR_TOPIC_NAME 17, ERR_EXISTS 36,
// ERR_PARTITIONS 37, ERR_CONFIG 40, ERR_OFFSET_RANGE 1, ERR_CORRUPT 2, ERR_OFFLINE 56.
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "log/view.h"
#include "loop/loop.h"

struct broker;

struct broker_kv {
    const char *name, *value; // value NULL = delete (back to default)
};

struct broker_config {
    const char *dir;               // DIR/log: one folder per partition, "flights-0"
    int32_t node_id;               // 1
    int32_t default_partitions;    // num.partitions, 1
    bool auto_create_topics;       // auto.create.topics.enable, true
    int32_t max_partitions;        // of the whole broker, 10,000
    uint64_t produce_bytes_max;    // bytes appended but not yet durable, over all partitions; above it producers wait; 0 = 64 MiB
    int32_t group_initial_rebalance_delay_ms; // group.initial.rebalance.delay.ms; -1 = not set
    const struct broker_kv *configs;          // further broker configs of the table (log.retention.ms, message.max.bytes, …): static values
    size_t n_configs;
    const char *const *places; // where each of `configs` was given, for messages ("server.properties:12"); NULL, also one of them = nobody knows
    const char *features; // levels that a new data directory begins with, beside the defaults: "group.version=0,..."; NULL = none. See features.h
    const char *features_place; // where they were given, for messages; NULL = nobody knows
};

// Recovers all partitions. ERR_CORRUPT, ERR_IO, ERR_VERSION name the file; ERR_CONFIG the config, its place and what is allowed. The pool should be
// the broker's own (2 to 4 threads): its fdatasync calls must not queue behind long work.
struct broker *broker_open(struct sys *s, const struct broker_config *config, struct loop *const *loops, size_t n_loops, struct pool *pool,
                           struct err *err);
void broker_close(struct broker *b); // syncs, writes the clean-shutdown mark. Loops must still run; no call may be in flight

// ---- topics -----------------------------------------------------------------------------------------------------------
struct broker_config_synonym { // one place where a value is set
    const char *name, *value;
    int source;
};
struct broker_config_entry {
    const char *name, *value; // value NULL = none
    const char *default_value;
    int source; // DescribeConfigs' ConfigSource: 1 topic, 2 this broker, 3 all brokers, 4 at start, 5 default, 7 client metrics, 8 group
    const struct broker_config_synonym *synonyms; // the one in force first
    size_t n_synonyms;
    int type;   // DescribeConfigs' ConfigType: 1 boolean 2 string 3 int 4 short 5 long 6 double 7 list 8 class 9 password
    bool read_only, sensitive;
    const char *doc;
};

struct broker_topic_info { // a snapshot, in the caller's arena
    const char *name;
    uint8_t id[16];
    int32_t partitions;
    bool internal; // broker_topic_internal
};

enum err_code broker_topic_create(struct broker *b, const char *name, int32_t partitions /* -1 = default */, const struct broker_kv *configs,
                                  size_t n_configs, bool validate_only, struct broker_topic_info *out /* or NULL */, struct arena *a,
                                  struct err *err); // [block] ERR_EXISTS, ERR_TOPIC_NAME, ERR_PARTITIONS, ERR_CONFIG; durable on return
enum err_code broker_topic_delete(struct broker *b, const char *name, struct err *err); // [block] ERR_NO_TOPIC
enum err_code broker_topic_grow(struct broker *b, const char *name, int32_t partitions /* the new total */, bool validate_only,
                                struct err *err); // [block] ERR_NO_TOPIC, ERR_PARTITIONS
// The three above and broker_topic_alter sync files (a millisecond or so). From a loop: broker_submit runs work(arg) on the broker's pool,
// then done(arg) on `back`. ERR_BUSY: the pool's queue is full.
enum err_code broker_submit(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err); // [any]
void broker_upkeep(struct broker *b); // [any] starts retention and closing of old segments now, beside their regular turn
bool broker_topic_get(struct broker *b, struct str name, struct arena *a, struct broker_topic_info *out);             // [any] false = none
// Those that the broker itself lives by; other names that begin with "__" are their makers' own. Pure.
static inline bool broker_topic_internal(const char *name) {
    return strcmp(name, "__consumer_offsets") == 0 || strcmp(name, "__transaction_state") == 0 || strcmp(name, "__share_group_state") == 0;
}
static inline bool broker_topic_name_ok(const char *name) { // 1 to 249 letters, digits, '.', '_', '-'
    enum { NAME_MAX_BYTES = 249 };
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    for (; *name != '\0'; name++) {
        char c = *name;
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        if (!ok) return false;
    }
    return true;
}
bool broker_topic_get_id(struct broker *b, const uint8_t id[16], struct arena *a, struct broker_topic_info *out);     // [any]
size_t broker_topic_list(struct broker *b, struct arena *a, struct broker_topic_info **out);                          // [any] sorted by name
enum err_code broker_topic_configs(struct broker *b, const char *name, struct arena *a, struct broker_config_entry **out, size_t *n,
                                   struct err *err); // [any] every topic config of Kafka, with value, default, source
enum err_code broker_topic_alter(struct broker *b, const char *name, const struct broker_kv *changes, size_t n, bool validate_only,
                                 struct err *err);    // [block] ERR_CONFIG
bool broker_config_known(const char *name); // [any] whether broker_config.configs may hold it
size_t broker_configs(struct broker *b, struct arena *a, struct broker_config_entry **out); // [any] the broker's own

// ---- produce ------------------------------------------------------------------------------------------------------------
enum broker_origin {
    BROKER_FROM_CLIENT,
    BROKER_FROM_COORDINATOR, // offsets in a transaction: a transactional batch without sequence numbers, verified by its sender
    BROKER_MARKER,           // the end of a transaction
    BROKER_MARKER_NEWER,     // the same; its epoch must be above the one that wrote the transaction (transactions V2)
};
enum broker_txn_level {
    BROKER_TXN_VERIFY,           // a partition that is not in the transaction: INVALID_TXN_STATE (Produce 3-10)
    BROKER_TXN_VERIFY_ABORTABLE, // TRANSACTION_ABORTABLE (Produce 11)
    BROKER_TXN_ADD,              // it is added (Produce 12, transactions V2)
};
struct broker_record_error { // of a refused produce: which record of its batch, and why
    int32_t index;
    char message[192];
};
struct broker_produce {
    // in
    const char *topic;
    int32_t partition;
    // One record batch v2 (or several when none has a producer id), as they came; must live until done. The CRC is checked, then base
    // offset and leader epoch are written into these bytes.
    struct str batches;
    bool wait_durable; // done when they are on disk; else when they are in memory, to be on disk soon
    enum broker_origin origin;
    // Of a transactional produce (transactional.id): the coordinator is asked whether the partition is in the transaction, once for each.
    const char *transactional_id; // NULL = none; must live until done
    enum broker_txn_level txn_level;
    bool list_errors; // in: record_errors is wanted, and will be freed (mem_free)
    struct broker_record_error *record_errors; // out
    size_t n_record_errors;
    void (*done)(struct broker_produce *p); // called once, on `back`, never from inside broker_produce; the struct is yours again
    struct loop *back;
    void *arg;
    // out
    int kafka_error; // Kafka error code; 0 = none. DUPLICATE_SEQUENCE counts as success with the old offset
    int64_t base_offset, log_append_time_ms /* -1 = CreateTime */, log_start_offset;
    char message[640]; // empty when kafka_error is 0
    // the broker's own
    struct broker_produce *next_;
    void *self_[6];
};
void broker_produce(struct broker *b, struct broker_produce *p); // [loop]

// One record for the programs inside. Appends to one partition and waits until durable.
struct broker_header {
    struct str key, value;
};
struct broker_record {
    struct str key, value;
    bool key_null, value_null;
    int64_t timestamp_ms; // -1 = now
    const struct broker_header *headers;
    size_t n_headers;
};
enum err_code broker_append(struct broker *b, const char *topic, int32_t partition, const struct broker_record *records, size_t n,
                            int64_t *base_offset, struct err *err); // [block] creates no topics; n records are one batch, all or nothing
int32_t broker_partition_of(struct str key, int32_t partitions);    // murmur2, as Kafka's default partitioner

// ---- read -----------------------------------------------------------------------------------------------------------------
enum { BROKER_OFFSET_LATEST = -1, BROKER_OFFSET_EARLIEST = -2, BROKER_OFFSET_MAX_TIMESTAMP = -3 };
enum { BROKER_LEADER_EPOCH = 0 }; // of every partition: one node, one epoch

struct broker_offsets {
    int64_t start, high_watermark, end; // end: next offset to be written (may be not yet durable)
    int64_t stable; // last stable offset: below it every transaction has ended; at most the high watermark
};
enum err_code broker_offsets(struct broker *b, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err); // [any]
// Whole record batches from the one that holds `offset` up to the high watermark, at most max_bytes but at least one batch; appended to
// `out`. Empty at the high watermark. ERR_OFFSET_RANGE: below the start or above the high watermark. ERR_CORRUPT: CRC. `offsets` (or NULL)
// is filled also on ERR_OFFSET_RANGE.
enum err_code broker_read(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                          struct broker_offsets *offsets, struct err *err); // [any]
// The same without a copy, released by the caller. Without may_block it never waits for the disk and answers ERR_BUSY instead: then again with
// it, on a thread that may block.
enum err_code broker_read_view(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                               struct log_view *out, struct broker_offsets *offsets, struct err *err); // [any], or with may_block [block]
// As broker_submit, on the threads that read from the disk.
enum err_code broker_submit_read(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err); // [any]
// Committed data: up to the last stable offset. An offset between that and the high watermark gives nothing. The batches include markers and
// aborted data; `aborted`, in the arena, says which transactions in them were aborted.
struct broker_aborted {
    int64_t producer_id, first, last; // offsets: its first record, its marker
};
// As broker_read_view otherwise; `offsets` may not be NULL.
enum err_code broker_read_committed(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                                    struct log_view *out, struct broker_offsets *offsets, struct arena *a, struct broker_aborted **aborted,
                                    size_t *n_aborted, struct err *err); // [any], or with may_block [block]
// The same for programs inside that look at records only: without markers and aborted batches, so nothing may be left of what was read;
// *next is the offset to go on with.
enum err_code broker_read_plain(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                                int64_t *next, struct broker_offsets *offsets, struct err *err); // [any]
// The first record with a timestamp >= timestamp_ms, or for the BROKER_OFFSET_* values what they name (found_ms -1 for the first two).
enum err_code broker_offset_for_time(struct broker *b, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset,
                                     int64_t *found_ms, struct err *err); // [any] offset -1 = none later
// Makes `offset` (BROKER_OFFSET_LATEST = the high watermark) the first one; *low = where the partition begins now. Durable on return. [block]
// ERR_OFFSET_RANGE; ERR_POLICY: only compacted; ERR_TOPIC_NAME: internal topic; ERR_NO_TOPIC.
enum err_code broker_delete_records(struct broker *b, const char *topic, int32_t partition, int64_t offset, int64_t *low, struct err *err);
// Is `offset` in an older segment of the log than the end `end`? [any] False when there is no such partition.
bool broker_is_behind(struct broker *b, const char *topic, int32_t partition, int64_t offset, int64_t end);
int64_t broker_partition_bytes(struct broker *b, const char *topic, int32_t partition); // [any] -1 = there is none
int64_t broker_producer_ids(struct broker *b); // [any] idempotent producers remembered, over all partitions
struct broker_disk {
    const char *dir;       // lives as long as the broker
    int64_t total, usable; // bytes of its file system; -1 = not known
};
void broker_disk(struct broker *b, struct broker_disk *out); // [block]
// Calls fn(arg) on `back` once, when the partition's high watermark is above `offset`, or it is deleted. For long polls, sensors.
struct broker_wait {
    void (*fn)(struct broker_wait *w);
    void *arg;
    struct loop *back;
    bool committed; // the last stable offset instead of the high watermark
    struct broker_wait *prev_, *next_;
    void *self_[4];
};
void broker_wait_add(struct broker *b, const char *topic, int32_t partition, int64_t offset, struct broker_wait *w); // [loop]
// An unknown topic or partition, or data that is there already: fn comes at once (but never from inside broker_wait_add).
void broker_wait_remove(struct broker *b, struct broker_wait *w); // [loop] same loop as `back`; afterwards fn is not called; fired is fine
// fn comes in a moment: it is on its way, or the partition is being synced. [loop] The loop of `back`.
bool broker_wait_soon(const struct broker_wait *w);

// ---- groups and producer ids: broker/groups.h ------------------------------------------------------------------------------

#endif
