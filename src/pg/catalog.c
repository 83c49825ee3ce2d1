// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's system catalog over the engine's: a rewriting of names in the text, and temporary tables, views and macros of the session
// that are made at the first question and follow the catalog afterwards. Runs on the session's worker.
//
// Every name of the catalog becomes a name with the prefix mr_, because the engine has a pg_catalog of its own with other numbers.
// OIDs are hashes of names: the same in every session and after a restart. All tables count as visible, whatever the search path is, so
// that \dt shows them.
#include "pg/catalog.h"

#include <inttypes.h>
#include <string.h>

#include "pg/catalog_tables.h"
#include "pg/types.h"

// ---- rewriting -------------------------------------------------------------------------------------------------------------

struct rewriter {
    struct str sql;
    const uint32_t *oids;
    size_t n_oids;
    struct sql_lexer lexer;
    struct sql_token token, ahead, ahead2; // the one to handle, and the two behind it
    struct buf *out;
    size_t copied; // bytes of sql that are written or left out
    bool catalog;
};

static struct str text_of(const struct rewriter *w, const struct sql_token *t) { return (struct str){w->sql.p + t->at, t->n}; }

static bool token_is(const struct rewriter *w, const struct sql_token *t, const char *text) {
    return t->kind != SQL_TOKEN_STRING && str_ieq(text_of(w, t), str_c(text));
}

static enum err_code advance(struct rewriter *w, struct err *err) {
    w->token = w->ahead;
    w->ahead = w->ahead2;
    return sql_lex(&w->lexer, &w->ahead2, err);
}

static void copy_to(struct rewriter *w, size_t at) {
    if (at > w->copied) buf_put(w->out, w->sql.p + w->copied, at - w->copied);
    w->copied = at;
}

// Puts `text` in the place of what lies between the copied part and the end of token t.
static void replace(struct rewriter *w, const struct sql_token *t, const char *text) {
    copy_to(w, t->at);
    buf_puts(w->out, text);
    w->copied = t->at + t->n;
    w->catalog = true;
}

static const char *catalog_name(struct str word, bool call) {
    for (size_t i = 0; !call && i < N_RELATIONS; i++)
        if (str_ieq(word, str_c(relations[i].name))) return relations[i].name;
    for (size_t i = 0; call && i < N_FUNCTIONS; i++)
        if (str_ieq(word, str_c(functions[i].name))) return functions[i].name;
    return NULL;
}

// $n with a declared type becomes cast($n as type), so that the engine need not guess.
static void rewrite_param(struct rewriter *w) {
    int64_t n;
    struct str text = text_of(w, &w->token);
    if (!str_to_i64((struct str){text.p + 1, text.n - 1}, &n) || n < 1 || (size_t)n > w->n_oids) return;
    const struct pg_type *type = pg_type_find(w->oids[n - 1]);
    if (type == NULL || type->engine == NULL) return;
    copy_to(w, w->token.at);
    buf_printf(w->out, "cast($%" PRId64 " as %s)", n, type->engine);
    w->copied = w->token.at + w->token.n;
}

// `a ~ 'pattern'` searches in PostgreSQL and matches the whole text in the engine.
static void rewrite_pattern(struct rewriter *w) {
    struct str op = text_of(w, &w->token), pattern = text_of(w, &w->ahead);
    bool not = op.p[0] == '!', any_case = op.p[op.n - 1] == '*';
    replace(w, &w->token, not ? "!~" : "~");
    buf_printf(w->out, " '(?s%s).*(?:%.*s).*'", any_case ? "i" : "", (int)pattern.n - 2, pattern.p + 1);
    w->copied = w->ahead.at + w->ahead.n;
}

