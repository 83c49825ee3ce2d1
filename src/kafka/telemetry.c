// SPDX-License-Identifier: Apache-2.0
// GetTelemetrySubscriptions and PushTelemetry; see telemetry.h. Metrics are decompressed and decoded on a worker.
#include "kafka/telemetry.h"

#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/dynamic.h"
#include "codec/compress.h"
#include "codec/crc32c.h"
#include "kafka/otlp.h"
#include "loop/metric_sources.h"

enum { INTERVAL_DEFAULT = 300000, IDLE_MIN_US = 60 * 1000000, METRICS_MAX = 16 << 20, NAME_MAX_ = 512, ALL = '*' };

struct telemetry_client {
    uint8_t id[16];
    char *client_id;
    uint64_t version;        // of the configs that it was last matched with
    VEC(char *) metrics;     // prefixes; one "*" = all
    int32_t subscription_id, interval_ms;
    int64_t get_us, push_us, seen_us; // 0 = never
    bool terminating;
    int last_error;
};
struct telemetry_series {
    uint8_t client[16];
    double value;
    bool counter;
};

// ---- clients (under the mutex) ------------------------------------------------------------------------------------------

static void free_client(struct telemetry_client *c) {
    for (size_t i = 0; i < c->metrics.n; i++) mem_free(c->metrics.p[i]);
    vec_fini(&c->metrics);
    mem_free(c->client_id);
    mem_free(c);
}

static void drop_series_of(struct telemetry *t, const uint8_t id[16]) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&t->series, &it)) != NULL;) {
        struct telemetry_series *s = e->value;
        if (memcmp(s->client, id, 16) != 0) continue;
        map_remove(&t->series, str_n(e->key, e->key_len));
        mem_free(s);
    }
}

static bool is_silent(const struct telemetry_client *c, int64_t now) {
    int64_t idle = (int64_t)c->interval_ms * 3000;
    return now - c->seen_us > (idle < IDLE_MIN_US ? IDLE_MIN_US : idle);
}

static void drop_silent(struct telemetry *t, int64_t now) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&t->clients, &it)) != NULL;) {
        struct telemetry_client *c = e->value;
        if (!is_silent(c, now)) continue;
        map_remove(&t->clients, str_n(c->id, 16));
        drop_series_of(t, c->id);
        free_client(c);
    }
}

// ---- subscriptions ------------------------------------------------------------------------------------------------------

static void uuid_base64(const uint8_t id[16], char out[23]) { // as Kafka writes ids
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 0, bit = 0; i < 22; i++, bit += 6) {
        unsigned v = (unsigned)id[bit / 8] << 8 | (bit / 8 + 1 < 16 ? id[bit / 8 + 1] : 0u);
        out[i] = digits[v >> (10 - bit % 8) & 63];
    }
    out[22] = 0;
}

static const char *fact(struct kafka_req *q, const struct telemetry_client *c, struct str name) {
    char id[23];
    if (str_eqc(name, "client_id")) return c->client_id;
    if (str_eqc(name, "client_software_name")) return kafka_req_software(q, false);
    if (str_eqc(name, "client_software_version")) return kafka_req_software(q, true);
    if (str_eqc(name, "client_source_address")) return kafka_req_host(q);
    if (str_eqc(name, "client_source_port")) {
        const char *colon = strrchr(kafka_req_peer(q), ':');
        return colon == NULL ? "" : colon + 1;
    }
    uuid_base64(c->id, id);
    return arena_strdup(&q->arena, id);
}

static bool matches(struct kafka_req *q, const struct telemetry_client *c, const char *match) {
    struct str rest = str_c(match), item, name, pattern;
    while (rest.n > 0) {
        str_cut(rest, ',', &item, &rest);
        if (!str_cut(item, '=', &name, &pattern)) return false;
        pattern = str_trim(pattern);
        if (!broker_pattern_matches(arena_strndup(&q->arena, pattern.p, pattern.n), fact(q, c, str_trim(name)))) return false;
    }
    return true;
}

static void add_metric(struct telemetry_client *c, struct str name) {
    for (size_t i = 0; i < c->metrics.n; i++)
        if (str_eqc(name, c->metrics.p[i])) return;
    vec_add(&c->metrics, mem_strndup(name.p, name.n));
}

