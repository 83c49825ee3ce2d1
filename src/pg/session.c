// SPDX-License-Identifier: Apache-2.0
// The query side of a connection: start-up, simple and extended query protocol, result rows. Runs on a worker, one job at a time.
//
// A portal's result streams from the engine; the session's engine connection holds one stream, so that any other statement ends it.
// Errors in the extended protocol skip to the next Sync, as PostgreSQL does.
#include "pg/session.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "pg/catalog.h"
#include "pg/types.h"

enum { SEND_AT = 64 << 10, PORTALS_MAX = 256, STATEMENTS_MAX = 1024, PROTOCOL_3 = 3 << 16 };

struct prepared {
    struct arena arena;
    struct str sql;
    size_t n_oids;
    uint32_t *oids; // as the client declared them; 0 = not
};

struct portal {
    struct arena arena;
    struct str sql;
    size_t n_params;
    struct engine_param *params;
    size_t n_oids;
    uint32_t *oids;
    size_t n_formats;
    int16_t *formats; // of results: 0 text, 1 binary; one for all when n_formats = 1
    struct engine_result *result;
    struct cols_batch *batch;
    size_t row;
    int64_t sent;
    bool started, done;
};

// ---- sending rows ---------------------------------------------------------------------------------------------------------

static bool flush(struct pg_session *s) { return s->out.n == 0 || pg_conn_send(s->conn, &s->out); }

static void put_row_description(struct pg_session *s, const struct cols_schema *schema, const int16_t *formats, size_t n_formats) {
    size_t at = pg_begin(&s->out, 'T');
    buf_put_be16(&s->out, (uint16_t)schema->n);
    for (size_t i = 0; i < schema->n; i++) {
        const struct cols_type *t = &schema->fields[i].type;
        uint32_t oid = pg_type_of(t);
        const struct pg_type *type = pg_type_find(oid);
        pg_put_cstr(&s->out, schema->fields[i].name);
        buf_put_be32(&s->out, 0);
        buf_put_be16(&s->out, 0);
        buf_put_be32(&s->out, oid);
        buf_put_be16(&s->out, (uint16_t)(type == NULL ? -1 : type->len));
        buf_put_be32(&s->out, (uint32_t)pg_typmod_of(t));
        buf_put_be16(&s->out, (uint16_t)(n_formats == 0 ? 0 : formats[n_formats == 1 ? 0 : i]));
    }
    pg_end(&s->out, at);
}

static enum err_code put_row(struct pg_session *s, const struct cols_batch *b, size_t row, const int16_t *formats, size_t n_formats,
                             struct err *err) {
    size_t at = pg_begin(&s->out, 'D'), n = b->schema->n;
    buf_put_be16(&s->out, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct cols_column *c = &b->columns[i];
        if (c->type->kind == COLS_NULL || !cols_is_valid(c, row)) {
            buf_put_be32(&s->out, UINT32_MAX);
            continue;
        }
        size_t len_at = s->out.n;
        buf_put_be32(&s->out, 0);
        enum err_code code = ERR_OK;
        if (n_formats > 0 && formats[n_formats == 1 ? 0 : i] == 1) code = pg_value_binary(c, row, &s->out, err);
        else pg_value_text(c, row, &s->out);
        if (code != ERR_OK) {
            s->out.n = at - 1;
            return code;
        }
        buf_set_be32(&s->out, len_at, (uint32_t)(s->out.n - len_at - 4));
    }
    pg_end(&s->out, at);
    return s->out.failed ? err_set(err, ERR_TOO_LARGE, "a row is larger than the output buffer") : ERR_OK;
}

static bool tag_has_count(const char *tag) {
    static const char *const counted[] = {"SELECT", "INSERT 0", "UPDATE", "DELETE", "MERGE", "COPY"};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        if (strcmp(tag, counted[i]) == 0) return true;
    return false;
}

static void put_complete(struct pg_session *s, const struct engine_result *r, int64_t sent) {
    const char *tag = engine_result_tag(r);
    int64_t n = engine_result_affected(r);
    if (engine_result_is_rows(r) || n < 0) n = sent; // create table as is SELECT too, with the rows written
    size_t at = pg_begin(&s->out, 'C');
    buf_puts(&s->out, tag);
    if (tag_has_count(tag)) buf_printf(&s->out, " %" PRId64, n);
    buf_put_u8(&s->out, 0);
    pg_end(&s->out, at);
    metric_add(M_PG_QUERIES, "ok", 1);
}