// 'name'::regclass is a number; any other ::type of PostgreSQL's own becomes one that the engine knows.
static enum err_code rewrite_cast(struct rewriter *w, const struct sql_token *before, struct err *err) {
    size_t colons = w->token.at;
    if (token_is(w, &w->ahead, "pg_catalog")) {
        for (int i = 0; i < 2; i++)
            if (advance(w, err) != ERR_OK) return err->code;
        copy_to(w, colons);
        buf_puts(w->out, "::");
        w->copied = w->ahead.at;
        w->catalog = true;
    }
    struct str type = text_of(w, &w->ahead);
    if (type.n > 2 && type.p[0] == '"') type = (struct str){type.p + 1, type.n - 2};
    for (size_t i = 0; i < N_CAST_TYPES; i++) {
        if (!str_ieq(type, str_c(cast_types[i].from))) continue;
        bool number = i == 0 && before->kind == SQL_TOKEN_STRING;
        copy_to(w, w->ahead.at);
        if (number) { // ...'name'::  ->  ...mr_to_regclass('name')
            w->out->n -= 2 + before->n;
            buf_puts(w->out, "mr_to_regclass(");
            buf_put_str(w->out, text_of(w, before));
            buf_put_u8(w->out, ')');
        } else buf_puts(w->out, cast_types[i].to);
        w->copied = w->ahead.at + w->ahead.n;
        w->catalog = true;
        return advance(w, err);
    }
    return ERR_OK;
}

// operator(pg_catalog.~) is ~, which then is handled as such.
static enum err_code rewrite_operator(struct rewriter *w, struct err *err) {
    copy_to(w, w->token.at);
    for (int i = 0; i < 2; i++)
        if (advance(w, err) != ERR_OK) return err->code;
    if (token_is(w, &w->token, "pg_catalog"))
        for (int i = 0; i < 2; i++)
            if (advance(w, err) != ERR_OK) return err->code;
    struct sql_token op = w->token; // behind it: ")"
    if (advance(w, err) != ERR_OK) return err->code;
    bool pattern = memchr(text_of(w, &op).p, '~', op.n) != NULL && w->ahead.kind == SQL_TOKEN_STRING;
    w->copied = op.at;
    w->catalog = true;
    if (!pattern) {
        copy_to(w, op.at + op.n);
        w->copied = w->token.at + w->token.n;
        return ERR_OK;
    }
    w->token = op;
    rewrite_pattern(w);
    return advance(w, err);
}

static enum err_code rewrite_word(struct rewriter *w, const struct sql_token *before, struct err *err) {
    if (token_is(w, &w->token, "collate") && token_is(w, &w->ahead, "pg_catalog")) {
        copy_to(w, w->token.at);
        for (int i = 0; i < 3; i++) // collate pg_catalog.default: leave it out
            if (advance(w, err) != ERR_OK) return err->code;
        w->copied = w->token.at + w->token.n;
        w->catalog = true;
        return ERR_OK;
    }
    if (token_is(w, &w->token, "operator") && token_is(w, &w->ahead, "(")) return rewrite_operator(w, err);
    if (token_is(w, &w->token, "pg_catalog") && token_is(w, &w->ahead, ".")) {
        copy_to(w, w->token.at);
        w->copied = w->ahead.at + 1;
        w->catalog = true;
        return advance(w, err); // the word behind the point comes next
    }
    bool after_point = token_is(w, before, ".") && w->copied < w->token.at; // t.pg_class is a column
    const char *name = after_point ? NULL : catalog_name(text_of(w, &w->token), token_is(w, &w->ahead, "("));
    if (name != NULL) {
        replace(w, &w->token, "mr_");
        buf_puts(w->out, name);
    } else if (token_is(w, &w->token, "current_user") || token_is(w, &w->token, "session_user")) {
        replace(w, &w->token, "'millrace'");
    }
    return ERR_OK;
}

