// SPDX-License-Identifier: Apache-2.0
// The levels of features: kept in the store by name, changed as Kafka's controller does (its order of checks and its words).
//
// Any thread reads: a level is one atomic. Changes are made one at a time under `change`, which is held over the store's file, so by threads that
// may block. The epoch is kept beside the levels; it begins with 1.
#include "broker/features.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/vec.h"
#include "broker/internal.h"
#include "broker/store.h"

static const struct broker_feature_info known[FEATURES] = {
#define FEATURE(id, name, min, max, level) {name, min, max, level},
#include "broker/features.def"
#undef FEATURE
};

// Levels of metadata.version that changed what is in Kafka's metadata log: its controller refuses to go back behind one.
static const int16_t metadata_changes[] = {7, 8, 11, 13, 14, 15, 17, 23, 30, 32, 33};
enum { ELIGIBLE_NEEDS = 23 }; // metadata.version of eligible.leader.replicas.version 1
// What a release of Kafka begins with: from this metadata.version on.
static const struct {
    enum broker_feature feature;
    int16_t level, metadata;
} releases[] = {
    {FEATURE_GROUP, 1, 22}, {FEATURE_TRANSACTION, 2, 24}, {FEATURE_ELIGIBLE, 1, 26}, {FEATURE_SHARE, 1, 28}, {FEATURE_STREAMS, 1, 29}, {FEATURE_SHARE, 2, 33},
};
static const char epoch_key[] = "epoch";
enum { EPOCH_FIRST = 1 }; // of what a directory begins with

struct broker_features {
    struct sys_mutex change; // over the file
    struct sys_mutex mutex;  // levels and epoch together
    _Atomic int16_t levels[FEATURES];
    int64_t epoch;
};

static int find(struct str name) {
    for (int i = 0; i < FEATURES; i++)
        if (str_eqc(name, known[i].name)) return i;
    return -1;
}

// ---- checks ---------------------------------------------------------------------------------------------------------

static enum err_code refuse(struct err *err, struct str name, int level, const char *why) {
    return err_set(err, ERR_INVALID, "Invalid update version %d for feature " STR_FMT ". %s", level, STR_ARG(name), why);
}

static enum err_code check_metadata(int16_t now, int16_t next, bool unsafe, struct err *err) {
    bool changed = false;
    for (size_t i = 0; i < sizeof metadata_changes / sizeof *metadata_changes; i++)
        changed |= metadata_changes[i] > next && metadata_changes[i] <= now;
    if (next >= now || !changed) return ERR_OK;
    return err_set(err, ERR_INVALID, "Unsupported metadata.version downgrade from %d to %d. %s", now, next,
                   unsafe ? "Unsafe metadata downgrade is not supported in this version."
                          : "Refusing to perform the requested downgrade because it might delete metadata information.");
}

static enum err_code check_range(int f, struct str name, int16_t level, int node, struct err *err) {
    char why[160];
    if (level < 0) return refuse(err, name, level, "A feature version cannot be less than 0.");
    if (f >= 0 && level >= known[f].min && level <= known[f].max) return ERR_OK;
    if (f < 0 && level == 0) (void)snprintf(why, sizeof why, "Feature " STR_FMT " not found.", (int)(name.n < 100 ? name.n : 100), name.p);
    else if (f < 0 || known[f].max == 0) (void)snprintf(why, sizeof why, "Local controller %d does not support this feature.", node);
    else (void)snprintf(why, sizeof why, "Local controller %d only supports versions %d-%d", node, known[f].min, known[f].max);
    return refuse(err, name, level, why);
}

static enum err_code check_needs(int f, int16_t level, const int16_t levels[FEATURES], struct err *err) {
    char why[160];
    if (f != FEATURE_ELIGIBLE || level < 1 || levels[FEATURE_METADATA] >= ELIGIBLE_NEEDS) return ERR_OK;
    (void)snprintf(why, sizeof why, "%s could not be set to %d because it depends on metadata.version level %d", known[f].name, level, ELIGIBLE_NEEDS);
    return refuse(err, str_c(known[f].name), level, why);
}

