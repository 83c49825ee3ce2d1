// SPDX-License-Identifier: Apache-2.0
// Configs of topics and of the broker: one table each (configs.def, broker_configs.def) gives checks, defaults, sources and descriptions.
// Pure functions over lists of name and value; the callers hold the locks.
#include <assert.h>
#include <stdio.h>

#include "broker/configs_table.h"
#include "broker/features.h"
#include "broker/internal.h"
#include "codec/compress.h"

static const struct config_row topic_rows[] = {
#define TOPIC_CONFIG(field, name, type, value, min, max, choices, use, broker_name, doc) \
    {name, type, value, min, max, choices, use, broker_name, doc},
#include "broker/configs.def"
#undef TOPIC_CONFIG
};
enum config_field {
#define TOPIC_CONFIG(field, name, type, value, min, max, choices, use, broker_name, doc) F_##field,
#include "broker/configs.def"
#undef TOPIC_CONFIG
    N_TOPIC_ROWS
};
static const struct config_row broker_rows[] = {
#define BROKER_CONFIG(name, type, value, min, max, doc) {name, type, value, min, max, NULL, USED, NULL, doc},
#define BROKER_CHOICE(name, type, value, choices, doc) {name, type, value, 0, 0, choices, USED, NULL, doc},
#define BROKER_INTERNAL(name, type, value, min, max, doc) {name, type, value, min, max, NULL, UNSHOWN, NULL, doc},
#include "broker/broker_configs.def"
#undef BROKER_CONFIG
#undef BROKER_CHOICE
#define BROKER_KEPT(name, type, value, min, max, choices, doc) {name, type, value, min, max, choices, QUIET, NULL, doc},
#define BROKER_UNSHOWN(name, type, min, max, doc) {name, type, NULL, min, max, NULL, UNSHOWN, NULL, doc},
#include "broker/broker_configs_kept.def"
#undef BROKER_KEPT
#undef BROKER_UNSHOWN
#undef BROKER_INTERNAL
};
enum { N_BROKER_ROWS = sizeof broker_rows / sizeof broker_rows[0] };

// ---- lists of name and value, sorted by name ------------------------------------------------------------------------

const char *kvs_get(const topic_kvs *v, const char *name) {
    for (size_t i = 0; i < v->n; i++)
        if (strcmp(v->p[i].name, name) == 0) return v->p[i].value;
    return NULL;
}

void kvs_remove(topic_kvs *v, const char *name) {
    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->p[i].name, name) != 0) continue;
        mem_free(v->p[i].name);
        mem_free(v->p[i].value);
        vec_remove(v, i);
        return;
    }
}

void kvs_set(topic_kvs *v, const char *name, const char *value) {
    kvs_remove(v, name);
    size_t at = 0;
    while (at < v->n && strcmp(v->p[at].name, name) < 0) at++;
    (void)vec_push(v);
    memmove(&v->p[at + 1], &v->p[at], (v->n - at - 1) * sizeof *v->p);
    v->p[at] = (struct topic_kv){mem_strdup(name), mem_strdup(value)};
}

void kvs_copy(topic_kvs *to, const topic_kvs *from) {
    for (size_t i = 0; i < from->n; i++) kvs_set(to, from->p[i].name, from->p[i].value);
}

void kvs_free(topic_kvs *v) {
    for (size_t i = 0; i < v->n; i++) {
        mem_free(v->p[i].name);
        mem_free(v->p[i].value);
    }
    vec_fini(v);
}

// ---- checks ---------------------------------------------------------------------------------------------------------

static bool is_choice(const char *choices, struct str value) {
    struct str rest = str_c(choices), head;
    bool more = true;
    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (str_eq(head, value)) return true;
    }
    return false;
}

static bool list_ok(const struct config_row *row, const char *value) {
    if (row->choices == NULL || value[0] == '\0') return true;
    struct str rest = str_c(value), head;
    bool more = true;
    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (!is_choice(row->choices, str_trim(head))) return false;
    }
    return true;
}