static enum err_code rewrite_all(struct rewriter *w, struct err *err) {
    struct sql_token before = {0};
    for (;;) {
        enum err_code code = advance(w, err);
        if (code != ERR_OK) return code;
        if (w->token.kind == SQL_TOKEN_END) break;
        struct str text = text_of(w, &w->token);
        if (w->token.kind == SQL_TOKEN_PARAM) rewrite_param(w);
        else if (w->token.kind == SQL_TOKEN_WORD) code = rewrite_word(w, &before, err);
        else if (w->token.kind == SQL_TOKEN_OP && str_eqc(text, "::")) code = rewrite_cast(w, &before, err);
        else if (w->token.kind == SQL_TOKEN_OP && w->ahead.kind == SQL_TOKEN_STRING &&
                 (str_eqc(text, "~") || str_eqc(text, "!~") || str_eqc(text, "~*") || str_eqc(text, "!~*"))) {
            rewrite_pattern(w);
            code = advance(w, err);
        }
        if (code != ERR_OK) return code;
        before = w->token;
    }
    copy_to(w, w->sql.n);
    return ERR_OK;
}

enum err_code pg_catalog_rewrite(struct str sql, const uint32_t *oids, size_t n_oids, struct buf *out, bool *catalog, struct err *err) {
    struct rewriter w = {.sql = sql, .oids = oids, .n_oids = n_oids, .lexer = {sql, 0}, .out = out};
    enum err_code code = sql_lex(&w.lexer, &w.ahead, err);
    if (code == ERR_OK && w.ahead.kind != SQL_TOKEN_END) code = sql_lex(&w.lexer, &w.ahead2, err);
    if (code == ERR_OK) code = rewrite_all(&w, err);
    *catalog = w.catalog;
    return code;
}

// ---- the tables underneath ---------------------------------------------------------------------------------------------------

static int64_t oid_of(const char *schema, const char *name) {
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%s.%s", schema, name);
    uint64_t h = str_hash(buf_str(&b));
    buf_fini(&b);
    return 16384 + (int64_t)(h % 2000000000u);
}

static enum err_code run(struct pg_session *s, struct str sql, struct err *err) {
    struct engine_result *r = engine_query(atomic_load(&s->engine), sql, NULL, 0, err);
    if (r == NULL) return err_wrap(err, "system catalog (%.60s...)", sql.p);
    err_clear(err);
    for (struct cols_batch *b; (b = engine_result_next(r, err)) != NULL;) cols_batch_free(b);
    engine_result_free(r);
    return err->code;
}

static void put_types(struct buf *b) {
    buf_puts(b, "create or replace temp table mr_typ as select * from (values ");
    for (size_t i = 0; i < pg_n_types; i++) {
        const struct pg_type *t = &pg_types[i];
        buf_printf(b, "%s(%u::bigint, '%s', '%s', %d, 0::bigint, %u::bigint)", i == 0 ? "" : ", ", t->oid, t->name, t->sql_name, t->len, t->array_oid);
        if (t->array_oid == 0) continue;
        buf_printf(b, ", (%u, '_%s', '%s[]', -1, %u, 0)", t->array_oid, t->name, t->sql_name, t->oid);
    }
    buf_puts(b, ") t(oid, name, sql_name, len, elem, arr)");
}

static void put_schemas(struct buf *b, const struct engine_catalog *c) {
    buf_puts(b, "create or replace temp table mr_nsp as select * from (values (11::bigint, 'pg_catalog')");
    for (size_t i = 0; i < c->n_schemas; i++) {
        buf_printf(b, ", (%" PRId64 ", ", oid_of(c->schemas[i], ""));
        sql_put_string(b, str_c(c->schemas[i]));
        buf_put_u8(b, ')');
    }
    buf_puts(b, ") t(oid, name)");
}

static void put_relations(struct buf *b, const struct engine_catalog *c) {
    buf_puts(b, "create or replace temp table mr_rel as select * from (values (0::bigint, 0::bigint, '', '', 0, 0::bigint)");
    for (size_t i = 0; i < c->n_relations; i++) {
        const struct engine_relation *r = &c->relations[i];
        if (str_starts(str_c(r->name), STR("mr_")) && r->kind != ENGINE_TABLE) continue;
        buf_printf(b, ", (%" PRId64 ", %" PRId64 ", ", oid_of(r->schema, r->name), oid_of(r->schema, ""));
        sql_put_string(b, str_c(r->name));
        buf_printf(b, ", '%s', %zu, %" PRId64 ")", r->kind == ENGINE_VIEW ? "v" : "r", r->columns == NULL ? 0 : r->columns->n, r->rows);
    }
    buf_puts(b, ") t(oid, nsp, name, kind, natts, tuples) where oid > 0");
}

