// SPDX-License-Identifier: Apache-2.0
// Dynamic configs: tables in memory, loaded from the store at opening; see dynamic.h.
//
// A record of the store: key = the resource's name, value = lines "name=value". In memory every resource is a list of interned strings:
// a string that was handed out once stays until the broker is closed, so that readers need no lock for as long as they use one.
// Locks: broker.change makes changes one at a time (held over the store's file); `mutex` guards the tables, for look-ups only.
#include "broker/dynamic.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/configs_table.h"
#include "broker/internal.h"
#include "broker/share_inside.h"
#include "broker/store.h"

enum { RESOURCES = RESOURCE_CLIENT_METRICS + 1 };
enum { DYNAMIC_BROKER = 2, DYNAMIC_DEFAULT = 3, STATIC = 4, FROM_DEFAULT = 5, DYNAMIC_METRICS = 7, DYNAMIC_GROUP = 8 };

struct pair {
    const char *name, *value; // interned
};
struct resource {
    VEC(struct pair) pairs; // sorted by name
};

struct dynamic {
    struct sys_mutex mutex;
    struct map resources[RESOURCES]; // name -> struct resource
    struct map interned;             // text -> text
    _Atomic uint64_t version;
    atomic_bool any[RESOURCES]; // whether there is one of the kind, so that a look-up need not take the mutex to find none
};

static const struct group_row {
    struct config_row row;
    const char *least, *largest;
} group_rows[] = {
#define GROUP_CONFIG(name, type, value, min, max, choices, broker_name, least, largest, doc) \
    {{name, type, value, min, max, choices, USED, broker_name, doc}, least, largest},
#include "broker/group_configs.def"
#undef GROUP_CONFIG
};
static const struct config_row metrics_rows[] = {
    {"interval.ms", INT, "300000", 100, 3600000, NULL, USED, NULL, "how often clients push"},
    {"match", LIST, "", 0, 0, NULL, USED, NULL, "which clients: name=pattern,...; all must match. Empty: every client"},
    {"metrics", LIST, "", 0, 0, NULL, USED, NULL, "prefixes of the metrics asked for; * = all"},
};
enum { KEPT_NEWLINE = 1 }; // stands in the store for a line break in a value (a certificate in PEM)
enum { GROUP_ROWS = sizeof group_rows / sizeof *group_rows, METRICS_ROWS = sizeof metrics_rows / sizeof *metrics_rows };

static enum store_kind store_kind_of(enum broker_resource kind) {
    return kind == RESOURCE_GROUP ? STORE_GROUP_CONFIG : kind == RESOURCE_CLIENT_METRICS ? STORE_CLIENT_METRICS : STORE_BROKER_CONFIG;
}

// ---- tables (under the mutex) -------------------------------------------------------------------------------------------

static const char *intern(struct dynamic *d, struct str text) {
    char *have = map_get(&d->interned, text);
    if (have != NULL) return have;
    have = mem_strndup(text.p, text.n);
    map_put(&d->interned, text, have);
    return have;
}

static const char *get(const struct dynamic *d, enum broker_resource kind, struct str name, const char *config) {
    const struct resource *r = map_get(&d->resources[kind], name);
    for (size_t i = 0; r != NULL && i < r->pairs.n; i++)
        if (strcmp(r->pairs.p[i].name, config) == 0) return r->pairs.p[i].value;
    return NULL;
}

static void put_resource(struct dynamic *d, enum broker_resource kind, struct str name, const topic_kvs *kvs) {
    struct resource *r = map_get(&d->resources[kind], name);
    if (kvs->n == 0) {
        if (r == NULL) return;
        map_remove(&d->resources[kind], name);
        atomic_store(&d->any[kind], d->resources[kind].n > 0);
        vec_fini(&r->pairs);
        mem_free(r);
        return;
    }
    if (r == NULL) {
        r = MEM_NEW(struct resource);
        map_put(&d->resources[kind], name, r);
        atomic_store(&d->any[kind], true);
    }
    r->pairs.n = 0;
    for (size_t i = 0; i < kvs->n; i++)
        vec_add(&r->pairs, ((struct pair){intern(d, str_c(kvs->p[i].name)), intern(d, str_c(kvs->p[i].value))}));
}

