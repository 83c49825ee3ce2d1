// SPDX-License-Identifier: Apache-2.0
// The door against a broker that the test plays: order of answers, pipelining, long polls, bad bytes, closing. The test decides when a
// produce is durable and when data arrives, so that no test waits for time to pass.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/metrics.h"
#include "broker/groups.h"
#include "broker/store.h"
#include "broker/txn.h"
#include "broker/share.h"
#include "kafka/conn.h"
#include "kafka/door.h"
#include "kafka/messages.h"

// ---- the played broker: lives on the one loop -----------------------------------------------------------------------------
enum { TOPICS_MAX = 8, HELD_MAX = 80 };
static struct {
    struct sys_mutex mutex;
    struct sys_cond changed;
    char topics[TOPICS_MAX][32];
    size_t n_topics;
    struct broker_produce *held[HELD_MAX];
    size_t n_held;
    bool hold;
    size_t produced_bytes, n_produced;
    struct broker_wait *waits[HELD_MAX];
    size_t n_waits, n_removed;
    char data[256];
    size_t data_n;
    bool in_memory, soon; // what is read needs no disk; what is waited for comes in a moment
    int64_t open_at_remove; // connections when a wait was removed last, without that wait's own
} fake;

static void tell(void) { sys_cond_broadcast(&fake.changed); }

static bool find_topic(struct str name, struct arena *a, struct broker_topic_info *out) {
    for (size_t i = 0; i < fake.n_topics; i++) {
        if (!str_eqc(name, fake.topics[i])) continue;
        *out = (struct broker_topic_info){.name = arena_strdup(a, fake.topics[i]), .partitions = 2};
        memset(out->id, (int)i + 1, sizeof out->id);
        return true;
    }
    return false;
}
bool broker_topic_get(struct broker *b, struct str name, struct arena *a, struct broker_topic_info *out) {
    (void)b;
    return find_topic(name, a, out);
}
bool broker_topic_get_id(struct broker *b, const uint8_t id[16], struct arena *a, struct broker_topic_info *out) {
    (void)b;
    return id[0] >= 1 && id[0] <= fake.n_topics && find_topic(str_c(fake.topics[id[0] - 1]), a, out);
}
size_t broker_topic_list(struct broker *b, struct arena *a, struct broker_topic_info **out) {
    (void)b;
    *out = ARENA_ARRAY(a, struct broker_topic_info, TOPICS_MAX);
    for (size_t i = 0; i < fake.n_topics; i++) find_topic(str_c(fake.topics[i]), a, &(*out)[i]);
    return fake.n_topics;
}
enum err_code broker_topic_create(struct broker *b, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs,
                                  bool validate_only, struct broker_topic_info *out, struct arena *a, struct err *err) {
    (void)b, (void)partitions, (void)configs, (void)n_configs, (void)validate_only;
    if (name[0] == '!') return err_set(err, ERR_TOPIC_NAME, "bad name");
    assert_true(fake.n_topics < TOPICS_MAX && strlen(name) < 32);
    memcpy(fake.topics[fake.n_topics++], name, strlen(name) + 1);
    if (out != NULL) find_topic(str_c(name), a, out);
    return ERR_OK;
}
enum err_code broker_topic_delete(struct broker *b, const char *name, struct err *err) {
    (void)b;
    return err_set(err, ERR_NO_TOPIC, "no topic %s", name);
}
enum err_code broker_topic_grow(struct broker *b, const char *name, int32_t n, bool validate_only, struct err *err) {
    (void)b, (void)name, (void)validate_only;
    return err_set(err, ERR_PARTITIONS, "cannot have %d", n);
}
enum err_code broker_topic_configs(struct broker *b, const char *name, struct arena *a, struct broker_config_entry **out, size_t *n,
                                   struct err *err) {
    (void)b, (void)a, (void)err, (void)name;
    static struct broker_config_entry one = {
        .name = "cleanup.policy", .value = "delete", .default_value = "delete", .source = 5, .type = 7, .doc = "what happens to old data"};
    *out = &one;
    *n = 1;
    return ERR_OK;
}
static char altered[64];
enum err_code broker_topic_alter(struct broker *b, const char *name, const struct broker_kv *changes, size_t n, bool validate_only,
                                 struct err *err) {
    (void)b, (void)name, (void)validate_only, (void)err;
    assert_int_equal(n, 1);
    memcpy(altered, changes[0].value, strlen(changes[0].value) + 1);
    return ERR_OK;
}
size_t broker_configs(struct broker *b, struct arena *a, struct broker_config_entry **out) {
    (void)b, (void)a;
    *out = NULL;
    return 0;
}
#include "unit/kafka_stub_dynamic.h"
#include "unit/kafka_stub_features.h"
enum err_code broker_delete_records(struct broker *b, const char *topic, int32_t partition, int64_t offset, int64_t *low, struct err *err) {
    (void)b;
    if (strcmp(topic, "absent") == 0) return err_set(err, ERR_NO_TOPIC, "no topic");
    if (offset > 100) return err_set(err, ERR_OFFSET_RANGE, "%d", partition);
    *low = offset;
    return ERR_OK;
}
int64_t broker_producer_ids(struct broker *b) {
    (void)b;
    return 0;
}
int64_t broker_partition_bytes(struct broker *b, const char *topic, int32_t partition) {
    (void)b;
    return strcmp(topic, "absent") == 0 || partition >= 2 ? -1 : 1000 + partition;
}
void broker_disk(struct broker *b, struct broker_disk *out) {
    (void)b;
    *out = (struct broker_disk){"/data/log", 5000, 3000};
}
enum err_code broker_submit(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err) {
    (void)b, (void)err;
    work(arg);
    loop_post(back, done, arg);
    return ERR_OK;
}

