// SPDX-License-Identifier: Apache-2.0
// Quotas: see quota.h. An entity's key, in the store and in memory: per part a letter (u, c, i) and "*" for the default, or "=", the name's length
// in four hexadecimal digits, and the name. Its record: lines "quota=value".
#include "kafka/quota.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "broker/dynamic.h"
#include "broker/store.h"

enum { SENSORS_MAX = 10000, NAME_MAX_ = 1000, KEY_MAX = 3 * NAME_MAX_ + 32 };

const char *const quota_names[QUOTA_KEYS] = {"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate",
                                             "connection_creation_rate"};

struct limit {
    struct quota_entity entity; // names in `key` of the map's entry
    double values[QUOTA_KEYS];  // NaN = not set
};

struct sensor {
    struct quota_rate rate; // of all but mutations
    double tokens;          // of mutations
    int64_t last_us;
    bool bucket;
};

// ---- entities -----------------------------------------------------------------------------------------------------------

static void put_part(struct buf *out, char letter, const struct quota_part *p) {
    if (!p->set) return;
    buf_put_u8(out, (uint8_t)letter);
    if (p->name.p == NULL) buf_put_u8(out, '*');
    else {
        buf_printf(out, "=%04zx", p->name.n);
        buf_put_str(out, p->name);
    }
}

static void put_entity(struct buf *out, const struct quota_entity *e) {
    put_part(out, 'u', &e->user);
    put_part(out, 'c', &e->client);
    put_part(out, 'i', &e->ip);
}

static bool hex_length(struct str digits, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = digits.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        *n = *n * 16 + (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static bool parse_entity(struct str key, struct quota_entity *e) {
    *e = (struct quota_entity){0};
    while (key.n >= 2) {
        struct quota_part *p = key.p[0] == 'u' ? &e->user : key.p[0] == 'c' ? &e->client : &e->ip;
        size_t n;
        p->set = true;
        if (key.p[1] == '*') {
            key = str_n(key.p + 2, key.n - 2);
            continue;
        }
        if (key.n < 6 || !hex_length(str_n(key.p + 2, 4), &n) || key.n < 6 + n) return false;
        p->name = str_n(key.p + 6, n);
        key = str_n(key.p + 6 + n, key.n - 6 - n);
    }
    return key.n == 0;
}

// ---- limits -------------------------------------------------------------------------------------------------------------

static void set_active(struct quotas *q) {
    struct map_entry *e;
    bool users = false, ips = false;
    for (size_t it = 0; (e = map_next(&q->limits, &it)) != NULL;) {
        const struct limit *l = e->value;
        if (l->entity.ip.set) ips = true;
        else users = true;
    }
    atomic_store(&q->active, users);
    atomic_store(&q->ip_active, ips);
}

static void drop_limit(struct quotas *q, struct str key) {
    struct limit *l = map_remove(&q->limits, key);
    mem_free(l);
}

static void put_limit(struct quotas *q, struct str key, const double values[QUOTA_KEYS]) {
    struct limit *l = MEM_NEW(struct limit);
    memcpy(l->values, values, sizeof l->values);
    drop_limit(q, key);
    map_put(&q->limits, key, l);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&q->limits, &it)) != NULL;)
        if (e->value == l) (void)parse_entity(str_n(e->key, e->key_len), &l->entity); // its names live in the entry's key
}

static void load_one(void *arg, struct str key, struct str value) {
    struct quotas *q = arg;
    struct quota_entity e;
    double values[QUOTA_KEYS];
    struct str line, rest = value, name, text;
    if (!parse_entity(key, &e)) return;
    for (int i = 0; i < QUOTA_KEYS; i++) values[i] = NAN;
    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        if (!str_cut(line, '=', &name, &text)) continue;
        for (int i = 0; i < QUOTA_KEYS; i++)
            if (str_eqc(name, quota_names[i])) (void)str_to_double(text, &values[i]);
    }
    put_limit(q, key, values);
}

