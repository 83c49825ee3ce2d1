// SPDX-License-Identifier: Apache-2.0
// See properties.h. The broker checks the values; here are only the form of the file and the names.
#include "server/properties.h"

#include "base/log.h"
#include "base/mem.h"
#include "sys/sys.h"

enum { TEXT_MAX = 1 << 20 };

static const struct {
    const char *kafka, *ours;
} same[] = {
    {"num.partitions", "broker.partitions"}, {"auto.create.topics.enable", "broker.auto_create_topics"}, {"node.id", "broker.node_id"},
    {"broker.id", "broker.node_id"},         {"socket.request.max.bytes", "kafka.request_max"},
};

static void put(struct properties *out, const char *name, const char *value) {
    for (size_t i = 0; i < out->n; i++)
        if (str_eqc(str_c(name), out->p[i].name)) {
            out->p[i].value = value;
            return;
        }
    out->p[out->n++] = (struct broker_kv){name, value};
}

static enum err_code set_ours(struct config *c, const char *key, struct str value, const char *place, struct err *err) {
    int id = config_find(str_c(key));
    if (c->values[id].source != CONFIG_FROM_DEFAULT) return ERR_OK;
    return config_set(c, str_c(key), value, CONFIG_FROM_DEFAULT, place, err);
}

static enum err_code take_line(struct str line, struct config *c, struct arena *a, const char *place, struct properties *out, struct err *err) {
    size_t at = 0;
    while (at < line.n && line.p[at] != '=' && line.p[at] != ':') at++;
    if (at == line.n) return err_set(err, ERR_CONFIG, "%s: name=value is expected", place);
    struct str name = str_trim(str_n(line.p, at)), value = str_trim(str_n(line.p + at + 1, line.n - at - 1));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (str_eqc(name, same[i].kafka)) return set_ours(c, same[i].ours, value, place, err);
    const char *owned = arena_strndup(a, name.p, name.n);
    if (!broker_config_known(owned)) {
        log_warn("server", "not a broker config here, left out", "at", place, "name", owned, NULL);
        return ERR_OK;
    }
    put(out, owned, arena_strndup(a, value.p, value.n));
    return ERR_OK;
}

enum err_code properties_load(struct sys *s, const char *path, struct config *c, struct arena *a, struct properties *out, struct err *err) {
    size_t n, lines = 1;
    char *text = sys_read_file(s, path, TEXT_MAX, &n, err);
    if (text == NULL) {
        err_wrap(err, "broker.properties");
        return err->code = ERR_CONFIG;
    }
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    *out = (struct properties){.p = ARENA_ARRAY(a, struct broker_kv, lines)};
    struct str rest = str_n(text, n), line;
    enum err_code code = ERR_OK;
    for (int number = 1; code == ERR_OK && rest.n > 0; number++) {
        str_cut(rest, '\n', &line, &rest);
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#' || line.p[0] == '!') continue;
        code = take_line(line, c, a, arena_printf(a, "%s:%d", path, number), out, err);
    }
    mem_free(text);
    return code;
}
