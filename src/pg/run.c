// SPDX-License-Identifier: Apache-2.0
// One statement of a session: transaction words, settings and session commands are done here, all else goes to the engine, with the names
// of the system catalog rewritten. Runs on the session's worker.
//
// Transactions: a statement that changes a table commits by itself. BEGIN and COMMIT are accepted for clients that always send
// them; ROLLBACK after a change is an error that says so.
#include <string.h>

#include "pg/catalog.h"

struct words {
    struct str text;
    struct str word[4]; // the first tokens; n = 0: none
    struct str rest[4]; // the text from there on
};

static void first_words(struct str sql, struct words *w) {
    *w = (struct words){.text = sql};
    struct sql_lexer l = {sql, 0};
    struct sql_token t;
    for (int i = 0; i < 4 && sql_lex(&l, &t, NULL) == ERR_OK && t.kind != SQL_TOKEN_END; i++) {
        w->word[i] = (struct str){sql.p + t.at, t.n};
        w->rest[i] = str_trim((struct str){sql.p + t.at, sql.n - t.at});
    }
}

static bool word_is(const struct words *w, int i, const char *text) { return str_ieq(w->word[i], str_c(text)); }

static struct engine_result *done(const char *tag) { return engine_result_text(NULL, 0, NULL, 0, tag, -1); }

static void notice(struct pg_session *s, const char *severity, const char *sqlstate, const char *message) {
    pg_put_error(&s->out, severity, sqlstate, message, NULL, 0);
}

// ---- transactions ------------------------------------------------------------------------------------------------------

static struct engine_result *begin(struct pg_session *s) {
    if (s->status == 'T') notice(s, "WARNING", "25001", "there is already a transaction in progress");
    s->status = 'T';
    s->writes = 0;
    return done("BEGIN");
}

static struct engine_result *end_transaction(struct pg_session *s, bool commit, struct err *err) {
    bool failed = s->status == 'E';
    int writes = s->writes;
    if (s->status == 'I') notice(s, "WARNING", "25P01", "there is no transaction in progress");
    s->status = 'I';
    s->writes = 0;
    if (commit && !failed) return done("COMMIT");
    if (writes > 0) {
        err_set(err, ERR_NOT_SUPPORTED, "%d statement%s of this transaction changed tables, and each was committed by itself: they cannot be rolled back",
                writes, writes == 1 ? "" : "s");
        return NULL;
    }
    return done("ROLLBACK");
}

// ---- settings ----------------------------------------------------------------------------------------------------------

static struct str unquote(struct str v) {
    v = str_trim(v);
    if (v.n >= 2 && (v.p[0] == '\'' || v.p[0] == '"') && v.p[v.n - 1] == v.p[0]) return (struct str){v.p + 1, v.n - 2};
    return v;
}

// The engine computes dates by its own TimeZone; ours only tells clients. Values go out in UTC all the same.
static enum err_code set_engine_timezone(struct pg_session *s, struct str zone, struct err *err) {
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "set TimeZone = ");
    sql_put_string(&sql, zone.n == 0 || str_ieq(zone, STR("default")) || str_ieq(zone, STR("local")) ? STR("UTC") : zone);
    struct engine_result *r = engine_query(atomic_load(&s->engine), buf_str(&sql), NULL, 0, err);
    buf_fini(&sql);
    if (r == NULL) return err->code;
    engine_result_free(r);
    return ERR_OK;
}

// set [session|local] NAME {=|to} VALUE; set time zone VALUE; reset NAME. NULL with err->code ERR_OK: not ours, the engine's.
static struct engine_result *set(struct pg_session *s, struct words *w, struct err *err) {
    bool reset = word_is(w, 0, "reset");
    int i = word_is(w, 1, "session") || word_is(w, 1, "local") ? 2 : 1;
    struct str name = w->word[i], value = {0};
    if (reset && str_ieq(name, STR("all"))) {
        pg_settings_fini(s);
        map_init(&s->settings);
        return done("RESET");
    }
    if (str_ieq(name, STR("transaction")) || str_ieq(name, STR("characteristics"))) return done("SET");
    if (str_ieq(name, STR("time")) && word_is(w, i + 1, "zone")) {
        name = STR("timezone");
        value = unquote((struct str){w->word[i + 1].p + 4, (size_t)(w->text.p + w->text.n - w->word[i + 1].p) - 4});
    } else if (!reset && i + 1 < 4) {
        struct str tail = w->rest[i + 1];
        if (w->word[i + 1].n > 0) value = unquote((struct str){tail.p + w->word[i + 1].n, tail.n - w->word[i + 1].n});
    }
    if (pg_settings_get(s, name) == NULL) return NULL;
    if (str_ieq(name, STR("timezone")) && set_engine_timezone(s, value, err) != ERR_OK) return NULL;
    if (pg_settings_set(s, name, value, err) != ERR_OK) return NULL;
    return done(reset ? "RESET" : "SET");
}