void quotas_init(struct quotas *q, struct broker *b, struct store *store) {
    *q = (struct quotas){.broker = b, .store = store};
    sys_mutex_init(&q->change);
    sys_mutex_init(&q->mutex);
    map_init(&q->limits);
    map_init(&q->sensors);
    q->samples = (int)broker_config_i64(b, "quota.window.num", 11);
    q->window_ms = (int)(broker_config_i64(b, "quota.window.size.seconds", 1) * 1000);
    q->mutation_samples = (int)broker_config_i64(b, "controller.quota.window.num", 11);
    q->mutation_window_ms = (int)(broker_config_i64(b, "controller.quota.window.size.seconds", 1) * 1000);
    if (store != NULL) store_each(store, STORE_QUOTA, load_one, q);
    set_active(q);
}

static void free_sensor(struct sensor *s) {
    quota_rate_fini(&s->rate);
    mem_free(s);
}

void quotas_fini(struct quotas *q) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&q->limits, &it)) != NULL;) mem_free(e->value);
    for (size_t it = 0; (e = map_next(&q->sensors, &it)) != NULL;) free_sensor(e->value);
    map_fini(&q->limits);
    map_fini(&q->sensors);
    sys_mutex_fini(&q->change);
    sys_mutex_fini(&q->mutex);
}

// The most specific quota of that kind, and for whom it counts: a user's for all its client ids together. NaN = none.
static double find_limit(struct quotas *q, enum quota_key key, struct str user, struct str client, struct str *tag_user, struct str *tag_client) {
    enum { NONE, NAME, DEFAULT };
    static const struct {
        int user, client;
    } order[] = {{NAME, NAME},       {NAME, DEFAULT},    {NAME, NONE}, {DEFAULT, NAME},
                 {DEFAULT, DEFAULT}, {DEFAULT, NONE}, {NONE, NAME}, {NONE, DEFAULT}};
    if (user.n > NAME_MAX_ || client.n > NAME_MAX_) return NAN; // no entity has such a name
    struct buf b;
    double found = NAN;
    buf_init(&b, KEY_MAX);
    for (size_t i = 0; i < sizeof order / sizeof *order && isnan(found); i++) {
        struct quota_entity e = {.user = {order[i].user != NONE, order[i].user == NAME ? user : (struct str){NULL, 0}},
                                 .client = {order[i].client != NONE, order[i].client == NAME ? client : (struct str){NULL, 0}}};
        buf_clear(&b);
        put_entity(&b, &e);
        const struct limit *l = map_get(&q->limits, buf_str(&b));
        if (l == NULL) continue;
        found = l->values[key];
        *tag_user = order[i].user != NONE ? user : STR("");
        *tag_client = order[i].client != NONE ? client : STR("");
    }
    buf_fini(&b);
    return found;
}

// ---- use ----------------------------------------------------------------------------------------------------------------

static void sweep(struct quotas *q, int64_t now_us) {
    struct map_entry *e;
    int64_t idle = (int64_t)q->samples * q->window_ms * 1000 + 60 * 1000000;
    for (size_t it = 0; (e = map_next(&q->sensors, &it)) != NULL;) {
        struct sensor *s = e->value;
        if (now_us - s->last_us <= idle) continue;
        map_remove(&q->sensors, str_n(e->key, e->key_len));
        free_sensor(s);
    }
}

static struct sensor *sensor_of(struct quotas *q, enum quota_key key, struct str user, struct str client, int64_t now_us) {
    struct buf b;
    buf_init(&b, KEY_MAX);
    buf_printf(&b, "%d/%zu/", (int)key, user.n);
    buf_put_str(&b, user);
    buf_put_str(&b, client);
    struct sensor *s = map_get(&q->sensors, buf_str(&b));
    if (s == NULL && q->sensors.n >= SENSORS_MAX) sweep(q, now_us);
    if (s == NULL && q->sensors.n < SENSORS_MAX && !b.failed) {
        s = MEM_NEW(struct sensor);
        s->last_us = now_us;
        s->bucket = key == QUOTA_MUTATION;
        s->tokens = INFINITY; // cut to the bucket's size at first use
        if (!s->bucket) quota_rate_init(&s->rate, q->samples, q->window_ms, now_us);
        map_put(&q->sensors, buf_str(&b), s);
    }
    buf_fini(&b);
    return s; // NULL: more clients at once than are counted; they go free
}