static void fire(void *arg) {
    struct broker_produce *p = arg;
    p->done(p);
}
void broker_produce(struct broker *b, struct broker_produce *p) {
    (void)b;
    sys_mutex_lock(&fake.mutex);
    p->base_offset = (int64_t)fake.n_produced++;
    p->log_append_time_ms = -1;
    p->log_start_offset = 0;
    p->kafka_error = strcmp(p->topic, "absent") == 0 ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
    fake.produced_bytes += p->batches.n;
    if (fake.hold) fake.held[fake.n_held++] = p;
    else loop_post(p->back, fire, p);
    tell();
    sys_mutex_unlock(&fake.mutex);
}
enum err_code broker_offsets(struct broker *b, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err) {
    (void)b;
    if (strcmp(topic, "absent") == 0) return err_set(err, ERR_NO_TOPIC, "no topic");
    (void)partition;
    *out = (struct broker_offsets){0, fake.data_n > 0 ? 1 : 0, 1, fake.data_n > 0 ? 1 : 0};
    return ERR_OK;
}
// What there is to read "is on disk", and in two pieces.
enum err_code broker_read_view(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                               struct log_view *out, struct broker_offsets *offsets, struct err *err) {
    (void)max_bytes;
    enum err_code code = broker_offsets(b, topic, partition, offsets, err);
    if (code == ERR_OK && offset > 10) return err_set(err, ERR_OFFSET_RANGE, "out of range");
    if (code != ERR_OK || offset != 0 || fake.data_n == 0) return code;
    if (!may_block && !fake.in_memory) return ERR_BUSY;
    out->n = fake.data_n;
    vec_add(&out->pieces, ((struct log_piece){str_n(fake.data, 1), NULL}));
    vec_add(&out->pieces, ((struct log_piece){str_n(fake.data + 1, fake.data_n - 1), NULL}));
    return code;
}
enum err_code broker_read_committed(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                                    struct log_view *out, struct broker_offsets *offsets, struct arena *a, struct broker_aborted **aborted,
                                    size_t *n_aborted, struct err *err) {
    *aborted = ARENA_ARRAY(a, struct broker_aborted, 1);
    **aborted = (struct broker_aborted){4000, 0, 0};
    *n_aborted = 1;
    return broker_read_view(b, topic, partition, offset, max_bytes, may_block, out, offsets, err);
}
enum err_code broker_submit_read(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err) {
    return broker_submit(b, work, arg, back, done, err);
}
enum err_code broker_offset_for_time(struct broker *b, const char *topic, int32_t partition, int64_t ms, int64_t *offset, int64_t *found,
                                     struct err *err) {
    (void)b, (void)topic, (void)partition, (void)err;
    *offset = ms == BROKER_OFFSET_MAX_TIMESTAMP ? 7 : 3;
    *found = ms == BROKER_OFFSET_MAX_TIMESTAMP ? 700 : ms;
    return ERR_OK;
}
void broker_wait_add(struct broker *b, const char *topic, int32_t partition, int64_t offset, struct broker_wait *w) {
    (void)b, (void)topic, (void)partition, (void)offset;
    sys_mutex_lock(&fake.mutex);
    fake.waits[fake.n_waits++] = w;
    tell();
    sys_mutex_unlock(&fake.mutex);
}
bool broker_wait_soon(const struct broker_wait *w) {
    (void)w;
    return fake.soon;
}
void broker_wait_remove(struct broker *b, struct broker_wait *w) {
    (void)b, (void)w;
    sys_mutex_lock(&fake.mutex);
    fake.n_removed++;
    fake.open_at_remove = metric_get(M_KAFKA_CONNECTIONS, NULL);
    tell();
    sys_mutex_unlock(&fake.mutex);
}
static void call_done(void *arg) {
    struct group_call *c = arg;
    c->done(c);
}
#define GROUP_FAKE(name, type)                             \
    void name(struct broker *b, struct type *c) {          \
        (void)b;                                           \
        loop_post(c->call.back, call_done, &c->call);      \
    }
GROUP_FAKE(group_sync, group_sync)
GROUP_FAKE(group_heartbeat, group_heartbeat)
GROUP_FAKE(group_leave, group_leave)
GROUP_FAKE(group_commit, group_commit)
GROUP_FAKE(txn_offsets_commit, group_commit)
GROUP_FAKE(txn_write_marker, txn_marker_write)
GROUP_FAKE(txn_describe_producers, txn_producers)
#define TXN_FAKE(name)                                            \
    void name(struct broker *b, struct name *x) {                 \
        (void)b;                                                  \
        loop_post(x->call.call.back, call_done, &x->call.call);   \
    }
TXN_FAKE(txn_init)
TXN_FAKE(txn_add)
TXN_FAKE(txn_end)
TXN_FAKE(txn_describe)
TXN_FAKE(txn_list)
const char *txn_state_named(struct str name) { return str_eqc(name, "Ongoing") ? "Ongoing" : NULL; }
GROUP_FAKE(group_list, group_list)
GROUP_FAKE(group_delete, group_delete)
GROUP_FAKE(group_offsets_delete, group_offsets_delete)
GROUP_FAKE(group_consumer_heartbeat, consumer_heartbeat)
GROUP_FAKE(group_consumer_describe, consumer_describe)
GROUP_FAKE(share_fetch, share_fetch)
GROUP_FAKE(share_acknowledge, share_acknowledge)
GROUP_FAKE(share_state, share_state)
GROUP_FAKE(share_heartbeat, share_heartbeat)
GROUP_FAKE(share_describe, share_describe)
GROUP_FAKE(share_offsets, share_offsets)
void share_fetch_cancel(struct broker *b, uint64_t id) { (void)b, (void)id; }
void share_connection_closed(struct broker *b, uint64_t connection) { (void)b, (void)connection; }
GROUP_FAKE(group_streams_heartbeat, streams_heartbeat)
GROUP_FAKE(group_streams_describe, streams_describe)
GROUP_FAKE(group_streams_description, streams_description)
void group_join(struct broker *b, struct group_join *c) {
    (void)b;
    assert_string_equal(c->client_host, "/127.0.0.1");
    c->leader = c->out_member_id = "m-1";
    c->call.error = c->require_member_id ? KAFKA_MEMBER_ID_REQUIRED : 0;
    loop_post(c->call.back, call_done, &c->call);
}
void groups_stop(struct broker *b) { (void)b; }
struct store *broker_store(struct broker *b) { return (void)b, NULL; }
void group_fetch(struct broker *b, struct group_fetch *c) {
    (void)b;
    for (size_t i = 0; i < c->n_offsets; i++) c->offsets[i].offset = 40 + c->offsets[i].partition;
    loop_post(c->call.back, call_done, &c->call);
}
void group_describe(struct broker *b, struct group_describe *c) {
    (void)b;
    c->call.error = KAFKA_GROUP_ID_NOT_FOUND;
    c->state = "Dead";
    loop_post(c->call.back, call_done, &c->call);
}
void broker_producer_id_init(struct broker *b, struct producer_id_init *c) {
    (void)b;
    c->producer_id = 4000;
    c->producer_epoch = 0;
    loop_post(c->call.back, call_done, &c->call);
}