static struct engine_result *show(struct pg_session *s, const struct words *w) {
    if (word_is(w, 1, "all")) return pg_settings_all(s);
    struct str name = word_is(w, 1, "time") ? STR("timezone") : word_is(w, 1, "transaction") ? STR("transaction_isolation") : w->word[1];
    const char *value = pg_settings_get(s, name);
    if (value == NULL) return NULL;
    char *column = mem_strndup(name.p, name.n);
    const char *const names[] = {column}, *const cells[] = {value};
    struct engine_result *r = engine_result_text(names, 1, cells, 1, "SHOW", -1);
    mem_free(column);
    return r;
}

// Commands of a session. NULL with err->code ERR_OK: not one of ours.
static struct engine_result *own_command(struct pg_session *s, const struct sql_statement *st, struct err *err) {
    struct words w;
    first_words(st->text, &w);
    if (st->kind == SQL_BEGIN) return begin(s);
    if (st->kind == SQL_COMMIT) return end_transaction(s, true, err);
    if (st->kind == SQL_ROLLBACK) {
        if (word_is(&w, 1, "to")) return err_set(err, ERR_NOT_SUPPORTED, "savepoints are not supported"), NULL;
        return end_transaction(s, false, err);
    }
    if (st->kind == SQL_SET || word_is(&w, 0, "reset") || word_is(&w, 0, "set")) return set(s, &w, err);
    if (word_is(&w, 0, "show")) return show(s, &w);
    if (word_is(&w, 0, "deallocate")) {
        int i = word_is(&w, 1, "prepare") ? 2 : 1;
        pg_session_forget_prepared(s, word_is(&w, i, "all") ? STR("") : unquote(w.word[i]));
        return done("DEALLOCATE");
    }
    if (word_is(&w, 0, "discard")) {
        pg_session_forget_prepared(s, STR(""));
        return done("DISCARD ALL");
    }
    if (word_is(&w, 0, "unlisten") || word_is(&w, 0, "close")) return done(word_is(&w, 0, "close") ? "CLOSE CURSOR" : "UNLISTEN");
    static const char *const missing[] = {"savepoint", "release", "declare", "fetch", "move", "listen", "notify", "lock", "grant", "revoke"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (word_is(&w, 0, missing[i])) return err_set(err, ERR_NOT_SUPPORTED, "%s is not supported", missing[i]), NULL;
    if (word_is(&w, 0, "copy") && st->kind != SQL_COPY_FROM_TOPIC && (word_is(&w, 3, "stdin") || word_is(&w, 3, "stdout"))) {
        err_set(err, ERR_NOT_SUPPORTED, "COPY over the PostgreSQL protocol is not supported; insert rows, or read files with read_csv or read_parquet");
        return NULL;
    }
    return NULL;
}

static bool changes_tables(enum sql_kind kind) {
    switch (kind) {
    case SQL_COPY_FROM_TOPIC:
    case SQL_CREATE_SCHEMA:
    case SQL_DROP_SCHEMA:
    case SQL_CREATE_TABLE:
    case SQL_CREATE_TABLE_AS:
    case SQL_DROP_TABLE:
    case SQL_INSERT:
    case SQL_INSERT_OVERWRITE:
    case SQL_DELETE:
    case SQL_TRUNCATE:
    case SQL_UPDATE:
    case SQL_MERGE: return true;
    default: return false;
    }
}

// Rewrites for the engine; positions of errors stay true only where nothing was rewritten.
static enum err_code rewrite(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, struct buf *out, struct err *err) {
    bool catalog = false;
    enum err_code code = pg_catalog_rewrite(sql, oids, n_oids, out, &catalog, err);
    if (code == ERR_OK && out->failed) code = err_set(err, ERR_TOO_LARGE, "the statement is too long");
    if (code == ERR_OK && catalog) code = pg_catalog_refresh(s, err);
    return code;
}

// psql's \\d asks for publications with a text that only PostgreSQL can plan. There are none: the answer is empty.
static bool asks_for_publications(struct str sql) {
    struct sql_lexer l = {sql, 0};
    struct sql_token t;
    while (sql_lex(&l, &t, NULL) == ERR_OK && t.kind != SQL_TOKEN_END)
        if (t.kind == SQL_TOKEN_WORD && str_ieq((struct str){sql.p + t.at, t.n}, STR("pg_publication_rel"))) return true;
    return false;
}

static struct engine_result *run_engine(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, const struct engine_param *params,
                                        size_t n_params, struct err *err) {
    static const char *const publication[] = {"pubname"};
    if (asks_for_publications(sql)) return engine_result_text(publication, 1, NULL, 0, "SELECT", 0);
    struct buf text;
    buf_init(&text, SQL_TEXT_MAX);
    struct engine_result *r = NULL;
    if (rewrite(s, sql, oids, n_oids, &text, err) == ERR_OK) r = engine_query(atomic_load(&s->engine), buf_str(&text), params, n_params, err);
    if (r == NULL && !str_eq(buf_str(&text), sql)) err->position = 0;
    buf_fini(&text);
    return r;
}

// Positions count bytes inside; clients of this protocol count characters.
static void position_in_chars(struct str sql, struct err *err) {
    int chars = 0;
    for (int i = 0; i < err->position && (size_t)i < sql.n; i++) chars += ((uint8_t)sql.p[i] & 0xC0) != 0x80;
    if (chars > 0) err->position = chars;
}

struct engine_result *pg_run(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, const struct engine_param *params,
                             size_t n_params, struct err *err) {
    struct arena a;
    arena_init(&a);
    err_clear(err);
    struct sql_statement st;
    struct engine_result *r = NULL;
    enum err_code code = sql_parse(sql, &a, &st, err);
    if (code == ERR_OK && s->status == 'E' && st.kind != SQL_COMMIT && st.kind != SQL_ROLLBACK)
        code = err_set(err, ERR_TX_ABORTED, "current transaction is aborted, commands ignored until end of transaction block");
    if (code == ERR_OK && st.kind == SQL_EMPTY) r = done("");
    if (code == ERR_OK && r == NULL) r = own_command(s, &st, err);
    if (r == NULL && err->code == ERR_OK) {
        r = run_engine(s, sql, oids, n_oids, params, n_params, err);
        if (r != NULL && s->status == 'T' && changes_tables(st.kind)) s->writes++;
    }
    if (r == NULL) position_in_chars(sql, err);
    arena_fini(&a);
    return r;
}

enum err_code pg_describe(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, struct arena *a,
                          struct engine_described *out, struct err *err) {
    *out = (struct engine_described){0};
    struct sql_statement st;
    enum err_code code = sql_parse(sql, a, &st, err);
    if (code != ERR_OK) position_in_chars(sql, err);
    if (code != ERR_OK || st.kind == SQL_EMPTY || st.kind == SQL_BEGIN || st.kind == SQL_COMMIT || st.kind == SQL_ROLLBACK || st.kind == SQL_SET)
        return code;
    if (st.kind == SQL_COPY_FROM_TOPIC || st.kind == SQL_CHECK || st.kind == SQL_SHOW_TOPICS)
        return err_set(err, ERR_NOT_SUPPORTED, "the columns of this statement are known when it has run: describe the portal, not the statement");
    struct buf text;
    buf_init(&text, SQL_TEXT_MAX);
    code = rewrite(s, sql, oids, n_oids, &text, err);
    if (code == ERR_OK) code = engine_describe(atomic_load(&s->engine), buf_str(&text), a, out, err);
    if (code != ERR_OK) position_in_chars(sql, err);
    buf_fini(&text);
    return code;
}