// What is wrong with a number, in Kafka's words; false = nothing.
static bool number_fault(const struct config_row *row, const char *value, char *out, size_t n) {
    static const char *const types[] = {[INT] = "INT", [SHORT] = "SHORT", [LONG] = "LONG", [DOUBLE] = "DOUBLE"};
    int64_t i = 0;
    double d = 0;
    bool number = row->type == DOUBLE ? str_to_double(str_c(value), &d) : str_to_i64(str_c(value), &i);
    if (row->type != DOUBLE) d = (double)i;
    if ((row->type == INT && (i < INT32_MIN || i > INT32_MAX)) || (row->type == SHORT && (i < INT16_MIN || i > INT16_MAX))) number = false;
    if (!number) (void)snprintf(out, n, "Not a number of type %s", types[row->type]);
    else if (d < row->min) (void)snprintf(out, n, "Value must be at least %.15g", row->min);
    else if (d > row->max) (void)snprintf(out, n, "Value must be no more than %.15g", row->max);
    else if (d == 0 && strcmp(row->name, "compression.gzip.level") == 0) (void)snprintf(out, n, "Value must be between 1 and 9 or equal to -1");
    else return false;
    return true;
}

// Replicas whose traffic is throttled: '*', none, or PARTITION:BROKER pairs.
static bool throttled_ok(const char *value) {
    struct str rest = str_c(value), head, partition, node;
    int64_t n;
    if (value[0] == '\0' || strcmp(value, "*") == 0) return true;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &head, &rest);
        if (!str_cut(str_trim(head), ':', &partition, &node)) return false;
        if (!str_to_i64(partition, &n) || n < 0 || !str_to_i64(node, &n) || n < 0) return false;
    }
    return true;
}

// address:number,...; the number stands behind the last colon, as an IPv6 address has more.
static bool overrides_ok(const char *value) {
    struct str rest = str_c(value), item;
    int64_t n;
    while (rest.n > 0) {
        str_cut(rest, ',', &item, &rest);
        item = str_trim(item);
        size_t colon = item.n;
        while (colon > 0 && item.p[colon - 1] != ':') colon--;
        if (colon < 2 || !str_to_i64(str_n(item.p + colon, item.n - colon), &n) || n < 0 || n > INT32_MAX) return false;
    }
    return true;
}

static void put_choices(const char *choices, char *out, size_t n) {
    struct buf text = {0};
    struct str rest = str_c(choices), head;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &head, &rest);
        buf_printf(&text, "%s" STR_FMT, text.n == 0 ? "" : ", ", STR_ARG(head));
    }
    (void)snprintf(out, n, "String must be one of: %s", buf_cstr(&text));
    buf_fini(&text);
}

static bool value_fault(const struct config_row *row, const char *value, char *out, size_t n) {
    bool ok = true;
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c >= ' ') continue; // one line each in the topics file
        if (row->type == PASSWORD && (*c == '\n' || *c == '\r')) continue; // a certificate in PEM; no topic has one
        (void)snprintf(out, n, "Control characters are not allowed");
        return true;
    }
    switch (row->type) {
    case BOOLEAN:
        (void)snprintf(out, n, "Expected value to be either true or false");
        return !str_ieq(str_c(value), STR("true")) && !str_ieq(str_c(value), STR("false"));
    case CLASS:
    case PASSWORD:
    case STRING:
        if (strcmp(row->name, "max.connections.per.ip.overrides") == 0 && !overrides_ok(value)) {
            (void)snprintf(out, n, "must be a list of ADDRESS:NUMBER");
            return true;
        }
        ok = row->choices == NULL || is_choice(row->choices, str_c(value));
        break;
    case LIST:
        if (strstr(row->name, ".throttled.replicas") != NULL && !throttled_ok(value)) {
            (void)snprintf(out, n, "must be the literal '*' or a list of replicas in the following format: "
                                   "[partitionId]:[brokerId],[partitionId]:[brokerId],...");
            return true;
        }
        ok = list_ok(row, value);
        break;
    case INT:
    case SHORT:
    case LONG:
    case DOUBLE: return number_fault(row, value, out, n);
    }
    if (!ok) put_choices(row->choices, out, n);
    return !ok;
}