static int64_t record(struct quotas *q, enum quota_key key, struct str user, struct str client, double value, bool undo, int64_t now_us) {
    struct str tag_user, tag_client;
    int64_t ms = 0;
    sys_mutex_lock(&q->mutex);
    double limit = find_limit(q, key, user, client, &tag_user, &tag_client);
    struct sensor *s = isnan(limit) ? NULL : sensor_of(q, key, tag_user, tag_client, now_us);
    if (s != NULL) {
        s->last_us = now_us;
        quota_rate_record(&s->rate, value, now_us);
        ms = quota_rate_throttle(&s->rate, limit, now_us);
        if (ms > 0 && undo) quota_rate_record(&s->rate, -value, now_us);
    }
    sys_mutex_unlock(&q->mutex);
    return ms;
}

int64_t quotas_record(struct quotas *q, enum quota_key key, struct str user, struct str client, double value, int64_t now_us) {
    int64_t ms = record(q, key, user, client, value, false, now_us);
    return key == QUOTA_REQUEST && ms > q->window_ms ? q->window_ms : ms; // KIP-124: requests are held for one window at most
}

int64_t quotas_record_fetch(struct quotas *q, struct str user, struct str client, double bytes, int64_t now_us) {
    return record(q, QUOTA_FETCH, user, client, bytes, true, now_us);
}

int64_t quotas_fetch_max(struct quotas *q, struct str user, struct str client) {
    struct str tag_user, tag_client;
    sys_mutex_lock(&q->mutex);
    double limit = find_limit(q, QUOTA_FETCH, user, client, &tag_user, &tag_client);
    sys_mutex_unlock(&q->mutex);
    if (isnan(limit)) return INT64_MAX;
    double most = limit * (q->samples > 1 ? q->samples - 1 : 1) * q->window_ms / 1000;
    return most >= 9e18 ? INT64_MAX : most < 1 ? 1 : (int64_t)most;
}

bool quotas_mutate(struct quotas *q, struct str user, struct str client, double changes, bool strict, int64_t now_us, int64_t *throttle_ms) {
    struct str tag_user, tag_client;
    bool ok = true;
    *throttle_ms = 0;
    sys_mutex_lock(&q->mutex);
    double rate = find_limit(q, QUOTA_MUTATION, user, client, &tag_user, &tag_client);
    struct sensor *s = isnan(rate) ? NULL : sensor_of(q, QUOTA_MUTATION, tag_user, tag_client, now_us);
    if (s != NULL) {
        double most = rate * q->mutation_samples * q->mutation_window_ms / 1000;
        s->tokens += rate * (double)(now_us - s->last_us) / 1e6;
        if (s->tokens > most) s->tokens = most;
        s->last_us = now_us;
        ok = !strict || s->tokens >= 0;
        if (ok) s->tokens -= changes;
        if (s->tokens < 0) *throttle_ms = (int64_t)ceil(-s->tokens / rate * 1000);
        if (*throttle_ms > INT32_MAX) *throttle_ms = INT32_MAX;
        if (ok && strict) *throttle_ms = 0; // it was let through: the next one waits
    }
    sys_mutex_unlock(&q->mutex);
    return ok;
}