static void copy_resource(const struct dynamic *d, enum broker_resource kind, struct str name, topic_kvs *out) {
    const struct resource *r = map_get(&d->resources[kind], name);
    for (size_t i = 0; r != NULL && i < r->pairs.n; i++) kvs_set(out, r->pairs.p[i].name, r->pairs.p[i].value);
}

// ---- opening ------------------------------------------------------------------------------------------------------------

struct loading {
    struct broker *b;
    enum store_kind kind;
};

static void load_one(void *arg, struct str key, struct str value) {
    struct loading *x = arg;
    struct dynamic *d = x->b->dynamic;
    enum broker_resource kind = x->kind == STORE_GROUP_CONFIG ? RESOURCE_GROUP : RESOURCE_CLIENT_METRICS;
    if (x->kind == STORE_BROKER_CONFIG) {
        int64_t id;
        kind = key.n == 0 ? RESOURCE_BROKER_DEFAULT : RESOURCE_BROKER_SELF;
        if (key.n > 0 && (!str_to_i64(key, &id) || id != x->b->config.node_id)) return; // the node had another id then
        key = STR("");
    }
    topic_kvs kvs = {0};
    struct str line, rest = value, name, text;
    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        if (!str_cut(line, '=', &name, &text)) continue;
        char *n = mem_strndup(name.p, name.n), *v = mem_strndup(text.p, text.n);
        for (char *c = v; *c != '\0'; c++)
            if (*c == KEPT_NEWLINE) *c = '\n';
        kvs_set(&kvs, n, v);
        mem_free(n);
        mem_free(v);
    }
    put_resource(d, kind, key, &kvs);
    kvs_free(&kvs);
}

void dynamic_open(struct broker *b) {
    struct dynamic *d = MEM_NEW(struct dynamic);
    sys_mutex_init(&d->mutex);
    map_init(&d->interned);
    for (int i = 0; i < RESOURCES; i++) map_init(&d->resources[i]);
    b->dynamic = d;
    struct loading x = {b, STORE_BROKER_CONFIG};
    store_each(b->store, x.kind, load_one, &x);
    x.kind = STORE_GROUP_CONFIG;
    store_each(b->store, x.kind, load_one, &x);
    x.kind = STORE_CLIENT_METRICS;
    store_each(b->store, x.kind, load_one, &x);
}

void dynamic_free(struct dynamic *d) {
    if (d == NULL) return;
    struct map_entry *e;
    for (int i = 0; i < RESOURCES; i++) {
        for (size_t it = 0; (e = map_next(&d->resources[i], &it)) != NULL;) {
            struct resource *r = e->value;
            vec_fini(&r->pairs);
            mem_free(r);
        }
        map_fini(&d->resources[i]);
    }
    for (size_t it = 0; (e = map_next(&d->interned, &it)) != NULL;) mem_free(e->value);
    map_fini(&d->interned);
    sys_mutex_fini(&d->mutex);
    mem_free(d);
}

// ---- values in force ----------------------------------------------------------------------------------------------------

const char *dynamic_value(const struct broker *b, const char *name, bool self) {
    struct dynamic *d = b->dynamic;
    if (d == NULL || !atomic_load(&d->any[self ? RESOURCE_BROKER_SELF : RESOURCE_BROKER_DEFAULT])) return NULL;
    sys_mutex_lock(&d->mutex);
    const char *v = get(d, self ? RESOURCE_BROKER_SELF : RESOURCE_BROKER_DEFAULT, STR(""), name);
    sys_mutex_unlock(&d->mutex);
    return v;
}

const char *broker_config_text(struct broker *b, const char *name) { return configs_broker_text(b, name); }
int64_t broker_config_i64(struct broker *b, const char *name, int64_t otherwise) { return configs_broker_i64(b, name, otherwise); }
const char *broker_config_of_listener(struct broker *b, const char *name) { return configs_of_listener(name) == NULL ? NULL : dynamic_value(b, name, true); }
void dynamic_touch(struct broker *b) { atomic_fetch_add(&b->dynamic->version, 1); }
uint64_t broker_config_version(struct broker *b) { return atomic_load(&b->dynamic->version); }