// Sends up to `max` rows (0 = all) of the portal. Fills p->done. ERR_CLOSED: the client is gone.
static enum err_code send_rows(struct pg_session *s, struct portal *p, int64_t max, struct err *err) {
    for (int64_t n = 0; max == 0 || n < max; n++) {
        while (p->batch == NULL || p->row == p->batch->n) {
            cols_batch_free(p->batch);
            p->row = 0;
            err_clear(err);
            p->batch = engine_result_next(p->result, err);
            if (p->batch == NULL) {
                p->done = err->code == ERR_OK;
                return err->code;
            }
        }
        enum err_code code = put_row(s, p->batch, p->row, p->formats, p->n_formats, err);
        if (code != ERR_OK) return code;
        p->row++;
        p->sent++;
        if (s->out.n >= SEND_AT && !flush(s)) return err_set(err, ERR_CLOSED, "the client is gone");
    }
    return ERR_OK;
}

static void report(struct pg_session *s, const struct err *err, bool position_known) {
    pg_put_err(&s->out, err, position_known);
    metric_add(M_PG_QUERIES, "error", 1);
    if (s->status == 'T') s->status = 'E';
}

static void put_ready(struct pg_session *s) {
    size_t at = pg_begin(&s->out, 'Z');
    buf_put_u8(&s->out, (uint8_t)s->status);
    pg_end(&s->out, at);
}

// ---- portals and statements --------------------------------------------------------------------------------------------------

static void portal_stop(struct portal *p) {
    cols_batch_free(p->batch);
    engine_result_free(p->result);
    p->batch = NULL;
    p->result = NULL;
}

static void portal_free(struct portal *p) {
    if (p == NULL) return;
    portal_stop(p);
    arena_fini(&p->arena);
    mem_free(p);
}

static void prepared_free(struct prepared *p) {
    if (p == NULL) return;
    arena_fini(&p->arena);
    mem_free(p);
}

static void portals_drop(struct pg_session *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->portals, &it)) != NULL;) portal_free(e->value);
    map_fini(&s->portals);
    map_init(&s->portals);
}

void pg_session_forget_prepared(struct pg_session *s, struct str name) {
    if (name.n > 0) {
        prepared_free(map_remove(&s->prepared, name));
        return;
    }
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->prepared, &it)) != NULL;) prepared_free(e->value);
    map_fini(&s->prepared);
    map_init(&s->prepared);
}

// Another statement is about to use the engine's connection: a stream that is still open would end there.
static void streams_end(struct pg_session *s, const struct portal *except) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->portals, &it)) != NULL;) {
        struct portal *p = e->value;
        if (p == except || p->result == NULL) continue;
        portal_stop(p);
        if (!p->done) portal_free(map_remove(&s->portals, (struct str){e->key, e->key_len}));
    }
}

static enum err_code portal_start(struct pg_session *s, struct portal *p, struct err *err) {
    if (p->started) return p->result == NULL ? err_set(err, ERR_INVALID, "the portal was run already") : ERR_OK;
    streams_end(s, p);
    p->started = true;
    p->result = pg_run(s, p->sql, p->oids, p->n_oids, p->params, p->n_params, err);
    if (p->result == NULL) return err->code;
    size_t columns = engine_result_is_rows(p->result) ? engine_result_schema(p->result)->n : 0;
    if (columns == 0 || p->n_formats <= 1 || p->n_formats == columns) return ERR_OK;
    portal_stop(p);
    return err_set(err, ERR_INVALID, "the Bind message has %zu result formats but the query has %zu columns", p->n_formats, columns);
}

// ---- simple query --------------------------------------------------------------------------------------------------------------

static int chars_before(struct str text, size_t bytes) {
    int n = 0;
    for (size_t i = 0; i < bytes && i < text.n; i++) n += ((uint8_t)text.p[i] & 0xC0) != 0x80;
    return n;
}

static enum err_code run_one(struct pg_session *s, struct str sql, struct err *err) {
    struct portal p = {0};
    streams_end(s, NULL);
    p.result = pg_run(s, sql, NULL, 0, NULL, 0, err);
    if (p.result == NULL) return err->code;
    if (engine_result_is_rows(p.result)) put_row_description(s, engine_result_schema(p.result), NULL, 0);
    enum err_code code = send_rows(s, &p, 0, err);
    if (code == ERR_OK) put_complete(s, p.result, p.sent);
    portal_stop(&p);
    return code;
}

