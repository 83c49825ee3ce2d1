// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's run-time settings as far as clients ask for them: one table of names, values and what may be set. The session's own
// values are in its map. Runs on the session's worker.
#include <stdio.h>

#include "pg/session.h"

static const struct setting {
    const char *name, *value;
    bool reported;      // ParameterStatus at log-in and when it changes
    const char *only;   // only values that begin so (any case) can be set; NULL = any; "" = it cannot be set
} settings[] = {
    {"application_name", "", true, NULL},
    {"bytea_output", "hex", false, "hex"},
    {"client_encoding", "UTF8", true, "utf"},
    {"client_min_messages", "notice", false, NULL},
    {"datestyle", "ISO, MDY", true, "iso"},
    {"default_transaction_isolation", "read committed", false, NULL},
    {"default_transaction_read_only", "off", false, "off"},
    {"extra_float_digits", "1", false, NULL},
    {"idle_in_transaction_session_timeout", "0", false, "0"},
    {"in_hot_standby", "off", true, ""},
    {"integer_datetimes", "on", true, ""},
    {"intervalstyle", "postgres", true, "postgres"},
    {"is_superuser", "on", true, ""},
    {"lc_collate", "C.UTF-8", false, ""},
    {"lc_ctype", "C.UTF-8", false, ""},
    {"lock_timeout", "0", false, NULL},
    {"max_identifier_length", "63", false, ""},
    {"max_index_keys", "32", false, ""},
    {"row_security", "on", false, NULL},
    {"server_encoding", "UTF8", true, ""},
    {"server_version", "15.0", true, ""},
    {"server_version_num", "150000", false, ""},
    {"session_authorization", "millrace", true, "millrace"},
    {"standard_conforming_strings", "on", true, "on"},
    {"statement_timeout", "0", false, "0"},
    {"synchronous_commit", "on", false, NULL},
    {"timezone", "UTC", true, NULL},
    {"transaction_isolation", "read committed", false, NULL},
    {"transaction_read_only", "off", false, "off"},
};

// Clients spell these two with capitals and compare them so.
static const char *shown_name(const struct setting *k) {
    if (str_eqc(STR("datestyle"), k->name)) return "DateStyle";
    if (str_eqc(STR("timezone"), k->name)) return "TimeZone";
    if (str_eqc(STR("intervalstyle"), k->name)) return "IntervalStyle";
    return k->name;
}

static const struct setting *find(struct str name) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (str_ieq(name, str_c(settings[i].name))) return &settings[i];
    return NULL;
}

static const char *value_of(struct pg_session *s, const struct setting *k) {
    const char *own = map_getc(&s->settings, k->name);
    return own != NULL ? own : k->value;
}

const char *pg_settings_get(struct pg_session *s, struct str name) {
    const struct setting *k = find(name);
    return k == NULL ? NULL : value_of(s, k);
}

void pg_settings_report(struct pg_session *s) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (settings[i].reported) pg_put_parameter(&s->out, shown_name(&settings[i]), value_of(s, &settings[i]));
}

static void keep(struct pg_session *s, const struct setting *k, struct str value) {
    mem_free(value.p == NULL ? map_remove(&s->settings, str_c(k->name)) : map_put(&s->settings, str_c(k->name), mem_strndup(value.p, value.n)));
}

void pg_settings_start(struct pg_session *s, struct str name, struct str value) {
    // What a client sends at log-in it does not depend on: it reads what is in force from ParameterStatus.
    const struct setting *k = find(name);
    if (k != NULL && k->only == NULL && !str_eqc(name, "TimeZone")) keep(s, k, value);
}

enum err_code pg_settings_set(struct pg_session *s, struct str name, struct str value, struct err *err) {
    const struct setting *k = find(name);
    if (k == NULL) return err_set(err, ERR_NOT_FOUND, "unrecognized configuration parameter \"" STR_FMT "\"", STR_ARG(name));
    bool reset = value.p == NULL;
    if (!reset && k->only != NULL) {
        struct str want = str_c(k->only), head = {value.p, value.n < want.n ? value.n : want.n};
        if (want.n == 0) return err_set(err, ERR_DENIED, "parameter \"%s\" cannot be changed", k->name);
        if (!str_ieq(head, want) && !str_ieq(value, STR("default")))
            return err_set(err, ERR_NOT_SUPPORTED, "%s = '" STR_FMT "' is not supported, only '%s'", k->name, STR_ARG(value), k->value);
        value = (struct str){0}; // the default is the only value there is
    }
    keep(s, k, str_ieq(value, STR("default")) ? (struct str){0} : value);
    if (k->reported) pg_put_parameter(&s->out, shown_name(k), value_of(s, k));
    return ERR_OK;
}

struct engine_result *pg_settings_all(struct pg_session *s) {
    static const char *const names[] = {"name", "setting"};
    enum { N = sizeof settings / sizeof *settings };
    const char *cells[N * 2];
    for (size_t i = 0; i < N; i++) {
        cells[i * 2] = shown_name(&settings[i]);
        cells[i * 2 + 1] = value_of(s, &settings[i]);
    }
    return engine_result_text(names, 2, cells, N, "SHOW", -1);
}

void pg_settings_fini(struct pg_session *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->settings, &it)) != NULL;) mem_free(e->value);
    map_fini(&s->settings);
}