enum err_code configs_check_row(const struct config_row *row, const char *value, struct err *err) {
    char why[256];
    const char *shown = row->type == PASSWORD ? "[hidden]" : value;
    if (value_fault(row, value, why, sizeof why)) return err_set(err, ERR_CONFIG, "Invalid value %s for configuration %s: %s", shown, row->name, why);
    if (row->use == FIXED && strcmp(value, row->value) != 0)
        return err_set(err, ERR_NOT_SUPPORTED, "Invalid value %s for configuration %s: only %s is supported (%s)", value, row->name, row->value, row->doc);
    return ERR_OK;
}

static const struct config_row *topic_row(const char *name) {
    for (size_t i = 0; i < N_TOPIC_ROWS; i++)
        if (strcmp(topic_rows[i].name, name) == 0) return &topic_rows[i];
    return NULL;
}

enum err_code configs_apply(topic_kvs *own, const struct broker_kv *changes, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct config_row *row = topic_row(changes[i].name);
        if (row == NULL && changes[i].value == NULL) continue; // taking away what is not there is no error, whatever its name
        if (row == NULL) return err_set(err, ERR_CONFIG, "Unknown topic config name: %s", changes[i].name);
        if (changes[i].value == NULL) {
            kvs_remove(own, row->name);
            continue;
        }
        bool trims = row->type == BOOLEAN || row->type == INT || row->type == SHORT || row->type == LONG || row->type == DOUBLE;
        struct str value = trims ? str_trim(str_c(changes[i].value)) : str_c(changes[i].value);
        char *kept = mem_strndup(value.p, value.n);
        enum err_code code = configs_check_row(row, kept, err);
        if (code == ERR_OK) kvs_set(own, row->name, kept);
        mem_free(kept);
        if (code != ERR_OK) return code;
    }
    int64_t low = 0, high = INT64_MAX;
    const char *min_lag = kvs_get(own, "min.compaction.lag.ms"), *max_lag = kvs_get(own, "max.compaction.lag.ms");
    if (min_lag != NULL && max_lag != NULL && str_to_i64(str_c(min_lag), &low) && str_to_i64(str_c(max_lag), &high) && low > high)
        return err_set(err, ERR_CONFIG, "conflict topic config setting min.compaction.lag.ms (%s) > max.compaction.lag.ms (%s)", min_lag, max_lag);
    return ERR_OK;
}

const struct config_row *configs_broker_row(const char *name) {
    for (size_t i = 0; i < N_BROKER_ROWS; i++)
        if (strcmp(broker_rows[i].name, name) == 0) return &broker_rows[i];
    for (size_t i = 0; i < N_TOPIC_ROWS; i++)
        if (topic_rows[i].broker_name != NULL && strcmp(topic_rows[i].broker_name, name) == 0) return &topic_rows[i];
    return NULL;
}

bool broker_config_known(const char *name) { return configs_broker_row(name) != NULL; }

// The struct's own fields are configs too: they become values of the list, so that there is one place to ask. Those that say what is the default
// anyway stay out of it: clients are told that nobody set them.
static void add_fields(const struct broker_config *c, topic_kvs *out) {
    char *node = mem_printf("%d", c->node_id), *partitions = mem_printf("%d", c->default_partitions);
    kvs_set(out, "broker.id", node);
    kvs_set(out, "node.id", node);
    if (c->default_partitions > 1) kvs_set(out, "num.partitions", partitions);
    kvs_set(out, "log.dirs", c->dir);
    if (!c->auto_create_topics) kvs_set(out, "auto.create.topics.enable", "false");
    mem_free(node);
    mem_free(partitions);
    if (c->group_initial_rebalance_delay_ms < 0) return;
    char *delay = mem_printf("%d", c->group_initial_rebalance_delay_ms);
    kvs_set(out, "group.initial.rebalance.delay.ms", delay);
    mem_free(delay);
}