// ---- a client ---------------------------------------------------------------------------------------------------------------
static struct loop *loop;
static struct kafka_door *door;

struct client {
    struct sys_sock *sock;
    struct sys_poll *poll;
};

static struct client client_open(void) {
    struct client c;
    c.sock = sys_connect(sys_real(), "127.0.0.1", kafka_door_port(door), 5000, NULL);
    assert_non_null(c.sock);
    c.poll = sys_poll_new(sys_real(), NULL);
    sys_poll_sock(c.poll, c.sock, SYS_EV_READ, &c, NULL);
    return c;
}
static void client_close(struct client *c) {
    sys_poll_sock(c->poll, c->sock, 0, c, NULL);
    sys_sock_close(c->sock);
    sys_poll_free(c->poll);
}
static void client_send(struct client *c, const void *p, size_t n) {
    for (size_t at = 0; at < n;) {
        struct sys_iov iov = {(const char *)p + at, n - at};
        struct err err = {0};
        int64_t sent = sys_sock_send(c->sock, &iov, 1, &err);
        if (sent > 0) at += (size_t)sent;
        else if (err.code != ERR_BUSY) return; // the door has closed: the test sees it when it reads
        else {
            struct sys_event e;
            sys_poll_sock(c->poll, c->sock, SYS_EV_READ | SYS_EV_WRITE, c, NULL);
            sys_poll_wait(c->poll, &e, 1, 5000000);
            sys_poll_sock(c->poll, c->sock, SYS_EV_READ, c, NULL);
        }
    }
}
// False = the door closed the connection.
static bool client_read(struct client *c, void *p, size_t n) {
    for (size_t at = 0; at < n;) {
        struct err err = {0};
        int64_t got = sys_sock_recv(c->sock, (char *)p + at, n - at, &err);
        if (got > 0) at += (size_t)got;
        else if (got == 0 || err.code != ERR_BUSY) return false;
        else {
            struct sys_event e;
            if (sys_poll_wait(c->poll, &e, 1, 5000000) == 0) fail_msg("nothing came within 5 s");
        }
    }
    return true;
}
static void request_bytes(struct buf *to, int key, int version, int32_t correlation, const void *msg) {
    const struct kafka_api *api = kafka_api_find(key);
    struct kafka_out o;
    kafka_out_init(&o, 64 << 20);
    o.splice_min = SIZE_MAX;
    kafka_frame_begin_request(&o, api, version, correlation, STR("test"));
    kafka_msg_encode(api->request, version, msg, &o);
    assert_int_equal(kafka_frame_end(&o, NULL), ERR_OK);
    buf_put(to, o.buf.p, o.buf.n);
    kafka_out_fini(&o);
}
static void request(struct client *c, int key, int version, int32_t correlation, const void *msg) {
    struct buf b = {0};
    request_bytes(&b, key, version, correlation, msg);
    client_send(c, b.p, b.n);
    buf_fini(&b);
}
static void response(struct client *c, int key, int version, int32_t correlation, struct arena *a, void *msg) {
    uint8_t size[4];
    if (!client_read(c, size, 4)) fail_msg("connection closed instead of an answer");
    size_t n = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 | size[3];
    uint8_t *p = arena_alloc(a, n);
    assert_true(client_read(c, p, n));
    struct rd r = rd_of(p, n);
    const struct kafka_message *m = kafka_api_find(key)->response;
    assert_int_equal((int32_t)rd_be32(&r), correlation);
    if (version >= m->header_flexible) assert_int_equal(rd_u8(&r), 0);
    struct err err = {0};
    if (kafka_msg_decode(m, version, &r, a, msg, &err) != ERR_OK) fail_msg("%s", err.msg);
    assert_int_equal(rd_left(&r), 0);
}

static int setup_with(size_t frame_bytes_max) {
    memset(&fake, 0, sizeof fake);
    sys_mutex_init(&fake.mutex);
    sys_cond_init(&fake.changed);
    memcpy(fake.topics[fake.n_topics++], "t", 2);
    loop = loop_new(sys_real(), "test", NULL);
    loop_start(loop);
    struct kafka_config config = {
        .host = "127.0.0.1", .advertised_host = "mill.example", .node_id = 1, .auto_create = true, .max_request_bytes = 8 << 20,
        .frame_bytes_max = frame_bytes_max};
    static int anything;
    door = kafka_door_open(&loop, 1, (struct broker *)(void *)&anything, &config, NULL);
    return door == NULL;
}
static int setup(void **state) {
    (void)state;
    return setup_with(0);
}
static int setup_small(void **state) {
    (void)state;
    return setup_with(200 << 10);
}
static int teardown(void **state) {
    (void)state;
    kafka_door_close(door);
    loop_free(loop);
    return 0;
}

static void await(bool (*what)(void)) {
    sys_mutex_lock(&fake.mutex);
    while (!what())
        if (!sys_cond_wait_us(&fake.changed, &fake.mutex, 5000000)) fail_msg("it did not happen within 5 s");
    sys_mutex_unlock(&fake.mutex);
}
static bool three_held(void) { return fake.n_held == 3; }
static bool one_held(void) { return fake.n_held == 1; }
static bool one_wait(void) { return fake.n_waits >= 1; }
static bool two_waits(void) { return fake.n_waits == 2; }
static bool two_removed(void) { return fake.n_removed == 2; }

enum { BATCH_BYTES = 61 }; // a header and nothing behind it