int64_t quotas_connection(struct quotas *q, struct str ip, int64_t now_us) {
    if (!atomic_load_explicit(&q->ip_active, memory_order_relaxed)) return 0;
    struct buf b;
    int64_t ms = 0;
    buf_init(&b, KEY_MAX);
    sys_mutex_lock(&q->mutex);
    put_entity(&b, &(struct quota_entity){.ip = {true, ip}});
    const struct limit *l = map_get(&q->limits, buf_str(&b));
    if (l == NULL) l = map_get(&q->limits, STR("i*"));
    struct sensor *s = l == NULL || isnan(l->values[QUOTA_CONNECTION]) ? NULL : sensor_of(q, QUOTA_CONNECTION, ip, STR(""), now_us);
    if (s != NULL) {
        s->last_us = now_us;
        quota_rate_record(&s->rate, 1, now_us);
        ms = quota_rate_throttle(&s->rate, l->values[QUOTA_CONNECTION], now_us);
        if (ms > 0) quota_rate_record(&s->rate, -1, now_us); // it is turned away
    }
    sys_mutex_unlock(&q->mutex);
    buf_fini(&b);
    return ms;
}

// ---- changes ------------------------------------------------------------------------------------------------------------

static int key_of(struct str name) {
    for (int i = 0; i < QUOTA_KEYS; i++)
        if (str_eqc(name, quota_names[i])) return i;
    return -1;
}

static enum err_code check_op(const struct quota_entity *e, const struct quota_op *op, struct err *err) {
    int key = key_of(op->key);
    if (key < 0 && op->remove) return ERR_OK; // it is not there
    if (key < 0 || (key == QUOTA_CONNECTION) != e->ip.set) return err_set(err, ERR_INVALID, "Invalid configuration key " STR_FMT, STR_ARG(op->key));
    if (op->remove) return ERR_OK;
    if (!isfinite(op->value)) return err_set(err, ERR_INVALID, "Quota %s must be a finite number", quota_names[key]);
    if (op->value <= 0) return err_set(err, ERR_INVALID, "Quota %s must be greater than 0", quota_names[key]);
    bool whole = key == QUOTA_PRODUCE || key == QUOTA_FETCH || key == QUOTA_CONNECTION;
    double most = key == QUOTA_CONNECTION ? 2147483647.0 : 9.3e18;
    if (whole && op->value > most)
        return err_set(err, ERR_INVALID, "Proposed value for %s is too large for %s.", quota_names[key], key == QUOTA_CONNECTION ? "an INT" : "a LONG");
    if (whole && fmod(op->value, 1.0) > 1e-6) return err_set(err, ERR_INVALID, "%s cannot be a fractional value.", quota_names[key]);
    return ERR_OK;
}

static bool v4_ok(struct str ip) {
    struct str rest = ip, part;
    int parts = 0;
    for (bool more = true; more; parts++) {
        int64_t n;
        more = str_cut(rest, '.', &part, &rest);
        if (part.n == 0 || part.n > 3 || part.p[0] < '0' || part.p[0] > '9' || !str_to_i64(part, &n) || n > 255) return false;
    }
    return parts == 4;
}

static bool v6_ok(struct str ip) {
    int groups = 0, gaps = 0;
    for (size_t i = 0; i < ip.n;) {
        size_t end = i;
        if (str_starts(str_n(ip.p + i, ip.n - i), STR("::"))) {
            gaps++;
            i += 2;
            continue;
        }
        if (ip.p[i] == ':' && (i == 0 || ip.p[i - 1] == ':')) return false;
        if (ip.p[i] == ':') i++, end = i;
        while (end < ip.n && ip.p[end] != ':') end++;
        struct str group = str_n(ip.p + i, end - i);
        if (end == ip.n && memchr(group.p, '.', group.n) != NULL) return v4_ok(group) && (gaps == 1 ? groups < 6 : groups == 6); // ::ffff:1.2.3.4
        for (size_t k = 0; k < group.n; k++)
            if (memchr("0123456789abcdefABCDEF", group.p[k], 22) == NULL) return false;
        if (group.n == 0 || group.n > 4) return false;
        groups++;
        i = end;
    }
    return gaps == 1 ? groups < 8 : gaps == 0 && groups == 8;
}