// `levels`: what holds now, with the earlier updates of the same request; takes this one.
static enum err_code check(const struct broker_feature_update *u, int16_t levels[FEATURES], int node, struct err *err) {
    int f = find(u->name);
    if (u->change < FEATURE_UPGRADE || u->change > FEATURE_UNSAFE_DOWNGRADE)
        return refuse(err, u->name, u->level, "The controller does not support the given upgrade type.");
    if (check_range(f, u->name, u->level, node, err) != ERR_OK) return err->code;
    if (u->level < levels[f] && u->change == FEATURE_UPGRADE)
        return refuse(err, u->name, u->level,
                      "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.");
    if (u->level > levels[f] && u->change != FEATURE_UPGRADE) return refuse(err, u->name, u->level, "Can't downgrade to a newer version.");
    enum err_code code = f == FEATURE_METADATA ? check_metadata(levels[f], u->level, u->change == FEATURE_UNSAFE_DOWNGRADE, err)
                                               : check_needs(f, u->level, levels, err);
    if (code == ERR_OK) levels[f] = u->level;
    return code;
}

// ---- the store ------------------------------------------------------------------------------------------------------

static enum err_code write_levels(struct store *st, const int16_t before[FEATURES], const int16_t after[FEATURES], int64_t epoch, struct err *err) {
    struct store_change changes[FEATURES + 1];
    char texts[FEATURES + 1][24];
    size_t n = 0;
    for (int i = 0; i < FEATURES; i++) {
        if (before[i] == after[i]) continue;
        (void)snprintf(texts[n], sizeof texts[n], "%d", after[i]);
        changes[n] = (struct store_change){STORE_FEATURE, str_c(known[i].name), str_c(texts[n]), false};
        n++;
    }
    (void)snprintf(texts[n], sizeof texts[n], "%lld", (long long)epoch);
    changes[n] = (struct store_change){STORE_FEATURE, str_c(epoch_key), str_c(texts[n]), false};
    return store_apply(st, changes, n + 1, err);
}

static bool number(struct store *st, struct arena *a, const char *key, int64_t *out) {
    struct str value;
    return store_get(st, STORE_FEATURE, str_c(key), a, &value) && str_to_i64(value, out);
}

// What the store has, with the defaults where it has none. ERR_VERSION: a level that this program does not know.
static enum err_code read_levels(struct store *st, const char *place, int16_t levels[FEATURES], int64_t *epoch, struct err *err) {
    struct arena a;
    arena_init(&a);
    if (!number(st, &a, epoch_key, epoch)) *epoch = EPOCH_FIRST;
    enum err_code code = ERR_OK;
    for (int i = 0; i < FEATURES && code == ERR_OK; i++) {
        int64_t level = known[i].level;
        (void)number(st, &a, known[i].name, &level);
        if (level < 0 || level > known[i].max)
            code = err_set(err, ERR_VERSION, "%s: feature %s is at level %lld; this version of Millrace knows it up to %d", place, known[i].name,
                           (long long)level, known[i].max);
        levels[i] = (int16_t)level;
    }
    arena_fini(&a);
    return code;
}

struct broker_features *features_open(struct broker *b, struct err *err) {
    struct broker_features *x = MEM_NEW(struct broker_features);
    int16_t levels[FEATURES] = {0};
    sys_mutex_init(&x->change);
    sys_mutex_init(&x->mutex);
    enum err_code code = read_levels(b->store, b->dir, levels, &x->epoch, err);
    for (int i = 0; i < FEATURES; i++) atomic_init(&x->levels[i], levels[i]);
    if (code == ERR_OK) return x;
    features_free(x);
    return NULL;
}

void features_free(struct broker_features *x) {
    if (x == NULL) return;
    sys_mutex_fini(&x->change);
    sys_mutex_fini(&x->mutex);
    mem_free(x);
}

