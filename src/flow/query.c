// SPDX-License-Identifier: Apache-2.0
// Lists: WHERE from the filters given, ORDER BY from a table of allowed names, LIMIT and OFFSET. The caller's thread and arena.
#include "flow/query.h"

#include <assert.h>

void query_init(struct query *q, struct arena *a) {
    q->a = a;
    q->n = 0;
    buf_init(&q->where, 1 << 20);
}

void query_fini(struct query *q) { buf_fini(&q->where); }

static void condition(struct query *q, const char *text) {
    buf_puts(&q->where, q->where.n == 0 ? " where " : " and ");
    buf_puts(&q->where, text);
}

void query_str(struct query *q, const char *text, const char *v) {
    if (v == NULL || q->n == QUERY_ARGS_MAX) return;
    condition(q, text);
    q->args[q->n].is_int = false;
    q->args[q->n++].s = v;
}

void query_int(struct query *q, const char *text, int64_t v) {
    assert(q->n < QUERY_ARGS_MAX);
    condition(q, text);
    q->args[q->n].is_int = true;
    q->args[q->n++].i = v;
}

void query_time(struct query *q, const char *text, int64_t us) {
    if (us != FLOW_NO_TIME) query_int(q, text, us);
}

void query_in(struct query *q, const char *column, const char *const *values, size_t n) {
    if (n == 0) return;
    struct buf b;
    buf_init(&b, 65536);
    buf_printf(&b, "%s in (", column);
    for (size_t i = 0; i < n && q->n < QUERY_ARGS_MAX; i++) {
        buf_puts(&b, i > 0 ? ", ?" : "?");
        q->args[q->n].is_int = false;
        q->args[q->n++].s = values[i];
    }
    buf_puts(&b, ")");
    condition(q, buf_cstr(&b));
    buf_fini(&b);
}

static struct meta_stmt *start(struct flow *f, struct query *q, const char *sql, struct err *err) {
    struct meta_stmt *st = meta_prepare(f->meta, sql, err);
    for (int i = 0; st != NULL && i < q->n; i++) {
        if (q->args[i].is_int) meta_bind_int(st, i + 1, q->args[i].i);
        else meta_bind_cstr(st, i + 1, q->args[i].s);
    }
    return st;
}

static enum err_code put_order(struct buf *sql, const struct order *orders, const char *natural, const char *order_by, struct err *err) {
    if (order_by == NULL) {
        buf_printf(sql, " order by %s", natural);
        return ERR_OK;
    }
    bool down = order_by[0] == '-';
    for (const struct order *o = orders; o->name != NULL; o++)
        if (strcmp(o->name, order_by + down) == 0) {
            buf_printf(sql, " order by %s %s, %s", o->sql, down ? "desc" : "asc", natural);
            return ERR_OK;
        }
    return err_set(err, ERR_INVALID, "cannot order by '%s'", order_by + down);
}

enum err_code query_list(struct flow *f, struct query *q, const char *columns, const char *from, const struct order *orders, const char *natural,
                         const struct flow_page *page, query_row_fn *row, size_t row_size, void **out, size_t *n, int64_t *total, struct err *err) {
    static const struct flow_page first = {0};
    struct err own = {0};
    if (err == NULL) err = &own;
    if (page == NULL) page = &first;
    int64_t limit = page->limit <= 0 ? 100 : page->limit > FLOW_LIST_MAX ? FLOW_LIST_MAX : page->limit;
    struct buf sql;
    buf_init(&sql, 2 << 20);
    VEC(char) rows = {0};
    *n = 0;
    *out = NULL;
    if (total != NULL) {
        buf_printf(&sql, "select count(*) from %s%s", from, buf_cstr(&q->where));
        struct meta_stmt *st = start(f, q, buf_cstr(&sql), err);
        *total = st != NULL && meta_step(st, err) == 1 ? meta_int(st, 0) : 0;
        meta_reset(st);
        buf_clear(&sql);
    }
    buf_printf(&sql, "select %s from %s%s", columns, from, buf_cstr(&q->where));
    enum err_code e = put_order(&sql, orders, natural, page->order_by, err);
    if (e == ERR_OK) {
        buf_printf(&sql, " limit %lld offset %lld", (long long)limit, (long long)(page->offset < 0 ? 0 : page->offset));
        struct meta_stmt *st = start(f, q, buf_cstr(&sql), err);
        int r = -1;
        while (st != NULL && (r = meta_step(st, err)) == 1) {
            vec_reserve(&rows, rows.n + row_size);
            memset(rows.p + rows.n, 0, row_size);
            row(st, q->a, rows.p + rows.n);
            rows.n += row_size;
            ++*n;
        }
        meta_reset(st);
        e = r < 0 ? err->code : ERR_OK;
        *out = arena_alloc(q->a, rows.n + 1);
        if (rows.n > 0) memcpy(*out, rows.p, rows.n);
    }
    vec_fini(&rows);
    buf_fini(&sql);
    return e;
}