static void put_columns(struct buf *b, const struct engine_catalog *c) {
    buf_puts(b, "create or replace temp table mr_att as select * from (values (0::bigint, 0, '', 0::bigint, 0, 0, false)");
    for (size_t i = 0; i < c->n_relations; i++) {
        const struct engine_relation *r = &c->relations[i];
        if (str_starts(str_c(r->name), STR("mr_")) && r->kind != ENGINE_TABLE) continue;
        for (size_t k = 0; r->columns != NULL && k < r->columns->n; k++) {
            const struct cols_field *f = &r->columns->fields[k];
            const struct pg_type *t = pg_type_find(pg_type_of(&f->type));
            buf_printf(b, ", (%" PRId64 ", %zu, ", oid_of(r->schema, r->name), k + 1);
            sql_put_string(b, str_c(f->name));
            buf_printf(b, ", %u, %d, %d, %s)", pg_type_of(&f->type), t == NULL ? -1 : t->len, pg_typmod_of(&f->type), f->nullable ? "false" : "true");
        }
    }
    buf_puts(b, ") t(rel, num, name, typ, len, typmod, required) where rel > 0");
}

static enum err_code make_views(struct pg_session *s, struct buf *b, struct err *err) {
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < N_FUNCTIONS && code == ERR_OK; i++) {
        buf_clear(b);
        buf_printf(b, "create or replace temp macro mr_%s%s", functions[i].name, functions[i].definition);
        code = run(s, buf_str(b), err);
    }
    for (size_t i = 0; i < N_RELATIONS && code == ERR_OK; i++) {
        buf_clear(b);
        buf_printf(b, "create or replace temp %s mr_%s%s%s", relations[i].select == NULL ? "table" : "view", relations[i].name,
                   relations[i].select == NULL ? "(" : " as ", relations[i].select == NULL ? relations[i].columns : relations[i].select);
        if (relations[i].select == NULL) buf_put_u8(b, ')');
        code = run(s, buf_str(b), err);
    }
    return code;
}

enum err_code pg_catalog_refresh(struct pg_session *s, struct err *err) {
    static void (*const tables[])(struct buf *b, const struct engine_catalog *c) = {put_schemas, put_relations, put_columns};
    struct arena a;
    struct buf b, all;
    arena_init(&a);
    buf_init(&b, 0);
    buf_init(&all, 0);
    struct engine_catalog catalog = {0};
    enum err_code code = engine_catalog_list(atomic_load(&s->engine), STR(""), STR(""), &a, &catalog, err);
    size_t ends[3] = {0};
    for (int i = 0; i < 3 && code == ERR_OK; i++) {
        tables[i](&all, &catalog);
        ends[i] = all.n;
    }
    uint64_t hash = str_hash(buf_str(&all));
    if (code == ERR_OK && !s->catalog_ready) {
        put_types(&b);
        code = run(s, buf_str(&b), err);
    }
    for (int i = 0; i < 3 && code == ERR_OK && (!s->catalog_ready || hash != s->catalog_hash); i++) {
        size_t from = i == 0 ? 0 : ends[i - 1];
        code = run(s, (struct str){(const char *)all.p + from, ends[i] - from}, err);
    }
    if (code == ERR_OK && !s->catalog_ready) code = make_views(s, &b, err);
    if (code == ERR_OK) {
        s->catalog_ready = true;
        s->catalog_hash = hash;
    }
    buf_fini(&all);
    buf_fini(&b);
    arena_fini(&a);
    return code;
}

void pg_catalog_fini(struct pg_session *s) { s->catalog_ready = false; } // the tables go with the engine's session