static void add_subscription(struct kafka_req *q, struct telemetry_client *c, struct str name) {
    struct broker_config_entry *e;
    const char *match = "", *metrics = "";
    int64_t interval = INTERVAL_DEFAULT;
    size_t n = broker_resource_describe(kafka_req_broker(q), RESOURCE_CLIENT_METRICS, name, &q->arena, &e);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(e[i].name, "match") == 0) match = e[i].value;
        if (strcmp(e[i].name, "metrics") == 0) metrics = e[i].value;
        if (strcmp(e[i].name, "interval.ms") == 0) (void)str_to_i64(str_c(e[i].value), &interval);
    }
    if (!matches(q, c, match)) return;
    if (interval < c->interval_ms) c->interval_ms = (int32_t)interval;
    struct str rest = str_c(metrics), item;
    while (rest.n > 0) {
        str_cut(rest, ',', &item, &rest);
        if (str_trim(item).n > 0) add_metric(c, str_trim(item));
    }
}

// What the client is to push, by the subscriptions of now.
static void subscribe(struct kafka_req *q, struct telemetry_client *c) {
    struct str *names;
    c->version = broker_config_version(kafka_req_broker(q));
    for (size_t i = 0; i < c->metrics.n; i++) mem_free(c->metrics.p[i]);
    c->metrics.n = 0;
    c->interval_ms = INTERVAL_DEFAULT;
    size_t n = broker_resource_names(kafka_req_broker(q), RESOURCE_CLIENT_METRICS, &q->arena, &names);
    for (size_t i = 0; i < n; i++) add_subscription(q, c, names[i]);
    for (size_t i = 0; i < c->metrics.n; i++) {
        if (strcmp(c->metrics.p[i], "*") != 0) continue;
        for (size_t k = 0; k < c->metrics.n; k++) mem_free(c->metrics.p[k]);
        c->metrics.n = 0;
        add_metric(c, STR("*"));
    }
    uint32_t crc = 0, id = 0;
    for (size_t i = 0; i < c->metrics.n; i++) crc = crc32c(crc, c->metrics.p[i], strlen(c->metrics.p[i]) + 1);
    crc = crc32c(crc, &c->interval_ms, sizeof c->interval_ms);
    for (int i = 0; i < 16; i += 4) id ^= (uint32_t)c->id[i] << 24 | (uint32_t)c->id[i + 1] << 16 | (uint32_t)c->id[i + 2] << 8 | c->id[i + 3];
    c->subscription_id = (int32_t)(crc ^ id);
}

static struct telemetry_client *client_of(struct telemetry *t, struct kafka_req *q, const uint8_t id[16], int64_t now) {
    struct telemetry_client *c = map_get(&t->clients, str_n(id, 16));
    if (c == NULL) {
        if (t->clients.n >= TELEMETRY_CLIENTS) drop_silent(t, now);
        if (t->clients.n >= TELEMETRY_CLIENTS) return NULL;
        c = MEM_NEW(struct telemetry_client);
        memcpy(c->id, id, 16);
        size_t n = q->header.client_id.n < 256 ? q->header.client_id.n : 256;
        c->client_id = mem_strndup(q->header.client_id.p == NULL ? "" : q->header.client_id.p, n);
        map_put(&t->clients, str_n(id, 16), c);
        subscribe(q, c);
    } else if (c->version != broker_config_version(kafka_req_broker(q))) {
        int32_t before = c->subscription_id;
        subscribe(q, c);
        if (c->subscription_id != before) c->get_us = c->push_us = 0; // what is new may be asked for at once
    }
    c->seen_us = now;
    return c;
}

// ---- GetTelemetrySubscriptions ------------------------------------------------------------------------------------------

static bool is_zero(const uint8_t id[16]) {
    for (int i = 0; i < 16; i++)
        if (id[i] != 0) return false;
    return true;
}

static int get(struct telemetry *t, struct kafka_req *q, struct kafka_get_telemetry_subscriptions_response *res) {
    static int8_t kinds[] = {COMPRESS_ZSTD, COMPRESS_LZ4, COMPRESS_GZIP, COMPRESS_SNAPPY};
    int64_t now = sys_mono_us(t->sys) + 1; // 0 is never
    struct telemetry_client *c = client_of(t, q, res->client_instance_id.b, now);
    if (c == NULL) return KAFKA_THROTTLING_QUOTA_EXCEEDED;
    int64_t last = c->get_us > c->push_us ? c->get_us : c->push_us;
    bool again = c->last_error == KAFKA_UNKNOWN_SUBSCRIPTION_ID || c->last_error == KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    if (last != 0 && now - last < (int64_t)c->interval_ms * 1000 && !again) return KAFKA_THROTTLING_QUOTA_EXCEEDED;
    c->get_us = now;
    c->last_error = 0;
    res->subscription_id = c->subscription_id;
    res->push_interval_ms = c->interval_ms;
    res->telemetry_max_bytes = (int32_t)broker_config_i64(t->broker, "telemetry.max.bytes", 1 << 20);
    res->delta_temporality = true;
    res->accepted_compression_types.p = kinds;
    res->accepted_compression_types.n = sizeof kinds;
    res->requested_metrics.n = (int32_t)c->metrics.n;
    res->requested_metrics.p = ARENA_ARRAY(&q->arena, struct str, c->metrics.n + 1);
    for (size_t i = 0; i < c->metrics.n; i++) res->requested_metrics.p[i] = str_c(arena_strdup(&q->arena, c->metrics.p[i]));
    return 0;
}

