// SPDX-License-Identifier: Apache-2.0
// Inside of flow: building the SELECTs of the lists (filters, order, pages). Used on the caller's thread; the store is held only while rows are read.
#ifndef FLOW_QUERY_H
#define FLOW_QUERY_H

#include "flow/flow_int.h"

enum { QUERY_ARGS_MAX = 64 };

struct query {
    struct arena *a;
    struct buf where;
    struct {
        bool is_int;
        int64_t i;
        const char *s;
    } args[QUERY_ARGS_MAX];
    int n;
};

struct order { // REST name -> SQL; NULL-ended
    const char *name, *sql;
};

void query_init(struct query *q, struct arena *a);
void query_fini(struct query *q);
void query_str(struct query *q, const char *condition, const char *v); // "r.dag_id = ?"; v NULL = no condition
void query_int(struct query *q, const char *condition, int64_t v);
void query_time(struct query *q, const char *condition, int64_t us); // FLOW_NO_TIME = no condition
void query_in(struct query *q, const char *column, const char *const *values, size_t n); // n 0 = no condition
// Counts, then calls row() for each of the page.
typedef void query_row_fn(struct meta_stmt *st, struct arena *a, void *out);
enum err_code query_list(struct flow *f, struct query *q, const char *columns, const char *from, const struct order *orders, const char *natural,
                         const struct flow_page *page, query_row_fn *row, size_t row_size, void **out, size_t *n, int64_t *total, struct err *err);

static inline const char *row_str(struct meta_stmt *st, int col, struct arena *a) {
    return meta_is_null(st, col) ? NULL : arena_strdup(a, meta_cstr(st, col));
}
static inline int64_t row_time(struct meta_stmt *st, int col) { return meta_is_null(st, col) ? FLOW_NO_TIME : meta_int(st, col); }

#endif
