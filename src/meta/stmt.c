// SPDX-License-Identifier: Apache-2.0
// Prepared statements: a cache by text, binding, stepping, columns. A statement belongs to the thread that prepared it, until meta_reset.
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "meta/meta_impl.h"

static struct meta_stmt *compile(struct meta *m, const char *sql, struct err *err) {
    struct meta_stmt *st = MEM_NEW(struct meta_stmt);
    st->meta = m;
    const char *tail = NULL;
    int rc = sqlite3_prepare_v3(m->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st->stmt, &tail);
    if (rc == SQLITE_OK && st->stmt != NULL && str_trim(str_c(tail)).n == 0) return st;
    if (rc != SQLITE_OK) meta_error(m, rc, sql, err);
    else err_set(err, ERR_INTERNAL, "not one statement: %s", sql);
    sqlite3_finalize(st->stmt);
    mem_free(st);
    return NULL;
}

struct meta_stmt *meta_prepare(struct meta *m, const char *sql, struct err *err) {
    meta_hold(m);
    struct meta_stmt *st = NULL;
    if (meta_check(m, err) == ERR_OK) {
        st = map_getc(&m->cache, sql);
        if (st == NULL || st->busy) { // busy: nested use of the same text gets one of its own
            bool keep = st == NULL && m->cache.n < META_CACHE_MAX;
            st = compile(m, sql, err);
            if (st != NULL && keep) {
                st->cached = true;
                map_put(&m->cache, str_c(sql), st);
            }
        }
    }
    if (st == NULL) {
        meta_release(m);
        return NULL;
    }
    st->busy = true;
    st->bind_error = SQLITE_OK;
    vec_add(&m->in_use, st);
    return st;
}

static void free_stmt(struct meta_stmt *st) {
    sqlite3_finalize(st->stmt);
    mem_free(st);
}

void meta_reset(struct meta_stmt *st) {
    if (st == NULL) return;
    assert(st->busy);
    struct meta *m = st->meta;
    for (size_t i = 0; i < m->in_use.n; i++) {
        if (m->in_use.p[i] != st) continue;
        vec_remove(&m->in_use, i);
        break;
    }
    st->busy = false;
    if (st->cached) {
        sqlite3_reset(st->stmt);
        sqlite3_clear_bindings(st->stmt);
    } else {
        free_stmt(st);
    }
    meta_release(m);
}

void meta_drop_statements(struct meta *m) {
    for (size_t i = 0; i < m->in_use.n; i++)
        if (!m->in_use.p[i]->cached) free_stmt(m->in_use.p[i]);
    m->in_use.n = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&m->cache, &it)) != NULL;) free_stmt(e->value);
}

// ---- parameters -----------------------------------------------------------------------------------------------------

static void note_bind(struct meta_stmt *st, int rc) {
    assert(st->busy);
    if (st->bind_error == SQLITE_OK) st->bind_error = rc;
}

void meta_bind_int(struct meta_stmt *st, int i, int64_t v) { note_bind(st, sqlite3_bind_int64(st->stmt, i, v)); }
void meta_bind_double(struct meta_stmt *st, int i, double v) { note_bind(st, sqlite3_bind_double(st->stmt, i, v)); }
void meta_bind_null(struct meta_stmt *st, int i) { note_bind(st, sqlite3_bind_null(st->stmt, i)); }
void meta_bind_cstr(struct meta_stmt *st, int i, const char *v) { meta_bind_text(st, i, str_c(v)); }

void meta_bind_text(struct meta_stmt *st, int i, struct str v) {
    note_bind(st, sqlite3_bind_text64(st->stmt, i, v.p, v.n, SQLITE_TRANSIENT, SQLITE_UTF8)); // NULL binds null
}

void meta_bind_blob(struct meta_stmt *st, int i, const void *p, size_t n) {
    if (n == 0 && p != NULL) note_bind(st, sqlite3_bind_zeroblob(st->stmt, i, 0));
    else note_bind(st, sqlite3_bind_blob64(st->stmt, i, p, n, SQLITE_TRANSIENT));
}

// ---- rows -----------------------------------------------------------------------------------------------------------