void kafka_do_get_telemetry_subscriptions(struct kafka_req *q) {
    const struct kafka_get_telemetry_subscriptions_request *req = q->msg;
    struct kafka_get_telemetry_subscriptions_response *res = q->res;
    struct telemetry *t = kafka_req_door(q)->telemetry;
    res->client_instance_id = req->client_instance_id;
    sys_mutex_lock(&t->mutex);
    while (is_zero(res->client_instance_id.b)) sys_uuid(t->sys, res->client_instance_id.b);
    res->error_code = (int16_t)get(t, q, res);
    sys_mutex_unlock(&t->mutex);
    kafka_req_done(q);
}

// ---- PushTelemetry ------------------------------------------------------------------------------------------------------

struct pushing {
    struct kafka_req *q;
    struct telemetry *t;
    char id[23];
    const char *client_id;
};

static void put_name(struct buf *out, struct str name) {
    for (size_t i = 0; i < name.n && i < NAME_MAX_; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9');
        buf_put_u8(out, (uint8_t)(ok ? c : '_'));
    }
}

static void put_value(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.n && i < NAME_MAX_; i++) {
        char c = value.p[i];
        if (c == '"' || c == '\\') buf_printf(out, "\\%c", c);
        else if (c == '\n') buf_puts(out, "\\n");
        else buf_put_u8(out, (uint8_t)c);
    }
}

static void keep_point(void *arg, const struct otlp_point *p) {
    struct pushing *x = arg;
    const struct kafka_push_telemetry_request *req = x->q->msg;
    struct buf key;
    buf_init(&key, 16 << 10);
    put_name(&key, p->name);
    buf_printf(&key, "{client_instance_id=\"%s\",client_id=\"", x->id);
    put_value(&key, str_c(x->client_id));
    for (size_t i = 0; i + 1 < p->n_labels; i += 2) {
        buf_puts(&key, "\",");
        put_name(&key, p->labels[i]);
        buf_puts(&key, "=\"");
        put_value(&key, p->labels[i + 1]);
    }
    buf_puts(&key, "\"}");
    sys_mutex_lock(&x->t->mutex);
    struct telemetry_series *s = map_get(&x->t->series, buf_str(&key));
    if (s == NULL && x->t->series.n < TELEMETRY_SERIES && !key.failed) {
        s = MEM_NEW(struct telemetry_series);
        memcpy(s->client, req->client_instance_id.b, 16);
        s->counter = p->sum;
        map_put(&x->t->series, buf_str(&key), s);
    }
    if (s == NULL) metric_add(M_CLIENT_METRICS_DROPPED, NULL, 1);
    else s->value = p->delta ? s->value + p->value : p->value;
    sys_mutex_unlock(&x->t->mutex);
    buf_fini(&key);
}

static void decode(void *arg) { // on a worker
    struct kafka_req *q = arg;
    struct pushing *x = q->state;
    const struct kafka_push_telemetry_request *req = q->msg;
    struct kafka_push_telemetry_response *res = q->res;
    struct err err = {0};
    struct buf plain;
    buf_init(&plain, METRICS_MAX);
    enum err_code code = decompress_bytes((enum compress_kind)req->compression_type, req->metrics, METRICS_MAX, &plain, &err);
    if (code == ERR_OK) code = otlp_read(buf_str(&plain), keep_point, x, &err);
    buf_fini(&plain);
    if (code == ERR_OK) return;
    log_warn("kafka", "client metrics not readable", "peer", kafka_req_peer(q), "error", err.msg, NULL);
    res->error_code = KAFKA_INVALID_RECORD;
}

static void decoded(void *arg) { kafka_req_done(arg); }