static const char *own_value(struct broker *b, enum broker_resource kind, struct str name, const char *config) {
    sys_mutex_lock(&b->dynamic->mutex);
    const char *v = get(b->dynamic, kind, name, config);
    sys_mutex_unlock(&b->dynamic->mutex);
    return v;
}

static const char *default_of(struct broker *b, const struct config_row *row) {
    const char *v = row->broker_name == NULL ? "" : configs_broker_text(b, row->broker_name);
    return v[0] != '\0' ? v : row->value;
}

const char *broker_group_config(struct broker *b, struct str group, const char *name) {
    for (size_t i = 0; i < GROUP_ROWS; i++) {
        if (strcmp(group_rows[i].row.name, name) != 0) continue;
        const char *v = own_value(b, RESOURCE_GROUP, group, name);
        return v != NULL ? v : default_of(b, &group_rows[i].row);
    }
    return "";
}

int64_t broker_group_config_i64(struct broker *b, struct str group, const char *name, int64_t otherwise) {
    int64_t v = otherwise;
    (void)str_to_i64(str_c(broker_group_config(b, group, name)), &v);
    return v;
}

bool broker_group_config_is_set(struct broker *b, struct str group, const char *name) {
    for (size_t i = 0; i < GROUP_ROWS; i++) {
        const struct config_row *row = &group_rows[i].row;
        if (strcmp(row->name, name) == 0)
            return own_value(b, RESOURCE_GROUP, group, name) != NULL || (row->broker_name != NULL && configs_broker_is_set(b, row->broker_name));
    }
    return false;
}

// ---- describing ---------------------------------------------------------------------------------------------------------

// Every place where the value is set, the one in force first: the resource itself, then the broker's config of which it is the default.
static void describe_row(struct broker *b, enum broker_resource kind, struct str name, const struct config_row *row, struct arena *a,
                         struct broker_config_entry *e) {
    const char *upper = row->broker_name;
    const struct config_row *upper_row = upper == NULL ? NULL : configs_broker_row(upper);
    const struct broker_config_synonym all[] = {
        {row->name, own_value(b, kind, name, row->name), kind == RESOURCE_GROUP ? DYNAMIC_GROUP : DYNAMIC_METRICS},
        {upper, upper == NULL ? NULL : dynamic_value(b, upper, true), DYNAMIC_BROKER},
        {upper, upper == NULL ? NULL : dynamic_value(b, upper, false), DYNAMIC_DEFAULT},
        {upper, upper == NULL ? NULL : kvs_get(&b->static_configs, upper), STATIC},
        {upper == NULL ? row->name : upper, upper_row == NULL ? row->value : upper_row->value, FROM_DEFAULT},
    };
    struct broker_config_synonym *s = ARENA_ARRAY(a, struct broker_config_synonym, sizeof all / sizeof *all);
    *e = (struct broker_config_entry){.name = row->name, .default_value = default_of(b, row), .type = (int)row->type, .doc = row->doc, .synonyms = s};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value != NULL) s[e->n_synonyms++] = all[i];
    e->value = s[0].value;
    e->source = s[0].source;
    if (kind == RESOURCE_CLIENT_METRICS && s[e->n_synonyms - 1].source == FROM_DEFAULT) e->n_synonyms--; // Kafka does not tell it
}

// Those that are set for a listener have no row of their own: they are told where they are set.
static size_t describe_self(struct broker *b, struct arena *a, struct broker_config_entry **out) {
    struct broker_config_entry *rows;
    topic_kvs kvs = {0};
    size_t n = configs_describe(b, NULL, a, &rows);
    sys_mutex_lock(&b->dynamic->mutex);
    copy_resource(b->dynamic, RESOURCE_BROKER_SELF, STR(""), &kvs);
    sys_mutex_unlock(&b->dynamic->mutex);
    *out = ARENA_ARRAY(a, struct broker_config_entry, n + kvs.n + 1);
    memcpy(*out, rows, n * sizeof *rows);
    for (size_t i = 0; i < kvs.n; i++) {
        const char *key = configs_of_listener(kvs.p[i].name);
        const struct config_row *row = key == NULL ? NULL : configs_broker_row(key);
        if (row == NULL) continue;
        struct broker_config_entry *e = &(*out)[n++];
        struct broker_config_synonym *s = ARENA_NEW(a, struct broker_config_synonym);
        *e = (struct broker_config_entry){.name = arena_strdup(a, kvs.p[i].name), .value = arena_strdup(a, kvs.p[i].value), .source = DYNAMIC_BROKER,
                                          .type = (int)row->type, .doc = row->doc, .n_synonyms = 1, .synonyms = s};
        e->sensitive = row->type == PASSWORD;
        *s = (struct broker_config_synonym){e->name, e->value, DYNAMIC_BROKER};
    }
    kvs_free(&kvs);
    return n;
}