int meta_step(struct meta_stmt *st, struct err *err) {
    assert(st->busy);
    struct meta *m = st->meta;
    if (st->bind_error != SQLITE_OK) {
        enum err_code code = st->bind_error == SQLITE_TOOBIG ? ERR_TOO_LARGE : ERR_INTERNAL;
        err_set(err, code, "cannot bind a parameter of '%s': %s", sqlite3_sql(st->stmt), sqlite3_errstr(st->bind_error));
        return -1;
    }
    if (meta_check(m, err) != ERR_OK) return -1;
    int rc = sqlite3_step(st->stmt);
    if (rc == SQLITE_ROW) return 1;
    if (rc == SQLITE_DONE) return 0;
    meta_error(m, rc, sqlite3_sql(st->stmt), err);
    return -1;
}

enum err_code meta_run(struct meta_stmt *st, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    int got;
    while ((got = meta_step(st, err)) > 0) {
    }
    meta_reset(st);
    return got < 0 ? err->code : ERR_OK;
}

bool meta_is_null(struct meta_stmt *st, int col) { return sqlite3_column_type(st->stmt, col) == SQLITE_NULL; }
int64_t meta_int(struct meta_stmt *st, int col) { return sqlite3_column_int64(st->stmt, col); }
double meta_double(struct meta_stmt *st, int col) { return sqlite3_column_double(st->stmt, col); }
const char *meta_cstr(struct meta_stmt *st, int col) { return (const char *)sqlite3_column_text(st->stmt, col); }

struct str meta_text(struct meta_stmt *st, int col) {
    const char *p = meta_cstr(st, col);
    return (struct str){p, p == NULL ? 0 : (size_t)sqlite3_column_bytes(st->stmt, col)};
}

struct str meta_blob(struct meta_stmt *st, int col) {
    if (meta_is_null(st, col)) return (struct str){0};
    const void *p = sqlite3_column_blob(st->stmt, col);
    return str_n(p == NULL ? "" : p, (size_t)sqlite3_column_bytes(st->stmt, col)); // an empty blob is not null
}

// ---- short forms ----------------------------------------------------------------------------------------------------

static void bind_all(struct meta_stmt *st, const char *types, va_list ap) {
    for (int i = 1; types[i - 1] != 0; i++) {
        switch (types[i - 1]) {
        case 'i': meta_bind_int(st, i, va_arg(ap, int64_t)); break;
        case 'd': meta_bind_double(st, i, va_arg(ap, double)); break;
        case 's': meta_bind_cstr(st, i, va_arg(ap, const char *)); break;
        case 'S': meta_bind_text(st, i, va_arg(ap, struct str)); break;
        case 'b': {
            struct str b = va_arg(ap, struct str);
            meta_bind_blob(st, i, b.p, b.n);
            break;
        }
        case 'n': meta_bind_null(st, i); break;
        default: assert(false && "unknown parameter type");
        }
    }
    assert(sqlite3_bind_parameter_count(st->stmt) == (int)strlen(types));
}

enum err_code meta_do(struct meta *m, struct err *err, const char *sql, const char *types, ...) {
    struct err own;
    if (err == NULL) err = &own;
    struct meta_stmt *st = meta_prepare(m, sql, err);
    if (st == NULL) return err->code;
    va_list ap;
    va_start(ap, types);
    bind_all(st, types, ap);
    va_end(ap);
    return meta_run(st, err);
}

struct meta_stmt *meta_query(struct meta *m, struct err *err, const char *sql, const char *types, ...) {
    struct meta_stmt *st = meta_prepare(m, sql, err);
    if (st == NULL) return NULL;
    va_list ap;
    va_start(ap, types);
    bind_all(st, types, ap);
    va_end(ap);
    return st;
}

int64_t meta_get_int(struct meta *m, struct err *err, int64_t dflt, const char *sql, const char *types, ...) {
    struct meta_stmt *st = meta_prepare(m, sql, err);
    if (st == NULL) return dflt;
    va_list ap;
    va_start(ap, types);
    bind_all(st, types, ap);
    va_end(ap);
    int64_t v = meta_step(st, err) == 1 && !meta_is_null(st, 0) ? meta_int(st, 0) : dflt;
    meta_reset(st);
    return v;
}