// Bytes that are one record batch by their header's length and format; the rest is the broker's to check.
static struct str batch_of(struct arena *a, size_t n) {
    uint8_t *p = arena_zalloc(a, n);
    for (int i = 0; i < 4; i++) p[8 + i] = (uint8_t)((n - 12) >> (24 - 8 * i));
    p[16] = 2;
    return str_n(p, n);
}

static struct kafka_produce_request produce_request(struct arena *a, const char *topic, size_t bytes, int acks) {
    struct str records = batch_of(a, bytes);
    struct kafka_produce_request req;
    kafka_msg_init(&kafka_produce_request_m, &req);
    req.acks = (int16_t)acks;
    req.topic_data.p = KAFKA_ELEMENTS(a, kafka_produce_request_topic_data, 1);
    req.topic_data.n = 1;
    req.topic_data.p->name = str_c(topic);
    req.topic_data.p->partition_data.p = KAFKA_ELEMENTS(a, kafka_produce_request_topic_data_partition_data, 1);
    req.topic_data.p->partition_data.n = 1;
    req.topic_data.p->partition_data.p->records = records;
    return req;
}
static struct kafka_metadata_request metadata_request(struct arena *a, const char *topic) {
    struct kafka_metadata_request req;
    kafka_msg_init(&kafka_metadata_request_m, &req);
    req.topics.p = KAFKA_ELEMENTS(a, kafka_metadata_request_topics, 1);
    req.topics.n = 1;
    req.topics.p->name = str_c(topic);
    return req;
}
static struct kafka_fetch_request fetch_request(struct arena *a, const char *topic, int64_t offset, int max_wait_ms) {
    struct kafka_fetch_request req;
    kafka_msg_init(&kafka_fetch_request_m, &req);
    req.max_wait_ms = max_wait_ms;
    req.min_bytes = 1;
    req.topics.p = KAFKA_ELEMENTS(a, kafka_fetch_request_topics, 1);
    req.topics.n = 1;
    req.topics.p->topic = str_c(topic);
    req.topics.p->partitions.p = KAFKA_ELEMENTS(a, kafka_fetch_request_topics_partitions, 2);
    req.topics.p->partitions.n = 2;
    for (int i = 0; i < 2; i++) {
        req.topics.p->partitions.p[i].partition = i;
        req.topics.p->partitions.p[i].fetch_offset = offset;
        req.topics.p->partitions.p[i].partition_max_bytes = 1 << 20;
    }
    return req;
}