// What Kafka lets one give in coarser units becomes the config in milliseconds, unless that is given too.
static void add_units(topic_kvs *out) {
    static const struct {
        const char *from, *to;
        int64_t ms;
    } units[] = {{"log.retention.minutes", "log.retention.ms", 60000},
                 {"log.retention.hours", "log.retention.ms", 3600000},
                 {"log.roll.hours", "log.roll.ms", 3600000},
                 {"log.roll.jitter.hours", "log.roll.jitter.ms", 3600000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const char *v = kvs_get(out, units[i].from);
        int64_t n = 0;
        if (v == NULL || kvs_get(out, units[i].to) != NULL || !str_to_i64(str_c(v), &n)) continue;
        char *ms = mem_printf("%lld", (long long)(n < 0 ? n : n * units[i].ms));
        kvs_set(out, units[i].to, ms);
        mem_free(ms);
    }
}

static enum err_code check_static(const struct broker_kv *kv, struct err *err) {
    const struct config_row *row = configs_broker_row(kv->name);
    if (row == NULL) return err_set(err, ERR_CONFIG, "%s: no such broker config", kv->name);
    struct config_row named = *row; // a topic's row has the topic's name
    named.name = kv->name;
    return configs_check_row(&named, kv->value, err);
}

enum err_code configs_check_static(const struct broker_config *c, topic_kvs *out, struct err *err) {
    add_fields(c, out);
    for (size_t i = 0; i < c->n_configs; i++) {
        if (check_static(&c->configs[i], err) != ERR_OK)
            return c->places != NULL && c->places[i] != NULL ? err_wrap(err, "%s", c->places[i]) : err->code;
        kvs_set(out, c->configs[i].name, c->configs[i].value);
    }
    add_units(out);
    return configs_check_relations(c, out, err);
}

// ---- values in force ------------------------------------------------------------------------------------------------

static const char *value_of(const struct broker *b, const topic_kvs *own, const struct config_row *row, int *source) {
    const char *v = own == NULL ? NULL : kvs_get(own, row->name);
    *source = SOURCE_TOPIC;
    if (v != NULL) return v;
    const char *name = row->broker_name == NULL ? row->name : row->broker_name;
    *source = SOURCE_DYNAMIC;
    if ((v = dynamic_value(b, name, true)) != NULL) return v;
    *source = SOURCE_DYNAMIC_DEFAULT;
    if ((v = dynamic_value(b, name, false)) != NULL) return v;
    v = kvs_get(&b->static_configs, name);
    *source = SOURCE_STATIC;
    if (v != NULL) return v;
    *source = SOURCE_DEFAULT;
    return row->value;
}

static const char *text_of(const struct broker *b, const topic_kvs *own, enum config_field f) {
    int source;
    return value_of(b, own, &topic_rows[f], &source);
}

static int64_t i64_of(const struct broker *b, const topic_kvs *own, enum config_field f) {
    int64_t v = 0;
    bool ok = str_to_i64(str_c(text_of(b, own, f)), &v);
    assert(ok); // checked when it was set
    (void)ok;
    return v;
}

void configs_settings(const struct broker *b, const topic_kvs *own, struct topic_setting_values *out) {
    const char *policy = text_of(b, own, F_cleanup_policy);
    *out = (struct topic_setting_values){
        .compact = strstr(policy, "compact") != NULL,
        .delete_old = strstr(policy, "delete") != NULL,
        .append_time = strcmp(text_of(b, own, F_timestamp_type), "LogAppendTime") == 0,
        .max_message_bytes = i64_of(b, own, F_max_message_bytes),
        .max_decompressed_bytes = i64_of(b, own, F_max_decompressed_bytes),
        .timestamp_after_max_ms = i64_of(b, own, F_timestamp_after_max_ms),
        .timestamp_before_max_ms = i64_of(b, own, F_timestamp_before_max_ms),
        .min_compaction_lag_ms = i64_of(b, own, F_min_compaction_lag_ms),
        .max_compaction_lag_ms = i64_of(b, own, F_max_compaction_lag_ms),
        .delete_retention_ms = i64_of(b, own, F_delete_retention_ms),
    };
    // Only where the topic says so: what the broker's log.flush.interval.* say is true anyway, since everything is synced at once.
    out->flush_messages = kvs_get(own, "flush.messages") != NULL ? i64_of(b, own, F_flush_messages) : INT64_MAX;
    out->flush_ms = kvs_get(own, "flush.ms") != NULL ? i64_of(b, own, F_flush_ms) : INT64_MAX;
    bool relaxed = kvs_get(own, "flush.messages") != NULL || kvs_get(own, "flush.ms") != NULL;
    if (!relaxed || out->flush_ms == 0) out->flush_messages = 1;
    const char *codec = text_of(b, own, F_compression_type);
    out->compression = strcmp(codec, "producer") == 0 ? -1 : strcmp(codec, "uncompressed") == 0 ? COMPRESS_NONE : compress_kind_of(str_c(codec));
    out->compression_level = COMPRESS_LEVEL_DEFAULT;
    if (out->compression == COMPRESS_GZIP) out->compression_level = (int)i64_of(b, own, F_compression_gzip_level);
    if (out->compression == COMPRESS_LZ4) out->compression_level = (int)i64_of(b, own, F_compression_lz4_level);
    if (out->compression == COMPRESS_ZSTD) out->compression_level = (int)i64_of(b, own, F_compression_zstd_level);
    double ratio = 0;
    (void)str_to_double(str_c(text_of(b, own, F_min_cleanable_dirty_ratio)), &ratio);
    out->min_dirty_ppm = (int64_t)(ratio * 1e6);
    enum config_field segment_bytes = text_of(b, own, F_internal_segment_bytes) != NULL ? F_internal_segment_bytes : F_segment_bytes;
    out->log = (struct log_config){
        .segment_bytes = (uint64_t)i64_of(b, own, segment_bytes),
        .segment_ms = i64_of(b, own, F_segment_ms),
        .retention_ms = out->delete_old ? i64_of(b, own, F_retention_ms) : -1,
        .retention_bytes = out->delete_old ? i64_of(b, own, F_retention_bytes) : -1,
        .segment_jitter_ms = i64_of(b, own, F_segment_jitter_ms),
        .segment_index_bytes = (uint64_t)i64_of(b, own, F_segment_index_bytes),
        .index_interval_bytes = (uint32_t)i64_of(b, own, F_index_interval_bytes),
    };
    // A record can be compacted only once its segment is closed.
    if (out->compact && out->max_compaction_lag_ms < out->log.segment_ms) out->log.segment_ms = out->max_compaction_lag_ms;
}

const char *configs_broker_text(const struct broker *b, const char *name) {
    const struct config_row *row = configs_broker_row(name);
    int source;
    const char *v = row == NULL ? NULL : value_of(b, NULL, row, &source);
    return v == NULL ? "" : v;
}

bool configs_broker_is_set(const struct broker *b, const char *name) {
    const struct config_row *row = configs_broker_row(name);
    int source = SOURCE_DEFAULT;
    if (row != NULL) (void)value_of(b, NULL, row, &source);
    return source != SOURCE_DEFAULT;
}

int64_t configs_broker_i64(const struct broker *b, const char *name, int64_t otherwise) {
    int64_t v = otherwise;
    (void)str_to_i64(str_c(configs_broker_text(b, name)), &v);
    return v;
}

double configs_broker_double(const struct broker *b, const char *name, double otherwise) {
    double v = otherwise;
    (void)str_to_double(str_c(configs_broker_text(b, name)), &v);
    return v;
}

// Kafka's broker has no default of these: they follow the ones in hours, or the scheduler's. A topic has.
static bool has_default(const char *broker_name) {
    static const char *const names[] = {"log.flush.interval.ms", "log.retention.ms", "log.roll.jitter.ms", "log.roll.ms"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(broker_name, names[i]) == 0) return false;
    return true;
}

// Every place where the value is set, the one in force first.
static void add_synonyms(const struct broker *b, const topic_kvs *own, const struct config_row *row, struct arena *a, struct broker_config_entry *e) {
    const char *name = row->broker_name == NULL ? row->name : row->broker_name;
    const struct broker_config_synonym all[] = {
        {row->name, own == NULL ? NULL : kvs_get(own, row->name), SOURCE_TOPIC},
        {name, dynamic_value(b, name, true), SOURCE_DYNAMIC},
        {name, dynamic_value(b, name, false), SOURCE_DYNAMIC_DEFAULT},
        {name, kvs_get(&b->static_configs, name), SOURCE_STATIC},
        // A topic's default is told as that of the broker's config.
        {name, (own != NULL && row->broker_name == NULL) || !has_default(name) ? NULL : row->value, SOURCE_DEFAULT},
    };
    struct broker_config_synonym *to = ARENA_ARRAY(a, struct broker_config_synonym, sizeof all / sizeof *all);
    e->synonyms = to;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value != NULL)
            to[e->n_synonyms++] = (struct broker_config_synonym){all[i].name, arena_strdup(a, all[i].value), all[i].source};
}