static int check_push(struct telemetry *t, const struct kafka_push_telemetry_request *req, struct telemetry_client *c, int64_t now) {
    if (c->terminating) return KAFKA_INVALID_REQUEST;
    bool may = c->get_us > c->push_us || c->push_us == 0 || now - c->push_us >= (int64_t)c->interval_ms * 1000;
    if (!may && !req->terminating) return KAFKA_THROTTLING_QUOTA_EXCEEDED;
    c->push_us = now;
    if (req->subscription_id != c->subscription_id) return KAFKA_UNKNOWN_SUBSCRIPTION_ID;
    if (compress_name(req->compression_type) == NULL) return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    return (int64_t)req->metrics.n > broker_config_i64(t->broker, "telemetry.max.bytes", 1 << 20) ? KAFKA_TELEMETRY_TOO_LARGE : 0;
}

void kafka_do_push_telemetry(struct kafka_req *q) {
    const struct kafka_push_telemetry_request *req = q->msg;
    struct kafka_push_telemetry_response *res = q->res;
    struct telemetry *t = kafka_req_door(q)->telemetry;
    int64_t now = sys_mono_us(t->sys) + 1;
    struct pushing *x = ARENA_NEW(&q->arena, struct pushing);
    *x = (struct pushing){.q = q, .t = t};
    q->state = x;
    int error = KAFKA_INVALID_REQUEST;
    if (!is_zero(req->client_instance_id.b)) {
        sys_mutex_lock(&t->mutex);
        struct telemetry_client *c = client_of(t, q, req->client_instance_id.b, now);
        error = c == NULL ? KAFKA_THROTTLING_QUOTA_EXCEEDED : check_push(t, req, c, now);
        if (c != NULL) {
            c->last_error = error;
            c->terminating |= req->terminating;
            x->client_id = arena_strdup(&q->arena, c->client_id);
            uuid_base64(c->id, x->id);
        }
        sys_mutex_unlock(&t->mutex);
    }
    res->error_code = (int16_t)error;
    if (error != 0 || req->metrics.n == 0) kafka_req_done(q);
    else if (!kafka_req_submit(q, decode, decoded)) kafka_req_reject(q, "too many administrative requests");
}

// ---- the door's -----------------------------------------------------------------------------------------------------------

void telemetry_init(struct telemetry *t, struct broker *b, struct sys *s) {
    *t = (struct telemetry){.broker = b, .sys = s};
    sys_mutex_init(&t->mutex);
    map_init(&t->clients);
    map_init(&t->series);
    (void)metric_sources_add(telemetry_render, t);
}

void telemetry_fini(struct telemetry *t) {
    struct map_entry *e;
    metric_sources_remove(telemetry_render, t);
    for (size_t it = 0; (e = map_next(&t->clients, &it)) != NULL;) free_client(e->value);
    for (size_t it = 0; (e = map_next(&t->series, &it)) != NULL;) mem_free(e->value);
    map_fini(&t->clients);
    map_fini(&t->series);
    sys_mutex_fini(&t->mutex);
}

static int by_key(const void *a, const void *b) {
    const struct map_entry *x = *(struct map_entry *const *)a, *y = *(struct map_entry *const *)b;
    return str_cmp(str_n(x->key, x->key_len), str_n(y->key, y->key_len));
}

void telemetry_render(void *telemetry, struct buf *out) {
    struct telemetry *t = telemetry;
    struct map_entry *e;
    VEC(struct map_entry *) v = {0};
    struct str before = STR("");
    sys_mutex_lock(&t->mutex);
    drop_silent(t, sys_mono_us(t->sys));
    for (size_t it = 0; (e = map_next(&t->series, &it)) != NULL;) vec_add(&v, e);
    if (v.n > 1) qsort(v.p, v.n, sizeof *v.p, by_key);
    for (size_t i = 0; i < v.n; i++) {
        const struct telemetry_series *s = v.p[i]->value;
        struct str name, rest;
        str_cut(str_n(v.p[i]->key, v.p[i]->key_len), '{', &name, &rest);
        if (!str_eq(name, before)) buf_printf(out, "# TYPE " STR_FMT " %s\n", STR_ARG(name), s->counter ? "counter" : "gauge");
        before = name;
        buf_put_str(out, str_n(v.p[i]->key, v.p[i]->key_len));
        if (isfinite(s->value)) buf_printf(out, " %.17g\n", s->value);
        else buf_puts(out, isnan(s->value) ? " NaN\n" : s->value > 0 ? " +Inf\n" : " -Inf\n");
    }
    sys_mutex_unlock(&t->mutex);
    vec_fini(&v);
}