static void simple_query(struct pg_session *s, struct str script) {
    struct arena a;
    arena_init(&a);
    struct sql_statement st;
    struct err err = {0};
    size_t at = 0;
    bool any = false, inside = false; // inside: it is a statement that failed, its position counts characters already
    portal_free(map_remove(&s->portals, STR("")));
    while (sql_next(script, &at, &a, &st, &err)) {
        if (st.kind == SQL_EMPTY) continue;
        any = true;
        if (run_one(s, st.text, &err) == ERR_OK) continue;
        if (err.position > 0) err.position += chars_before(script, st.at);
        inside = true;
        break;
    }
    if (!inside && err.position > 0) err.position = chars_before(script, (size_t)err.position);
    if (err.code != ERR_OK && err.code != ERR_CLOSED) report(s, &err, true);
    if (err.code == ERR_OK && !any) pg_end(&s->out, pg_begin(&s->out, 'I'));
    arena_fini(&a);
    put_ready(s);
}

// ---- extended query --------------------------------------------------------------------------------------------------------------

// A NUL-terminated string of the message.
static struct str get_cstr(struct rd *r) {
    const uint8_t *end = r->failed ? NULL : memchr(r->p, 0, rd_left(r));
    if (end == NULL) {
        r->failed = true;
        return STR("");
    }
    struct str s = {(const char *)r->p, (size_t)(end - r->p)};
    r->p = end + 1;
    return s;
}