static size_t describe_default(struct broker *b, struct arena *a, struct broker_config_entry **out) {
    topic_kvs kvs = {0};
    sys_mutex_lock(&b->dynamic->mutex);
    copy_resource(b->dynamic, RESOURCE_BROKER_DEFAULT, STR(""), &kvs);
    sys_mutex_unlock(&b->dynamic->mutex);
    size_t n = kvs.n;
    *out = ARENA_ARRAY(a, struct broker_config_entry, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct config_row *row = configs_broker_row(kvs.p[i].name);
        struct broker_config_entry *e = &(*out)[i];
        struct broker_config_synonym *s = ARENA_NEW(a, struct broker_config_synonym);
        *e = (struct broker_config_entry){.name = arena_strdup(a, kvs.p[i].name), .value = arena_strdup(a, kvs.p[i].value), .source = DYNAMIC_DEFAULT,
                                          .type = row == NULL ? STRING : (int)row->type, .doc = row == NULL ? "" : row->doc, .n_synonyms = 1};
        e->sensitive = row != NULL && row->type == PASSWORD;
        *s = (struct broker_config_synonym){e->name, e->value, DYNAMIC_DEFAULT};
        e->synonyms = s;
    }
    kvs_free(&kvs);
    return n;
}

size_t broker_resource_describe(struct broker *b, enum broker_resource kind, struct str name, struct arena *a, struct broker_config_entry **out) {
    if (kind == RESOURCE_BROKER_SELF) return describe_self(b, a, out);
    if (kind == RESOURCE_BROKER_DEFAULT) return describe_default(b, a, out);
    size_t n = kind == RESOURCE_GROUP ? GROUP_ROWS : METRICS_ROWS;
    *out = ARENA_ARRAY(a, struct broker_config_entry, n);
    for (size_t i = 0; i < n; i++) describe_row(b, kind, name, kind == RESOURCE_GROUP ? &group_rows[i].row : &metrics_rows[i], a, &(*out)[i]);
    return n;
}

static int by_text(const void *a, const void *b) { return str_cmp(*(const struct str *)a, *(const struct str *)b); }

size_t broker_resource_names(struct broker *b, enum broker_resource kind, struct arena *a, struct str **out) {
    struct dynamic *d = b->dynamic;
    struct map_entry *e;
    size_t n = 0;
    sys_mutex_lock(&d->mutex);
    *out = ARENA_ARRAY(a, struct str, d->resources[kind].n + 1);
    for (size_t it = 0; (e = map_next(&d->resources[kind], &it)) != NULL;) (*out)[n++] = arena_str(a, str_n(e->key, e->key_len));
    sys_mutex_unlock(&d->mutex);
    if (n > 1) qsort(*out, n, sizeof **out, by_text);
    return n;
}

// ---- changing -----------------------------------------------------------------------------------------------------------

static enum err_code check_broker(bool self, const struct broker_kv *kv, struct err *err) {
    const char *key = configs_of_listener(kv->name);
    const struct config_row *row = configs_broker_row(key == NULL ? kv->name : key);
    int dynamic = configs_dynamic(kv->name);
    if (row == NULL && kv->value != NULL) return err_set(err, ERR_INVALID, "%.200s: no such broker config", kv->name);
    if (row != NULL && dynamic == CONFIG_READ_ONLY) return err_set(err, ERR_INVALID, "Cannot update these configs dynamically: Set(%s)", kv->name);
    if (kv->value != NULL && configs_listener_only(kv->name))
        return err_set(err, ERR_INVALID, "These security configs can be dynamically updated only per-listener using the listener prefix: Set(%s)", kv->name);
    if (kv->value != NULL && configs_at_start(kv->name))
        return err_set(err, ERR_INVALID, "%s is read when the server starts: set it in the file of broker.properties and start it again", kv->name);
    if (!self && dynamic == CONFIG_PER_BROKER)
        return err_set(err, ERR_INVALID, "Cannot update these configs at default cluster level, broker id must be specified: Set(%s)", kv->name);
    if (kv->value == NULL) return ERR_OK;
    struct config_row named = *row; // a topic's row has the topic's name
    named.name = kv->name;
    enum err_code code = configs_check_row(&named, kv->value, err);
    return code == ERR_OK ? ERR_OK : (err->code = ERR_INVALID); // Kafka's code for a broker's config
}