// Names of hosts are not resolved here.
static bool address_ok(struct str ip) { return v4_ok(ip) || (memchr(ip.p, ':', ip.n) != NULL && v6_ok(ip)); }

static enum err_code check_entity(const struct quota_entity *e, struct err *err) {
    if (!e->user.set && !e->client.set && !e->ip.set) return err_set(err, ERR_INVALID, "Invalid empty client quota entity");
    if (e->ip.set && (e->user.set || e->client.set))
        return err_set(err, ERR_INVALID, "Invalid quota entity combination, IP entity should not be combined with User or ClientId");
    if (e->ip.set && e->ip.name.p != NULL && !address_ok(e->ip.name))
        return err_set(err, ERR_INVALID, STR_FMT " is not a valid IP or resolvable host.", STR_ARG(e->ip.name));
    if (e->user.name.n > NAME_MAX_ || e->client.name.n > NAME_MAX_) return err_set(err, ERR_INVALID, "a name has at most %d bytes", NAME_MAX_);
    return ERR_OK;
}

static enum err_code apply(struct quotas *q, struct str key, const struct quota_op *ops, size_t n, struct err *err) {
    double values[QUOTA_KEYS];
    struct buf text;
    bool left = false;
    const struct limit *l = map_get(&q->limits, key); // nobody else changes it: `change` is ours
    for (int i = 0; i < QUOTA_KEYS; i++) values[i] = l == NULL ? NAN : l->values[i];
    for (size_t i = 0; i < n; i++)
        if (key_of(ops[i].key) >= 0) values[key_of(ops[i].key)] = ops[i].remove ? NAN : ops[i].value;
    buf_init(&text, 4096);
    for (int i = 0; i < QUOTA_KEYS; i++) {
        if (isnan(values[i])) continue;
        left = true;
        buf_printf(&text, "%s=%.17g\n", quota_names[i], values[i]);
    }
    struct store_change c = {STORE_QUOTA, key, buf_str(&text), !left};
    enum err_code code = store_apply(q->store, &c, 1, err);
    buf_fini(&text);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&q->mutex);
    if (left) put_limit(q, key, values);
    else drop_limit(q, key);
    set_active(q);
    sys_mutex_unlock(&q->mutex);
    return ERR_OK;
}

enum err_code quotas_alter(struct quotas *q, const struct quota_entity *e, const struct quota_op *ops, size_t n, bool validate_only, struct err *err) {
    enum err_code code = check_entity(e, err);
    struct map seen; // keys: there may be any number of those that are taken away and are not there
    map_init(&seen);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        code = check_op(e, &ops[i], err);
        bool again = map_put(&seen, ops[i].key, q) != NULL;
        if (code == ERR_OK && again) code = err_set(err, ERR_INVALID, "Duplicate quota key " STR_FMT, STR_ARG(ops[i].key));
    }
    map_fini(&seen);
    if (code != ERR_OK || validate_only || n == 0) return code;
    if (q->store == NULL) return err_set(err, ERR_NOT_SUPPORTED, "there is nowhere to keep quotas");
    struct buf key;
    buf_init(&key, KEY_MAX);
    put_entity(&key, e);
    sys_mutex_lock(&q->change);
    code = apply(q, buf_str(&key), ops, n, err);
    sys_mutex_unlock(&q->change);
    buf_fini(&key);
    return code;
}

void quotas_each(struct quotas *q, void (*fn)(void *arg, const struct quota_entity *e, const double values[QUOTA_KEYS]), void *arg) {
    struct map_entry *e;
    sys_mutex_lock(&q->mutex);
    for (size_t it = 0; (e = map_next(&q->limits, &it)) != NULL;) {
        const struct limit *l = e->value;
        fn(arg, &l->entity, l->values);
    }
    sys_mutex_unlock(&q->mutex);
}