// ---- tests --------------------------------------------------------------------------------------------------------------------
static void test_api_versions(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_api_versions_request req = {.client_software_name = STR("x"), .client_software_version = STR("1")};
    struct kafka_api_versions_response res;
    req.node_id = -1;
    for (int v = 0; v <= 5; v++) {
        request(&c, KAFKA_API_API_VERSIONS, v, v, &req);
        response(&c, KAFKA_API_API_VERSIONS, v, v, &a, &res);
        assert_int_equal(res.error_code, 0);
        assert_int_equal(res.api_keys.n, kafka_handlers_n);
        assert_true(v >= 3 ? res.finalized_features.n > 0 : res.finalized_features.n == 0);
        assert_int_equal(res.finalized_features_epoch, v >= 3 ? 7 : -1);
        for (int32_t i = 0; i < res.supported_features.n; i++) assert_true(v >= 4 || res.supported_features.p[i].min_version > 0);
        for (int32_t i = 0; i < res.api_keys.n; i++)
            if (res.api_keys.p[i].api_key == KAFKA_API_PRODUCE) assert_int_equal(res.api_keys.p[i].min_version, 0);
    }
    // too new: answered in version 0 with our range, and the connection goes on (KIP-511)
    static const uint8_t too_new[] = {0, 0, 0, 15, 0, 18, 0, 99, 0, 0, 0, 5, 0, 4, 't', 'e', 's', 't', 0};
    client_send(&c, too_new, sizeof too_new);
    response(&c, KAFKA_API_API_VERSIONS, 0, 5, &a, &res);
    assert_int_equal(res.error_code, KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(res.api_keys.n, 1);
    assert_int_equal(res.api_keys.p[0].max_version, 5);
    // v5 names cluster and node; a wrong one means that the client was led astray
    req.cluster_id = STR("another-cluster");
    request(&c, KAFKA_API_API_VERSIONS, 5, 7, &req);
    response(&c, KAFKA_API_API_VERSIONS, 5, 7, &a, &res);
    assert_int_equal(res.error_code, KAFKA_REBOOTSTRAP_REQUIRED);
    req.cluster_id = (struct str){NULL, 0};
    request(&c, KAFKA_API_API_VERSIONS, 3, 6, &req);
    response(&c, KAFKA_API_API_VERSIONS, 3, 6, &a, &res);
    client_close(&c);
    arena_fini(&a);
}

// What needs a feature that is off: UNSUPPORTED_VERSION where the response has its place for errors.
static void test_features_off(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct str ids[] = {STR("one"), STR("two")};
    struct kafka_consumer_group_describe_request describe = {.group_ids = {ids, 2}};
    struct kafka_consumer_group_describe_response described;
    struct kafka_share_group_heartbeat_request beat;
    struct kafka_share_group_heartbeat_response beaten;
    kafka_msg_init(&kafka_share_group_heartbeat_request_m, &beat);
    for (int16_t level = 0; level < 2; level++) {
        stub_levels[FEATURE_GROUP] = stub_levels[FEATURE_SHARE] = level;
        request(&c, KAFKA_API_CONSUMER_GROUP_DESCRIBE, 1, 1, &describe);
        response(&c, KAFKA_API_CONSUMER_GROUP_DESCRIBE, 1, 1, &a, &described);
        assert_int_equal(described.groups.n, 2);
        for (int32_t i = 0; i < 2; i++) {
            assert_true(str_eq(described.groups.p[i].group_id, ids[i]));
            assert_int_equal(described.groups.p[i].error_code, level == 0 ? KAFKA_UNSUPPORTED_VERSION : 0);
        }
        request(&c, KAFKA_API_SHARE_GROUP_HEARTBEAT, 1, 2, &beat);
        response(&c, KAFKA_API_SHARE_GROUP_HEARTBEAT, 1, 2, &a, &beaten);
        assert_int_equal(beaten.error_code, level == 0 ? KAFKA_UNSUPPORTED_VERSION : 0);
    }
    stub_levels[FEATURE_SHARE] = 2;
    client_close(&c);
    arena_fini(&a);
}

static void test_metadata(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_metadata_response res;
    struct kafka_metadata_request req = metadata_request(&a, "new");
    for (int v = 0; v <= 13; v++) {
        request(&c, KAFKA_API_METADATA, v, v, &req);
        response(&c, KAFKA_API_METADATA, v, v, &a, &res);
        assert_int_equal(res.topics.n, 1);
        assert_int_equal(res.topics.p[0].error_code, 0);
        assert_int_equal(res.topics.p[0].partitions.n, 2);
        assert_true(str_eqc(res.brokers.p[0].host, "mill.example"));
        assert_int_equal(res.brokers.p[0].port, kafka_door_port(door));
    }
    assert_int_equal(fake.n_topics, 2); // created once
    req = metadata_request(&a, "!bad");
    request(&c, KAFKA_API_METADATA, 9, 20, &req);
    response(&c, KAFKA_API_METADATA, 9, 20, &a, &res);
    assert_int_equal(res.topics.p[0].error_code, KAFKA_INVALID_TOPIC_EXCEPTION);
    req = metadata_request(&a, "not-made");
    req.allow_auto_topic_creation = false;
    request(&c, KAFKA_API_METADATA, 9, 21, &req);
    response(&c, KAFKA_API_METADATA, 9, 21, &a, &res);
    assert_int_equal(res.topics.p[0].error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    req.topics.n = -1; // null: all
    request(&c, KAFKA_API_METADATA, 9, 22, &req);
    response(&c, KAFKA_API_METADATA, 9, 22, &a, &res);
    assert_int_equal(res.topics.n, 2);
    req = metadata_request(&a, "t");
    req.topics.p->name = (struct str){NULL, 0}; // by id, 12 and later
    memset(req.topics.p->topic_id.b, 1, 16);
    request(&c, KAFKA_API_METADATA, 12, 23, &req);
    response(&c, KAFKA_API_METADATA, 12, 23, &a, &res);
    assert_true(str_eqc(res.topics.p[0].name, "t"));
    req.topics.p->name = STR(""); // what Java's client leaves beside the id
    request(&c, KAFKA_API_METADATA, 12, 25, &req);
    response(&c, KAFKA_API_METADATA, 12, 25, &a, &res);
    assert_int_equal(res.topics.p[0].error_code, 0);
    assert_true(str_eqc(res.topics.p[0].name, "t"));
    memset(req.topics.p->topic_id.b, 99, 16);
    request(&c, KAFKA_API_METADATA, 12, 24, &req);
    response(&c, KAFKA_API_METADATA, 12, 24, &a, &res);
    assert_int_equal(res.topics.p[0].error_code, KAFKA_UNKNOWN_TOPIC_ID);
    assert_null(res.topics.p[0].name.p);
    client_close(&c);
    arena_fini(&a);
}

static void release_reversed(void *arg) {
    (void)arg;
    for (size_t i = fake.n_held; i-- > 0;) fake.held[i]->done(fake.held[i]);
}

static void test_pipeline_in_order(void **state) { // three Produce at once, durable in the opposite order; Metadata behind them waits
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    fake.hold = true;
    struct buf all = {0};
    for (int i = 0; i < 3; i++) {
        struct kafka_produce_request req = produce_request(&a, "t", BATCH_BYTES, -1);
        request_bytes(&all, KAFKA_API_PRODUCE, 7 + i, 100 + i, &req);
    }
    struct kafka_metadata_request meta = metadata_request(&a, "later");
    request_bytes(&all, KAFKA_API_METADATA, 4, 103, &meta);
    client_send(&c, all.p, all.n);
    await(three_held);
    assert_int_equal(fake.n_topics, 1); // Metadata did not run yet
    loop_post(loop, release_reversed, NULL);
    for (int i = 0; i < 3; i++) {
        struct kafka_produce_response res;
        response(&c, KAFKA_API_PRODUCE, 7 + i, 100 + i, &a, &res);
        assert_int_equal(res.responses.p[0].partition_responses.p[0].base_offset, i);
    }
    struct kafka_metadata_response mres;
    response(&c, KAFKA_API_METADATA, 4, 103, &a, &mres);
    assert_int_equal(fake.n_topics, 2);
    buf_fini(&all);
    client_close(&c);
    arena_fini(&a);
}

static void test_acks(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_produce_request req = produce_request(&a, "t", BATCH_BYTES, 0);
    request(&c, KAFKA_API_PRODUCE, 8, 1, &req); // no answer
    req = produce_request(&a, "absent", BATCH_BYTES, 1);
    request(&c, KAFKA_API_PRODUCE, 8, 2, &req);
    struct kafka_produce_response res;
    response(&c, KAFKA_API_PRODUCE, 8, 2, &a, &res);
    assert_int_equal(res.responses.p[0].partition_responses.p[0].error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    req = produce_request(&a, "t", BATCH_BYTES, 5);
    request(&c, KAFKA_API_PRODUCE, 8, 3, &req);
    response(&c, KAFKA_API_PRODUCE, 8, 3, &a, &res);
    assert_int_equal(res.responses.p[0].partition_responses.p[0].error_code, KAFKA_INVALID_REQUIRED_ACKS);
    req = produce_request(&a, "t", BATCH_BYTES, -1);
    req.transactional_id = STR("tx");
    request(&c, KAFKA_API_PRODUCE, 8, 4, &req);
    response(&c, KAFKA_API_PRODUCE, 8, 4, &a, &res);
    assert_int_equal(res.responses.p[0].partition_responses.p[0].error_code, 0); // the broker says more
    req = produce_request(&a, "", BATCH_BYTES, -1); // by topic id
    memset(req.topic_data.p->topic_id.b, 1, 16);
    request(&c, KAFKA_API_PRODUCE, 13, 5, &req);
    response(&c, KAFKA_API_PRODUCE, 13, 5, &a, &res);
    assert_int_equal(res.responses.p[0].partition_responses.p[0].error_code, 0);
    memset(req.topic_data.p->topic_id.b, 77, 16);
    request(&c, KAFKA_API_PRODUCE, 13, 6, &req);
    response(&c, KAFKA_API_PRODUCE, 13, 6, &a, &res);
    assert_int_equal(res.responses.p[0].partition_responses.p[0].error_code, KAFKA_UNKNOWN_TOPIC_ID);
    client_close(&c);
    arena_fini(&a);
}

static void test_large_frame_in_pieces(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    size_t n = 6 << 20; // more than the loop's scratch and than one memory step
    struct kafka_produce_request req = produce_request(&a, "t", n, -1);
    struct buf b = {0};
    request_bytes(&b, KAFKA_API_PRODUCE, 9, 1, &req);
    struct kafka_metadata_request meta = metadata_request(&a, "t");
    request_bytes(&b, KAFKA_API_METADATA, 4, 2, &meta);
    for (size_t at = 0; at < 40; at++) client_send(&c, b.p + at, 1);
    client_send(&c, b.p + 40, b.n - 40);
    struct kafka_produce_response res;
    response(&c, KAFKA_API_PRODUCE, 9, 1, &a, &res);
    assert_int_equal(fake.produced_bytes, n);
    struct kafka_metadata_response mres;
    response(&c, KAFKA_API_METADATA, 4, 2, &a, &mres);
    buf_fini(&b);
    client_close(&c);
    arena_fini(&a);
}

static void release_first(void *arg) {
    (void)arg;
    sys_mutex_lock(&fake.mutex);
    struct broker_produce *p = fake.held[0];
    fake.n_held--;
    memmove(fake.held, fake.held + 1, fake.n_held * sizeof fake.held[0]);
    sys_mutex_unlock(&fake.mutex);
    p->done(p);
}

static void test_frame_memory(void **state) { // room for one request of three: the others are not read until it is answered
    (void)state;
    struct arena a = {0};
    struct client c[3], other = client_open();
    size_t n = 150 << 10;
    struct kafka_produce_request req = produce_request(&a, "t", n, -1);
    fake.hold = true;
    for (int i = 0; i < 3; i++) {
        c[i] = client_open();
        request(&c[i], KAFKA_API_PRODUCE, 9, i, &req);
        await(one_held);
    }
    struct kafka_metadata_request meta = metadata_request(&a, "t"); // a small one finds room
    struct kafka_metadata_response mres;
    request(&other, KAFKA_API_METADATA, 4, 2, &meta);
    response(&other, KAFKA_API_METADATA, 4, 2, &a, &mres);
    assert_int_equal(fake.produced_bytes, n);
    struct kafka_produce_response res;
    loop_post(loop, release_first, NULL);
    response(&c[0], KAFKA_API_PRODUCE, 9, 0, &a, &res);
    await(one_held);
    assert_int_equal(fake.produced_bytes, 2 * n);
    fake.hold = false;
    loop_post(loop, release_first, NULL);
    response(&c[1], KAFKA_API_PRODUCE, 9, 1, &a, &res);
    response(&c[2], KAFKA_API_PRODUCE, 9, 2, &a, &res);
    for (int i = 0; i < 3; i++) client_close(&c[i]);
    client_close(&other);
    arena_fini(&a);
}

static void data_arrives(void *arg) {
    (void)arg;
    memset(fake.data, 'd', sizeof fake.data);
    fake.data_n = sizeof fake.data;
    struct broker_wait *w = fake.waits[0];
    w->fn(w);
}

static void test_fetch_long_poll(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_fetch_request req = fetch_request(&a, "t", 0, 60000);
    request(&c, KAFKA_API_FETCH, 11, 1, &req);
    await(one_wait);
    loop_post(loop, data_arrives, NULL);
    struct kafka_fetch_response res;
    response(&c, KAFKA_API_FETCH, 11, 1, &a, &res);
    assert_int_equal(res.session_id, 0);
    assert_int_equal(res.responses.p[0].partitions.p[0].records.n, sizeof fake.data);
    assert_memory_equal(res.responses.p[0].partitions.p[0].records.p, fake.data, sizeof fake.data);
    assert_int_equal(res.responses.p[0].partitions.p[0].high_watermark, 1);
    assert_int_equal(res.responses.p[0].partitions.p[1].records.n, 0);
    assert_non_null(res.responses.p[0].partitions.p[1].records.p); // empty, not null
    fake.data_n = 0;
    req = fetch_request(&a, "t", 0, 1); // time-out
    request(&c, KAFKA_API_FETCH, 12, 2, &req);
    response(&c, KAFKA_API_FETCH, 12, 2, &a, &res);
    assert_int_equal(res.responses.p[0].partitions.p[0].error_code, 0);
    req = fetch_request(&a, "absent", 0, 60000); // an error is answered at once
    request(&c, KAFKA_API_FETCH, 4, 3, &req);
    response(&c, KAFKA_API_FETCH, 4, 3, &a, &res);
    assert_int_equal(res.responses.p[0].partitions.p[0].error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    req = fetch_request(&a, "t", 11, 60000);
    request(&c, KAFKA_API_FETCH, 4, 4, &req);
    response(&c, KAFKA_API_FETCH, 4, 4, &a, &res);
    assert_int_equal(res.responses.p[0].partitions.p[0].error_code, KAFKA_OFFSET_OUT_OF_RANGE);
    req = fetch_request(&a, "", 0, 60000); // by an unknown id
    request(&c, KAFKA_API_FETCH, 16, 5, &req);
    response(&c, KAFKA_API_FETCH, 16, 5, &a, &res);
    assert_int_equal(res.responses.p[0].partitions.p[0].error_code, KAFKA_UNKNOWN_TOPIC_ID);
    req.session_id = 17;
    req.session_epoch = 1;
    request(&c, KAFKA_API_FETCH, 11, 6, &req);
    response(&c, KAFKA_API_FETCH, 11, 6, &a, &res);
    assert_int_equal(res.error_code, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    client_close(&c);
    arena_fini(&a);
}

static void both_arrive(void *arg) { // the second while the first one's answer is held back
    data_arrives(arg);
    struct broker_wait *w = fake.waits[1];
    if (fake.n_removed == 0) w->fn(w);
}

static void test_fetch_together(void **state) { // what is being synced when there is enough already
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    fake.in_memory = fake.soon = true;
    struct kafka_fetch_request req = fetch_request(&a, "t", 0, 60000);
    struct kafka_fetch_response res;
    for (int both = 1; both >= 0; both--) {
        fake.data_n = fake.n_waits = fake.n_removed = 0;
        request(&c, KAFKA_API_FETCH, 11, 1, &req);
        await(two_waits);
        loop_post(loop, both ? both_arrive : data_arrives, NULL);
        response(&c, KAFKA_API_FETCH, 11, 1, &a, &res);
        assert_int_equal(res.responses.p[0].partitions.p[0].records.n, sizeof fake.data);
        assert_int_equal(res.responses.p[0].partitions.p[1].records.n, both ? sizeof fake.data : 0); // it does not come: a moment, no more
    }
    client_close(&c);
    arena_fini(&a);
}

static void test_close_while_waiting(void **state) { // a client that goes away leaves no wait behind
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_fetch_request req = fetch_request(&a, "t", 0, 60000);
    request(&c, KAFKA_API_FETCH, 11, 1, &req);
    await(one_wait);
    client_close(&c);
    await(two_removed);
    fake.hold = true;
    c = client_open();
    struct kafka_produce_request p = produce_request(&a, "t", BATCH_BYTES, -1);
    request(&c, KAFKA_API_PRODUCE, 8, 1, &p);
    await(one_held);
    client_close(&c);
    loop_post(loop, release_reversed, NULL); // the answer has nobody to go to; teardown waits for it
    arena_fini(&a);
}

static void test_close_door(void **state) { // the connection on which a fetch waits is the last one
    (void)state;
    struct arena a = {0};
    struct client c[3];
    for (int i = 0; i < 3; i++) { // the waiting one is in the middle
        c[i] = client_open();
        struct kafka_fetch_request req = fetch_request(&a, "t", 0, i == 1 ? 60000 : 0);
        request(&c[i], KAFKA_API_FETCH, 11, 1, &req);
        struct kafka_fetch_response res;
        if (i == 1) await(two_waits);
        else response(&c[i], KAFKA_API_FETCH, 11, 1, &a, &res);
    }
    kafka_door_close(door);
    door = NULL;
    assert_int_equal(fake.n_removed, 2);
    assert_int_equal(fake.open_at_remove, 0);
    for (int i = 0; i < 3; i++) client_close(&c[i]);
    arena_fini(&a);
}

static void expect_closed(const void *bytes, size_t n, const char *reason) {
    int64_t before = metric_get(M_KAFKA_REJECTED, reason);
    struct client c = client_open();
    client_send(&c, bytes, n);
    uint8_t b;
    assert_false(client_read(&c, &b, 1));
    if (metric_get(M_KAFKA_REJECTED, reason) != before + 1) fail_msg("not closed for: %s", reason);
    client_close(&c);
}

static void test_bad_bytes(void **state) {
    (void)state;
    struct arena a = {0};
    struct client other = client_open();
    expect_closed("\xFF\xFF\xFF\xFF\0\0\0\0", 8, "frame size too small");
    expect_closed("\0\0\0\2\0\0", 6, "frame size too small");
    expect_closed("\x7F\0\0\0\0\0", 6, "frame too large");
    expect_closed("GET / HTTP/1.1\r\n\r\n", 18, "HTTP on the Kafka port");
    expect_closed("\x16\x03\x01\x02\x00", 5, "TLS on a plaintext port");
    expect_closed("\0\0\0\x0A\x7F\0\0\0\0\0\0\1\xFF\xFF", 14, "API not supported");
    expect_closed("\0\0\0\x0A\0\x03\0\x63\0\0\0\1\xFF\xFF", 14, "API version not supported");
    expect_closed("\0\0\0\x0A\0\x00\0\x02\0\0\0\1\xFF\xFF", 14, "API version not supported"); // Produce v2
    expect_closed("\0\0\0\x0A\0\x03\0\x01\0\0\0\1\x7F\xFF", 14, "bad request header");
    expect_closed("\0\0\0\x0E\0\x03\0\x01\0\0\0\1\xFF\xFF\x7F\xFF\xFF\xFF", 18, "malformed request");
    uint64_t seed = 42;
    for (int round = 0; round < 200; round++) { // random bytes: whatever happens, the door stays
        uint8_t junk[64];
        for (size_t i = 0; i < sizeof junk; i++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            junk[i] = (uint8_t)(seed >> 33);
        }
        memcpy(junk, "\0\0\0\x3C\0", 5); // a frame of 60 bytes, a low API key
        junk[5] %= 64, junk[6] = 0, junk[7] %= 12;
        struct client c = client_open();
        client_send(&c, junk, sizeof junk);
        client_close(&c);
    }
    struct kafka_metadata_request meta = metadata_request(&a, "t"); // the other one goes on
    struct kafka_metadata_response mres;
    request(&other, KAFKA_API_METADATA, 4, 2, &meta);
    response(&other, KAFKA_API_METADATA, 4, 2, &a, &mres);
    client_close(&other);
    arena_fini(&a);
}

static void test_offsets_configs_groups(void **state) {
    (void)state;
    struct arena a = {0};
    struct client c = client_open();
    struct kafka_list_offsets_request lo;
    struct kafka_list_offsets_response lor;
    kafka_msg_init(&kafka_list_offsets_request_m, &lo);
    lo.topics.p = KAFKA_ELEMENTS(&a, kafka_list_offsets_request_topics, 1);
    lo.topics.n = 1;
    lo.topics.p->name = STR("t");
    static const int64_t at[] = {-1, -2, -3, -4, -5, -6, 1234, -9};
    static const int64_t want[] = {0, 0, 7, 0, -1, -1, 3, -1};
    lo.topics.p->partitions.p = KAFKA_ELEMENTS(&a, kafka_list_offsets_request_topics_partitions, 8);
    lo.topics.p->partitions.n = 8;
    for (int i = 0; i < 8; i++) {
        lo.topics.p->partitions.p[i].partition_index = i;
        lo.topics.p->partitions.p[i].timestamp = at[i];
    }
    request(&c, KAFKA_API_LIST_OFFSETS, 11, 1, &lo);
    response(&c, KAFKA_API_LIST_OFFSETS, 11, 1, &a, &lor);
    for (int i = 0; i < 8; i++) assert_int_equal(lor.topics.p[0].partitions.p[i].offset, want[i]);
    assert_int_equal(lor.topics.p[0].partitions.p[2].timestamp, 700);
    assert_int_equal(lor.topics.p[0].partitions.p[7].error_code, KAFKA_UNSUPPORTED_VERSION);

    struct kafka_incremental_alter_configs_request ac;
    struct kafka_incremental_alter_configs_response acr;
    kafka_msg_init(&kafka_incremental_alter_configs_request_m, &ac);
    ac.resources.p = KAFKA_ELEMENTS(&a, kafka_incremental_alter_configs_request_resources, 1);
    ac.resources.n = 1;
    ac.resources.p->resource_type = 2;
    ac.resources.p->resource_name = STR("t");
    ac.resources.p->configs.p = KAFKA_ELEMENTS(&a, kafka_incremental_alter_configs_request_resources_configs, 1);
    ac.resources.p->configs.n = 1;
    ac.resources.p->configs.p->name = STR("cleanup.policy");
    ac.resources.p->configs.p->config_operation = 2; // append
    ac.resources.p->configs.p->value = STR("compact,delete");
    request(&c, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 1, 2, &ac);
    response(&c, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 1, 2, &a, &acr);
    assert_int_equal(acr.responses.p[0].error_code, 0);
    assert_string_equal(altered, "delete,compact");
    ac.resources.p->configs.p->config_operation = 3; // subtract
    ac.resources.p->configs.p->value = STR("delete");
    request(&c, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 1, 3, &ac);
    response(&c, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 1, 3, &a, &acr);
    assert_string_equal(altered, "");

    struct kafka_join_group_request jg;
    struct kafka_join_group_response jgr;
    kafka_msg_init(&kafka_join_group_request_m, &jg);
    jg.group_id = STR("g");
    request(&c, KAFKA_API_JOIN_GROUP, 5, 4, &jg);
    response(&c, KAFKA_API_JOIN_GROUP, 5, 4, &a, &jgr);
    assert_int_equal(jgr.error_code, KAFKA_MEMBER_ID_REQUIRED);
    assert_true(str_eqc(jgr.member_id, "m-1"));

    struct kafka_offset_fetch_request of;
    struct kafka_offset_fetch_response ofr;
    kafka_msg_init(&kafka_offset_fetch_request_m, &of);
    of.group_id = STR("g");
    int32_t partitions[] = {2, 0};
    of.topics.p = KAFKA_ELEMENTS(&a, kafka_offset_fetch_request_topics, 1);
    of.topics.n = 1;
    of.topics.p->name = STR("t");
    of.topics.p->partition_indexes.p = partitions;
    of.topics.p->partition_indexes.n = 2;
    request(&c, KAFKA_API_OFFSET_FETCH, 5, 5, &of);
    response(&c, KAFKA_API_OFFSET_FETCH, 5, 5, &a, &ofr);
    assert_int_equal(ofr.topics.p[0].partitions.p[0].committed_offset, 42);
    assert_int_equal(ofr.topics.p[0].partitions.p[1].committed_offset, 40);

    struct kafka_describe_groups_request dg;
    struct kafka_describe_groups_response dgr;
    struct str groups[] = {STR("g1"), STR("g2")};
    kafka_msg_init(&kafka_describe_groups_request_m, &dg);
    dg.groups.p = groups;
    dg.groups.n = 2;
    for (int v = 5; v <= 6; v++) {
        request(&c, KAFKA_API_DESCRIBE_GROUPS, v, v, &dg);
        response(&c, KAFKA_API_DESCRIBE_GROUPS, v, v, &a, &dgr);
        assert_int_equal(dgr.groups.p[1].error_code, v >= 6 ? KAFKA_GROUP_ID_NOT_FOUND : 0);
        assert_true(str_eqc(dgr.groups.p[1].group_state, "Dead"));
        assert_true(str_eqc(dgr.groups.p[1].group_id, "g2"));
    }

    struct kafka_find_coordinator_request fc;
    struct kafka_find_coordinator_response fcr;
    kafka_msg_init(&kafka_find_coordinator_request_m, &fc);
    fc.key = STR("g");
    request(&c, KAFKA_API_FIND_COORDINATOR, 2, 9, &fc);
    response(&c, KAFKA_API_FIND_COORDINATOR, 2, 9, &a, &fcr);
    assert_int_equal(fcr.port, kafka_door_port(door));
    fc.key_type = 1; // transactions
    request(&c, KAFKA_API_FIND_COORDINATOR, 2, 10, &fc);
    response(&c, KAFKA_API_FIND_COORDINATOR, 2, 10, &a, &fcr);
    assert_int_equal(fcr.error_code, 0);
    assert_int_equal(fcr.port, kafka_door_port(door));
    fc.key_type = 9;
    request(&c, KAFKA_API_FIND_COORDINATOR, 2, 11, &fc);
    response(&c, KAFKA_API_FIND_COORDINATOR, 2, 11, &a, &fcr);
    assert_int_equal(fcr.error_code, KAFKA_INVALID_REQUEST);
    client_close(&c);
    arena_fini(&a);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_api_versions),      T(test_features_off),        T(test_metadata),        T(test_pipeline_in_order),
        T(test_acks),              T(test_large_frame_in_pieces), T(test_fetch_long_poll), T(test_fetch_together),
        T(test_close_while_waiting), T(test_close_door), T(test_bad_bytes),         T(test_offsets_configs_groups),
        cmocka_unit_test_setup_teardown(test_frame_memory, setup_small, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