static int64_t number(const char *text) {
    int64_t v = 0;
    (void)str_to_i64(str_c(text), &v);
    return v;
}

static enum err_code check_group_row(struct broker *b, const struct group_row *g, const char *value, struct err *err) {
    if (configs_check_row(&g->row, value, err) != ERR_OK) return err->code = ERR_CONFIG;
    if (g->least != NULL && number(value) < broker_config_i64(b, g->least, INT64_MIN))
        return err_set(err, ERR_CONFIG, "%s must be greater than or equal to %s", g->row.name, g->least);
    if (g->largest != NULL && number(value) > broker_config_i64(b, g->largest, INT64_MAX))
        return err_set(err, ERR_CONFIG, "%s must be less than or equal to %s", g->row.name, g->largest);
    if (strcmp(g->row.name, "share.auto.offset.reset") == 0 && strcmp(value, "latest") != 0 && strcmp(value, "earliest") != 0 &&
        (strncmp(value, "by_duration:", 12) != 0 || share_duration_ms(value + 12) < 0))
        return err_set(err, ERR_CONFIG, "%s: \"%.200s\" is not latest, earliest or by_duration:<ISO-8601 duration>", g->row.name, value);
    return ERR_OK;
}

static enum err_code check_group(struct broker *b, const struct broker_kv *kv, struct err *err) {
    for (size_t i = 0; i < GROUP_ROWS; i++)
        if (strcmp(group_rows[i].row.name, kv->name) == 0) return kv->value == NULL ? ERR_OK : check_group_row(b, &group_rows[i], kv->value, err);
    return err_set(err, ERR_CONFIG, "Unknown group config name: %.200s", kv->name);
}

// The session must outlast the heartbeat, whichever of the two was set.
static enum err_code check_group_whole(struct broker *b, struct str name, const topic_kvs *next, struct err *err) {
    static const char *const families[] = {"consumer", "share", "streams"};
    (void)name;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char session[64], beat[64];
        (void)snprintf(session, sizeof session, "%s.session.timeout.ms", families[i]);
        (void)snprintf(beat, sizeof beat, "%s.heartbeat.interval.ms", families[i]);
        const char *s = kvs_get(next, session), *h = kvs_get(next, beat);
        if (s == NULL && h == NULL) continue;
        if (s == NULL) s = broker_group_config(b, STR("\n"), session); // of no group: the broker's
        if (h == NULL) h = broker_group_config(b, STR("\n"), beat);
        if (number(s) <= number(h)) return err_set(err, ERR_CONFIG, "%s must be greater than %s", session, beat);
    }
    return ERR_OK;
}

static bool match_name_ok(struct str name) {
    static const char *const names[] = {"client_instance_id",      "client_id",            "client_software_name",
                                        "client_software_version", "client_source_address", "client_source_port"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eqc(name, names[i])) return true;
    return false;
}

static enum err_code check_match(const char *value, struct err *err) {
    struct str rest = str_c(value), item, name, pattern;
    while (rest.n > 0) {
        str_cut(rest, ',', &item, &rest);
        bool ok = str_cut(item, '=', &name, &pattern) && match_name_ok(str_trim(name)) && str_trim(pattern).n > 0 &&
                  memchr(pattern.p, '=', pattern.n) == NULL && configs_pattern_ok(str_trim(pattern));
        if (!ok) return err_set(err, ERR_CONFIG, "Illegal client matching pattern: " STR_FMT, STR_ARG(item));
    }
    return ERR_OK;
}