static void describe(const struct broker *b, const topic_kvs *own, const struct config_row *row, const char *name, struct arena *a,
                     struct broker_config_entry *e) {
    *e = (struct broker_config_entry){.name = name, .type = (int)row->type, .doc = row->doc, .default_value = row->value};
    const char *v = value_of(b, own, row, &e->source);
    if (own == NULL && e->source == SOURCE_DEFAULT && !has_default(name)) v = NULL;
    e->value = v == NULL ? NULL : arena_strdup(a, v);
    e->read_only = own == NULL && configs_dynamic(name) == CONFIG_READ_ONLY;
    e->sensitive = row->type == PASSWORD;
    add_synonyms(b, own, row, a, e);
}

enum { KAFKA_4_4 = 33 }; // its metadata.version
static bool is_new(size_t field) {
    return field == F_dead_letters || field == F_max_decompressed_bytes || field == F_remote_copy_lag_bytes || field == F_remote_copy_lag_ms;
}

// own NULL: the broker's own configs.
size_t configs_describe(const struct broker *b, const topic_kvs *own, struct arena *a, struct broker_config_entry **out) {
    struct broker_config_entry *e = ARENA_ARRAY(a, struct broker_config_entry, N_TOPIC_ROWS + N_BROKER_ROWS);
    size_t n = 0;
    *out = e;
    for (size_t i = 0; i < N_TOPIC_ROWS; i++) {
        const struct config_row *row = &topic_rows[i];
        bool off = own != NULL && is_new(i) && broker_feature_level(b, FEATURE_METADATA) < KAFKA_4_4;
        if ((row->value == NULL || off) && (own == NULL || kvs_get(own, row->name) == NULL)) continue; // internal, or later than this level: where they are set
        if (own == NULL && (row->broker_name == NULL || strcmp(row->broker_name, "min.insync.replicas") == 0)) continue;
        describe(b, own, row, own == NULL ? row->broker_name : row->name, a, &e[n++]);
    }
    for (size_t i = 0; own == NULL && i < N_BROKER_ROWS; i++) {
        const struct config_row *row = &broker_rows[i];
        if (row->use == UNSHOWN && !configs_broker_is_set(b, row->name)) continue;
        describe(b, NULL, row, row->name, a, &e[n++]);
    }
    return n;
}
