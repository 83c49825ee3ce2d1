// SPDX-License-Identifier: Apache-2.0
// See properties.h. The broker checks the values; here are only the form of the file and the names.
#include "server/properties.h"

#include "base/log.h"
#include "base/mem.h"
#include "codec/properties.h"
#include "sys/sys.h"

static const struct {
    const char *kafka, *ours;
} same[] = {
    {"num.partitions", "broker.partitions"}, {"auto.create.topics.enable", "broker.auto_create_topics"}, {"node.id", "broker.node_id"},
    {"broker.id", "broker.node_id"},         {"socket.request.max.bytes", "kafka.request_max"},
};

static enum err_code set_ours(struct config *c, const char *key, struct str value, const char *place, struct err *err) {
    int id = config_find(str_c(key));
    if (c->values[id].source != CONFIG_FROM_DEFAULT) return ERR_OK;
    return config_set(c, str_c(key), value, CONFIG_FROM_DEFAULT, place, err);
}

// Families of names that the door checks: it refuses those it does not know, so that a slip of the pen leaves no door open.
static bool is_the_doors(struct str name) {
    static const char *const families[] = {
        "listeners", "advertised.listeners", "listener.", "ssl.", "sasl.", "authorizer.", "super.users", "allow.everyone.if.no.acl.found",
        "connections.max.reauth.ms", "connection.failed.authentication.delay.ms", "delegation.token.", "principal.builder.class",
        "inter.broker.listener.name", "security.inter.broker.protocol", "early.start.listeners",
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (str_starts(name, str_c(families[i]))) return true;
    return false;
}

static enum err_code take(const struct property *p, struct config *c, const char *place, struct properties *out, struct err *err) {
    struct str name = str_c(p->name);
    if (!p->assigned) return err_set(err, ERR_CONFIG, "%s: name=value is expected", place);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (str_eqc(name, same[i].kafka)) return set_ours(c, same[i].ours, str_c(p->value), place, err);
    bool door = is_the_doors(name);
    if (door) out->door[out->n_door++] = (struct broker_kv){p->name, p->value};
    if (broker_config_known(p->name)) {
        out->places[out->n] = place;
        out->p[out->n++] = (struct broker_kv){p->name, p->value};
    }
    else if (!door) log_warn("server", "not a broker config here, left out", "at", place, "name", p->name, NULL);
    return ERR_OK;
}

// The lines of a file; `key` names it in messages.
static enum err_code read_lines(struct sys *s, const char *key, const char *path, struct arena *a, struct property **lines, size_t *n_lines,
                                struct err *err) {
    size_t n;
    char *text = sys_read_file(s, path, PROPERTIES_TEXT_MAX, &n, err);
    if (text == NULL) {
        err_wrap(err, "%s", key);
        return err->code = ERR_CONFIG;
    }
    enum err_code code = properties_parse(str_n(text, n), a, lines, n_lines, err);
    mem_free(text);
    if (code == ERR_OK) return ERR_OK;
    err_wrap(err, "%s", path);
    return err->code = ERR_CONFIG;
}

enum err_code properties_load(struct sys *s, const char *path, struct config *c, struct arena *a, struct properties *out, struct err *err) {
    size_t n = 0;
    struct property *lines = NULL;
    *out = (struct properties){0};
    if (read_lines(s, "broker.properties", path, a, &lines, &n, err) != ERR_OK) return err->code;
    out->p = ARENA_ARRAY(a, struct broker_kv, n + 1);
    out->places = ARENA_ARRAY(a, const char *, n + 1);
    out->door = ARENA_ARRAY(a, struct broker_kv, n + 1);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < n && code == ERR_OK; i++) code = take(&lines[i], c, arena_printf(a, "broker.properties=%s:%d", path, lines[i].line), out, err);
    return code;
}

enum err_code properties_read(struct sys *s, const char *key, const char *path, struct arena *a, struct properties *out, struct err *err) {
    size_t n = 0;
    struct property *lines = NULL;
    *out = (struct properties){0};
    if (read_lines(s, key, path, a, &lines, &n, err) != ERR_OK) return err->code;
    out->p = ARENA_ARRAY(a, struct broker_kv, n + 1);
    for (size_t i = 0; i < n; i++) out->p[out->n++] = (struct broker_kv){lines[i].name, lines[i].value};
    return ERR_OK;
}