static enum err_code on_parse(struct pg_session *s, struct rd *r, struct err *err) {
    struct str name = get_cstr(r), sql = get_cstr(r);
    size_t n = rd_be16(r);
    if (r->failed || rd_left(r) < n * 4) return err_set(err, ERR_INVALID, "malformed Parse message");
    if (name.n > 0 && map_get(&s->prepared, name) != NULL)
        return err_set(err, ERR_EXISTS, "prepared statement \"" STR_FMT "\" already exists", STR_ARG(name));
    if (s->prepared.n >= STATEMENTS_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d prepared statements", STATEMENTS_MAX);
    struct prepared *p = MEM_NEW(struct prepared);
    arena_init(&p->arena);
    p->sql = arena_str(&p->arena, sql);
    p->oids = ARENA_ARRAY(&p->arena, uint32_t, n);
    p->n_oids = n;
    for (size_t i = 0; i < n; i++) p->oids[i] = rd_be32(r);
    struct sql_statement st;
    if (sql_parse(p->sql, &p->arena, &st, err) != ERR_OK) {
        prepared_free(p);
        return err->code;
    }
    prepared_free(map_put(&s->prepared, name, p));
    pg_end(&s->out, pg_begin(&s->out, '1'));
    return ERR_OK;
}

// OID of parameter i where the client did not declare it: what the engine found out.
static uint32_t param_oid(const struct prepared *p, size_t i, const struct engine_described *d) {
    if (i < p->n_oids && p->oids[i] != 0) return p->oids[i];
    return d != NULL && i < d->n_params && d->params[i].kind != COLS_NULL ? pg_type_of(&d->params[i]) : (uint32_t)PG_TEXT;
}

static enum err_code bind_params(struct pg_session *s, struct rd *r, const struct prepared *from, struct portal *p, struct err *err) {
    size_t n_formats = rd_be16(r);
    int16_t *formats = ARENA_ARRAY(&p->arena, int16_t, n_formats);
    for (size_t i = 0; i < n_formats; i++) formats[i] = (int16_t)rd_be16(r);
    p->n_params = rd_be16(r);
    if (r->failed || (n_formats > 1 && n_formats != p->n_params)) return err_set(err, ERR_INVALID, "malformed Bind message");
    p->params = ARENA_ARRAY(&p->arena, struct engine_param, p->n_params);
    struct engine_described described = {0};
    bool asked = false;
    for (size_t i = 0; i < p->n_params; i++) {
        uint32_t len = rd_be32(r);
        p->params[i].null = len == UINT32_MAX;
        if (p->params[i].null) continue;
        const uint8_t *bytes = rd_bytes(r, len);
        if (bytes == NULL) return err_set(err, ERR_INVALID, "malformed Bind message");
        struct str value = str_n(bytes, len);
        if (n_formats == 0 || formats[n_formats == 1 ? 0 : i] == 0) {
            uint32_t oid = i < from->n_oids ? from->oids[i] : 0;
            if (pg_param_from_text(oid, value, &p->arena, &p->params[i].text, err) != ERR_OK) return err->code;
            continue;
        }
        if ((i >= from->n_oids || from->oids[i] == 0) && !asked) {
            asked = true;
            if (pg_describe(s, from->sql, from->oids, from->n_oids, &p->arena, &described, err) != ERR_OK) return err->code;
        }
        enum err_code code = pg_param_text(param_oid(from, i, &described), value, &p->arena, &p->params[i].text, err);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static enum err_code bind_portal(struct pg_session *s, struct rd *r, const struct prepared *from, struct portal *p, struct err *err) {
    enum err_code code = bind_params(s, r, from, p, err);
    if (code != ERR_OK) return code;
    p->n_formats = rd_be16(r);
    p->formats = ARENA_ARRAY(&p->arena, int16_t, p->n_formats);
    for (size_t i = 0; i < p->n_formats; i++) p->formats[i] = (int16_t)rd_be16(r);
    if (r->failed) return err_set(err, ERR_INVALID, "malformed Bind message");
    p->sql = arena_str(&p->arena, from->sql);
    p->n_oids = from->n_oids;
    p->oids = ARENA_ARRAY(&p->arena, uint32_t, from->n_oids);
    if (from->n_oids > 0) memcpy(p->oids, from->oids, from->n_oids * sizeof *p->oids);
    return ERR_OK;
}

static enum err_code on_bind(struct pg_session *s, struct rd *r, struct err *err) {
    struct str portal_name = get_cstr(r), name = get_cstr(r);
    if (r->failed) return err_set(err, ERR_INVALID, "malformed Bind message");
    const struct prepared *from = map_get(&s->prepared, name);
    if (from == NULL) return err_set(err, ERR_NOT_FOUND, "prepared statement \"" STR_FMT "\" does not exist", STR_ARG(name));
    if (s->portals.n >= PORTALS_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d open portals", PORTALS_MAX);
    if (portal_name.n > 0 && map_get(&s->portals, portal_name) != NULL)
        return err_set(err, ERR_EXISTS, "portal \"" STR_FMT "\" already exists", STR_ARG(portal_name));
    struct portal *p = MEM_NEW(struct portal);
    arena_init(&p->arena);
    enum err_code code = bind_portal(s, r, from, p, err);
    if (code != ERR_OK) {
        portal_free(p);
        return code;
    }
    portal_free(map_put(&s->portals, portal_name, p));
    pg_end(&s->out, pg_begin(&s->out, '2'));
    return ERR_OK;
}

static enum err_code describe_statement(struct pg_session *s, struct str name, struct err *err) {
    struct prepared *p = map_get(&s->prepared, name);
    if (p == NULL) return err_set(err, ERR_NOT_FOUND, "prepared statement \"" STR_FMT "\" does not exist", STR_ARG(name));
    struct arena a;
    arena_init(&a);
    struct engine_described d = {0};
    enum err_code code = pg_describe(s, p->sql, p->oids, p->n_oids, &a, &d, err);
    if (code == ERR_OK) {
        size_t n = d.n_params > p->n_oids ? d.n_params : p->n_oids;
        size_t at = pg_begin(&s->out, 't');
        buf_put_be16(&s->out, (uint16_t)n);
        for (size_t i = 0; i < n; i++) buf_put_be32(&s->out, param_oid(p, i, &d));
        pg_end(&s->out, at);
        if (d.columns != NULL && d.columns->n > 0) put_row_description(s, d.columns, NULL, 0);
        else pg_end(&s->out, pg_begin(&s->out, 'n'));
    }
    arena_fini(&a);
    return code;
}

// Reads start here already, so that the description costs no second planning; so do our own statements, whose columns only the run
// knows. All else returns no rows and runs at Execute.
static enum err_code describe_portal(struct pg_session *s, struct str name, struct err *err) {
    struct portal *p = map_get(&s->portals, name);
    if (p == NULL) return err_set(err, ERR_NOT_FOUND, "portal \"" STR_FMT "\" does not exist", STR_ARG(name));
    struct sql_statement st;
    if (sql_parse(p->sql, &p->arena, &st, err) != ERR_OK) return err->code;
    bool rows = st.kind == SQL_SELECT || st.kind == SQL_COPY_FROM_TOPIC || st.kind == SQL_CHECK || st.kind == SQL_SHOW_TOPICS || st.kind == SQL_OTHER;
    if (rows && portal_start(s, p, err) != ERR_OK) return err->code;
    if (rows && engine_result_is_rows(p->result)) put_row_description(s, engine_result_schema(p->result), p->formats, p->n_formats);
    else pg_end(&s->out, pg_begin(&s->out, 'n'));
    return ERR_OK;
}

static enum err_code on_describe(struct pg_session *s, struct rd *r, struct err *err) {
    uint8_t what = rd_u8(r);
    struct str name = get_cstr(r);
    if (r->failed || (what != 'S' && what != 'P')) return err_set(err, ERR_INVALID, "malformed Describe message");
    return what == 'S' ? describe_statement(s, name, err) : describe_portal(s, name, err);
}

static enum err_code on_execute(struct pg_session *s, struct rd *r, struct err *err) {
    struct str name = get_cstr(r);
    int64_t max = (int32_t)rd_be32(r);
    if (r->failed) return err_set(err, ERR_INVALID, "malformed Execute message");
    struct portal *p = map_get(&s->portals, name);
    if (p == NULL) return err_set(err, ERR_NOT_FOUND, "portal \"" STR_FMT "\" does not exist", STR_ARG(name));
    struct sql_statement st;
    if (!p->started && sql_parse(p->sql, &p->arena, &st, err) != ERR_OK) return err->code;
    if (!p->started && st.kind == SQL_EMPTY) return pg_end(&s->out, pg_begin(&s->out, 'I')), ERR_OK;
    if (portal_start(s, p, err) != ERR_OK) return err->code;
    enum err_code code = send_rows(s, p, max < 0 ? 0 : max, err);
    if (code != ERR_OK) return code;
    if (!p->done) {
        pg_end(&s->out, pg_begin(&s->out, 's')); // PortalSuspended
        return ERR_OK;
    }
    put_complete(s, p->result, p->sent);
    portal_stop(p);
    return ERR_OK;
}

static enum err_code on_close(struct pg_session *s, struct rd *r, struct err *err) {
    uint8_t what = rd_u8(r);
    struct str name = get_cstr(r);
    if (r->failed || (what != 'S' && what != 'P')) return err_set(err, ERR_INVALID, "malformed Close message");
    if (what == 'S') prepared_free(map_remove(&s->prepared, name));
    else portal_free(map_remove(&s->portals, name));
    pg_end(&s->out, pg_begin(&s->out, '3'));
    return ERR_OK;
}

static enum err_code no_copy(struct pg_session *s, struct rd *r, struct err *err) {
    (void)s, (void)r;
    return err_set(err, ERR_NOT_SUPPORTED, "COPY over the PostgreSQL protocol is not supported; insert rows, or read files with read_csv or read_parquet");
}

static enum err_code no_function(struct pg_session *s, struct rd *r, struct err *err) {
    (void)s, (void)r;
    return err_set(err, ERR_NOT_SUPPORTED, "the FunctionCall message is not supported; call functions with SELECT");
}

// The extended protocol's messages. Sync, Query, Flush and Terminate are handled apart.
static const struct {
    char type;
    enum err_code (*handle)(struct pg_session *s, struct rd *r, struct err *err);
} handlers[] = {
    {'P', on_parse}, {'B', on_bind}, {'D', on_describe}, {'E', on_execute}, {'C', on_close},
    {'d', no_copy},  {'c', no_copy}, {'f', no_copy},     {'F', no_function},
};

// false: close the connection.
static bool handle_message(struct pg_session *s, char type, struct rd r) {
    struct err err = {0};
    if (type == 'X') return false;
    if (type == 'S') {
        s->skip = false;
        if (s->status == 'I') portals_drop(s);
        put_ready(s);
        return flush(s);
    }
    if (type == 'H') return flush(s);
    if (s->skip) return true;
    if (type == 'Q') {
        struct str sql = get_cstr(&r);
        if (r.failed) return false;
        simple_query(s, sql);
        return flush(s);
    }
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != type) continue;
        if (handlers[i].handle(s, &r, &err) == ERR_OK) return true;
        if (err.code == ERR_CLOSED) return false;
        report(s, &err, true);
        s->skip = true;
        return true;
    }
    pg_put_error(&s->out, "FATAL", "08P01", "a message of unknown type arrived", NULL, 0);
    log_warn("pg", "message of unknown type", "type", log_i64(type), NULL);
    flush(s);
    return false;
}

// ---- start-up --------------------------------------------------------------------------------------------------------------

static void put_greeting(struct pg_session *s) {
    size_t at = pg_begin(&s->out, 'R');
    buf_put_be32(&s->out, 0);
    pg_end(&s->out, at);
    pg_settings_report(s);
    uint32_t pid, secret;
    pg_conn_key(s->conn, &pid, &secret);
    at = pg_begin(&s->out, 'K');
    buf_put_be32(&s->out, pid);
    buf_put_be32(&s->out, secret);
    pg_end(&s->out, at);
    put_ready(s);
}

static enum err_code start(struct pg_session *s, struct str message, struct err *err) {
    struct rd r = rd_of(message.p, message.n);
    rd_be32(&r);
    uint32_t version = rd_be32(&r);
    if (version >> 16 != 3) return err_set(err, ERR_NOT_SUPPORTED, "protocol %u.%u; Millrace speaks 3.0", version >> 16, version & 0xFFFF);
    const struct pg_config *config = pg_conn_config(s->conn);
    struct str user = STR(""), database = STR("");
    while (rd_left(&r) > 1) {
        struct str key = get_cstr(&r), value = get_cstr(&r);
        if (r.failed) return err_set(err, ERR_INVALID, "malformed start-up message");
        if (str_eqc(key, "user")) user = value;
        else if (str_eqc(key, "database")) database = value;
        else pg_settings_start(s, key, value);
    }
    if (!str_eqc(user, config->user))
        return err_set(err, ERR_UNAUTHENTICATED, "role \"" STR_FMT "\" does not exist; connect as user \"%s\"", STR_ARG(user), config->user);
    if (database.n > 0 && !str_eqc(database, config->database))
        return err_set(err, ERR_NO_SCHEMA, "database \"" STR_FMT "\" does not exist; connect to \"%s\"", STR_ARG(database), config->database);
    struct engine_session *engine = engine_session_open(pg_conn_engine(s->conn), err);
    if (engine == NULL) return err->code;
    atomic_store(&s->engine, engine);
    if (version != PROTOCOL_3) { // a newer minor version: say which one we speak
        size_t at = pg_begin(&s->out, 'v');
        buf_put_be32(&s->out, PROTOCOL_3);
        buf_put_be32(&s->out, 0);
        pg_end(&s->out, at);
    }
    put_greeting(s);
    return ERR_OK;
}

bool pg_session_handle(struct pg_session *s, struct str messages) {
    if (atomic_load(&s->engine) == NULL) {
        struct err err = {0};
        if (start(s, messages, &err) == ERR_OK) return flush(s);
        err.code = err.code == ERR_OK ? ERR_INTERNAL : err.code;
        pg_put_error(&s->out, "FATAL", err.code == ERR_NO_SCHEMA ? "3D000" : err_info(err.code)->sqlstate, err.msg, NULL, 0);
        flush(s);
        return false;
    }
    while (messages.n > 0) {
        struct rd r = rd_of(messages.p, messages.n);
        char type = (char)rd_u8(&r);
        uint32_t len = rd_be32(&r);
        assert(!r.failed && len >= 4 && (size_t)len + 1 <= messages.n); // the socket side cut whole messages
        if (!handle_message(s, type, rd_of(r.p, len - 4))) return false;
        if (s->out.n >= SEND_AT && !flush(s)) return false;
        messages.p += len + 1;
        messages.n -= len + 1;
    }
    return flush(s);
}

struct pg_session *pg_session_new(struct pg_conn *c) {
    struct pg_session *s = MEM_NEW(struct pg_session);
    s->conn = c;
    s->status = 'I';
    atomic_init(&s->engine, NULL);
    buf_init(&s->out, 0);
    map_init(&s->prepared);
    map_init(&s->portals);
    map_init(&s->settings);
    return s;
}

void pg_session_free(struct pg_session *s) {
    portals_drop(s);
    map_fini(&s->portals);
    pg_session_forget_prepared(s, STR(""));
    map_fini(&s->prepared);
    pg_settings_fini(s);
    pg_catalog_fini(s);
    if (atomic_load(&s->engine) != NULL) engine_session_close(atomic_load(&s->engine));
    buf_fini(&s->out);
    mem_free(s);
}

void pg_session_cancel(struct pg_session *s) {
    struct engine_session *engine = atomic_load(&s->engine);
    if (engine != NULL) engine_cancel(engine);
}