static enum err_code parse(const char *levels, int16_t out[FEATURES], int node, struct err *err) {
    const char *bad = "broker.features: what a new data directory begins with is written name=level,...: %s";
    bool named[FEATURES] = {false};
    for (struct str rest = str_c(levels), part; rest.n > 0;) {
        const char *comma = memchr(rest.p, ',', rest.n);
        part = str_n(rest.p, comma == NULL ? rest.n : (size_t)(comma - rest.p));
        rest = comma == NULL ? str_n(rest.p + rest.n, 0) : str_n(comma + 1, rest.n - part.n - 1);
        const char *equals = memchr(part.p, '=', part.n);
        struct str name = str_n(part.p, equals == NULL ? part.n : (size_t)(equals - part.p));
        int64_t level;
        if (equals == NULL || !str_to_i64(str_n(equals + 1, part.n - name.n - 1), &level) || level < 0 || level > INT16_MAX)
            return err_set(err, ERR_CONFIG, bad, levels);
        struct err why = {0};
        int f = find(name);
        if (check_range(f, name, (int16_t)level, node, &why) != ERR_OK) return err_set(err, ERR_CONFIG, "broker.features: %s", why.msg);
        out[f] = (int16_t)level;
        named[f] = true;
    }
    for (int i = 0; named[FEATURE_METADATA] && i < FEATURES; i++) // the others are those of that release
        if (!named[i]) out[i] = 0;
    for (size_t i = 0; named[FEATURE_METADATA] && i < sizeof releases / sizeof *releases; i++)
        if (!named[releases[i].feature] && releases[i].metadata <= out[FEATURE_METADATA]) out[releases[i].feature] = releases[i].level;
    struct err why = {0};
    if (check_needs(FEATURE_ELIGIBLE, out[FEATURE_ELIGIBLE], out, &why) != ERR_OK) return err_set(err, ERR_CONFIG, "broker.features: %s", why.msg);
    return ERR_OK;
}

// The store may have levels already: a first start that ended before the directory was whole left them, and may have been told others. All of them
// become those of this start, in one write. Later epochs were set by an administrator, so they are nobody's beginning.
enum err_code features_begin(struct sys *s, const char *store_path, const char *levels, int node_id, struct err *err) {
    int16_t before[FEATURES], after[FEATURES];
    int64_t epoch;
    for (int i = 0; i < FEATURES; i++) before[i] = after[i] = known[i].level;
    if (levels != NULL && parse(levels, after, node_id, err) != ERR_OK) return err->code;
    if (memcmp(before, after, sizeof before) == 0 && !sys_exists(s, store_path)) return ERR_OK;
    struct store *st = store_open(s, store_path, err);
    if (st == NULL) return err->code;
    enum err_code code = read_levels(st, store_path, before, &epoch, err);
    if (code == ERR_OK && epoch == EPOCH_FIRST && memcmp(before, after, sizeof before) != 0) code = write_levels(st, before, after, EPOCH_FIRST, err);
    store_close(st);
    return code;
}

// ---- levels in force ------------------------------------------------------------------------------------------------

int16_t broker_feature_level(const struct broker *b, enum broker_feature f) { return atomic_load_explicit(&b->features->levels[f], memory_order_relaxed); }

int64_t broker_features(struct broker *b, struct broker_feature_info out[FEATURES]) {
    struct broker_features *x = b->features;
    sys_mutex_lock(&x->mutex);
    int64_t epoch = x->epoch;
    for (int i = 0; i < FEATURES; i++) {
        out[i] = known[i];
        out[i].level = broker_feature_level(b, (enum broker_feature)i);
    }
    sys_mutex_unlock(&x->mutex);
    return epoch;
}

static void take(struct broker_features *x, const int16_t levels[FEATURES]) {
    sys_mutex_lock(&x->mutex);
    x->epoch++;
    for (int i = 0; i < FEATURES; i++) {
        int16_t before = atomic_exchange(&x->levels[i], levels[i]);
        if (before != levels[i])
            log_info("broker", "a feature has another level", "feature", known[i].name, "before", log_i64(before), "now", log_i64(levels[i]), NULL);
    }
    sys_mutex_unlock(&x->mutex);
}

enum err_code broker_features_update(struct broker *b, const struct broker_feature_update *updates, size_t n, bool validate_only, struct err *err) {
    struct broker_features *x = b->features;
    struct err local = {0};
    int16_t before[FEATURES], after[FEATURES];
    enum err_code code = ERR_OK;
    if (err == NULL) err = &local;
    sys_mutex_lock(&x->change);
    for (int i = 0; i < FEATURES; i++) before[i] = after[i] = broker_feature_level(b, (enum broker_feature)i);
    for (size_t i = 0; i < n && code == ERR_OK; i++) code = check(&updates[i], after, b->config.node_id, err);
    if (code == ERR_OK && !validate_only && memcmp(before, after, sizeof before) != 0) {
        code = write_levels(b->store, before, after, x->epoch + 1, err);
        if (code == ERR_OK) take(x, after);
        if (code == ERR_OK) dynamic_touch(b);
    }
    sys_mutex_unlock(&x->change);
    return code;
}