static enum err_code check_metrics(const struct broker_kv *kv, struct err *err) {
    const struct config_row *row = NULL;
    for (size_t i = 0; i < METRICS_ROWS; i++)
        if (strcmp(metrics_rows[i].name, kv->name) == 0) row = &metrics_rows[i];
    if (row == NULL) return err_set(err, ERR_INVALID, "Unknown client metrics configuration: %.200s", kv->name);
    if (kv->value == NULL) return ERR_OK;
    int64_t v;
    if (row->type == INT && str_to_i64(str_c(kv->value), &v) && ((double)v < row->min || (double)v > row->max))
        return err_set(err, ERR_INVALID, "Invalid value %s for interval.ms, interval must be between 100 and 3600000 (1 hour)", kv->value);
    if (configs_check_row(row, kv->value, err) != ERR_OK) return err->code = ERR_CONFIG; // no number at all
    return strcmp(row->name, "match") == 0 ? check_match(kv->value, err) : ERR_OK;
}

static enum err_code check_one(struct broker *b, enum broker_resource kind, const struct broker_kv *kv, struct err *err) {
    if (kind == RESOURCE_GROUP) return check_group(b, kv, err);
    if (kind == RESOURCE_CLIENT_METRICS) return check_metrics(kv, err);
    return check_broker(kind == RESOURCE_BROKER_SELF, kv, err);
}

static enum err_code keep(struct broker *b, enum broker_resource kind, struct str name, const topic_kvs *next, struct err *err) {
    struct buf text;
    char node[16];
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < next->n; i++) {
        buf_printf(&text, "%s=", next->p[i].name);
        for (const char *c = next->p[i].value; *c != '\0'; c++) buf_put_u8(&text, *c == '\n' ? KEPT_NEWLINE : (uint8_t)*c);
        buf_put_u8(&text, '\n');
    }
    (void)snprintf(node, sizeof node, "%d", b->config.node_id);
    struct str key = kind == RESOURCE_BROKER_SELF ? str_c(node) : kind == RESOURCE_BROKER_DEFAULT ? STR("") : name;
    struct store_change c = {store_kind_of(kind), key, buf_str(&text), next->n == 0};
    enum err_code code = text.failed ? err_set(err, ERR_TOO_LARGE, "configs of one resource have at most 1 MiB") : store_apply(b->store, &c, 1, err);
    buf_fini(&text);
    return code;
}

enum err_code broker_resource_alter(struct broker *b, enum broker_resource kind, struct str name, const struct broker_kv *changes, size_t n,
                                    bool validate_only, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    struct dynamic *d = b->dynamic;
    bool broker = kind == RESOURCE_BROKER_SELF || kind == RESOURCE_BROKER_DEFAULT;
    if (broker) name = STR("");
    else if (name.n == 0) return err_set(err, ERR_INVALID, kind == RESOURCE_GROUP ? "Group name must not be empty." : "Subscription name can't be empty");
    topic_kvs next = {0};
    enum err_code code = ERR_OK;
    sys_mutex_lock(&b->change);
    sys_mutex_lock(&d->mutex);
    copy_resource(d, kind, name, &next);
    sys_mutex_unlock(&d->mutex);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        code = check_one(b, kind, &changes[i], err);
        if (code != ERR_OK) break;
        if (changes[i].value == NULL) kvs_remove(&next, changes[i].name);
        else kvs_set(&next, changes[i].name, changes[i].value);
    }
    if (code == ERR_OK && kind == RESOURCE_GROUP) code = check_group_whole(b, name, &next, err);
    if (code == ERR_OK && !validate_only) code = keep(b, kind, name, &next, err);
    if (code == ERR_OK && !validate_only) {
        sys_mutex_lock(&d->mutex);
        put_resource(d, kind, name, &next);
        sys_mutex_unlock(&d->mutex);
        atomic_fetch_add(&d->version, 1);
        if (broker) topics_settings(b); // what topics take from the broker
        log_info("broker", "configs changed", "resource", broker ? "broker" : kind == RESOURCE_GROUP ? "group" : "client-metrics", "name",
                 log_str(name), NULL);
    }
    sys_mutex_unlock(&b->change);
    kvs_free(&next);
    return code;
}
