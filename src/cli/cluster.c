// SPDX-License-Identifier: Apache-2.0
// What the commands over a Kafka cluster share. One thread; all memory is the command's arena.
#include "cli/cluster.h"

#include <inttypes.h>
#include <string.h>

#include "client/security.h"

enum { VALUES_MAX = 64 };

enum err_code cli_security(struct cli *c, const char *option, int slot, const struct client_security **out, struct err *err) {
    const char *path = cli_opt(c, option);
    *out = NULL;
    if (path == NULL) return ERR_OK;
    if (c->security[slot] == NULL) c->security[slot] = client_security_read(c->sys, path, err);
    *out = c->security[slot];
    return *out != NULL ? ERR_OK : err_wrap(err, "--%s", option);
}

enum err_code cli_target(struct cli *c, struct client_target *out, struct err *err) {
    out->brokers = cli_opt(c, "brokers");
    if (out->brokers == NULL && cli_address(c, "kafka", "127.0.0.1:9092", &out->brokers, err) != ERR_OK) return err->code;
    return cli_security(c, "command-config", 0, &out->security, err);
}

struct cluster *cli_cluster(struct cli *c, struct err *err) {
    struct client_target at;
    return cli_target(c, &at, err) != ERR_OK ? NULL : cluster_open(c->sys, &at, err);
}

const char *cli_number(struct cli *c, int64_t v) { return arena_printf(&c->arena, "%" PRId64, v); }
const char *cli_number_or_null(struct cli *c, int64_t v) { return v < 0 ? NULL : cli_number(c, v); }
const char *cli_text(struct cli *c, struct str s) { return s.n == 0 ? NULL : arena_strndup(&c->arena, s.p, s.n); }

static int32_t split(struct str text, char sep, struct str *out, int32_t max) {
    int32_t n = 0;
    struct str head;
    for (bool more = text.n > 0; more && n < max; n++) {
        struct str tail;
        more = str_cut(text, sep, &head, &tail);
        out[n] = head;
        text = tail;
    }
    return n;
}

struct str *cli_list(struct cli *c, const char *option, int32_t *n) {
    const char *given[VALUES_MAX];
    size_t n_given = cli_opt_all(c, option, given, VALUES_MAX), most = 0;
    for (size_t i = 0; i < n_given; i++) most += strlen(given[i]) + 1;
    struct str *out = ARENA_ARRAY(&c->arena, struct str, most);
    *n = 0;
    for (size_t i = 0; i < n_given; i++) *n += split(str_c(given[i]), ',', out + *n, (int32_t)most - *n);
    return out;
}

struct str *cli_values(struct cli *c, const char *option, int32_t *n) {
    const char *given[VALUES_MAX];
    *n = (int32_t)cli_opt_all(c, option, given, VALUES_MAX);
    struct str *out = ARENA_ARRAY(&c->arena, struct str, (size_t)*n + 1);
    for (int32_t i = 0; i < *n; i++) out[i] = str_c(given[i]);
    return out;
}

enum err_code cli_topic_specs(struct cli *c, struct cli_topic_spec **out, size_t *n, struct err *err) {
    const char *given[VALUES_MAX];
    *n = cli_opt_all(c, "topic", given, VALUES_MAX);
    *out = ARENA_ARRAY(&c->arena, struct cli_topic_spec, *n);
    for (size_t i = 0; i < *n; i++) {
        struct cli_topic_spec *t = &(*out)[i];
        struct str numbers;
        if (!str_cut(str_c(given[i]), ':', &t->topic, &numbers)) continue;
        struct str *cut = ARENA_ARRAY(&c->arena, struct str, numbers.n + 1);
        t->n = split(numbers, ',', cut, (int32_t)numbers.n + 1);
        t->partitions = ARENA_ARRAY(&c->arena, int32_t, t->n + 1);
        for (int32_t k = 0; k < t->n; k++) {
            int64_t v;
            if (!str_to_i64(cut[k], &v) || v < 0 || v > INT32_MAX)
                return err_set(err, ERR_INVALID, "--topic %s: TOPIC or TOPIC:0,1,2 is expected", given[i]);
            t->partitions[k] = (int32_t)v;
        }
    }
    return ERR_OK;
}
