// SPDX-License-Identifier: Apache-2.0
// Variables, connections, pools, the log of events, health.
#include <stdio.h>

#include "flow/query.h"

static enum err_code changed(struct flow *f, enum err_code e, const char *what, const char *key, struct err *err) {
    if (e == ERR_OK && meta_changes(f->meta) == 0) return err_set(err, ERR_NOT_FOUND, "The %s with key: `%s` was not found", what, key);
    return e;
}

// Deletes one row by its name; ERR_NOT_FOUND when it is not there.
static enum err_code delete_row(struct flow *f, const char *sql, const char *what, const char *key, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    enum err_code e = meta_begin(f->meta, err);
    if (e != ERR_OK) return e;
    e = changed(f, meta_do(f->meta, err, sql, "s", key), what, key, err);
    if (e == ERR_OK) return meta_commit(f->meta, err);
    meta_rollback(f->meta);
    return e;
}

static enum err_code check_new(struct flow *f, bool must_be_new, const char *sql, const char *what, const char *key, struct err *err) {
    if (key == NULL || key[0] == '\0' || strlen(key) > 250) return err_set(err, ERR_INVALID, "a %s's name has 1 to 250 characters", what);
    if (!must_be_new) return ERR_OK;
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    if (meta_get_int(f->meta, err, 0, sql, "s", key) > 0) return err_set(err, ERR_EXISTS, "The %s with key: `%s` already exists", what, key);
    return err->code;
}

// ---- variables -------------------------------------------------------------------------------------------------------------------
static void variable_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    *(struct flow_variable *)out = (struct flow_variable){row_str(st, 0, a), row_str(st, 1, a), row_str(st, 2, a)};
}

static enum err_code variable_list(struct flow *f, const char *where, const char *v, const struct flow_page *page, struct arena *a,
                                   struct flow_variable **out, size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"key", "key"}, {"variable_key", "key"}, {"id", "key"}, {"description", "description"}, {"value",
        "value"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, where, v);
    enum err_code e = query_list(f, &q, "key, value, description", "flow_variable", orders, "key", page, variable_of_row, sizeof **out, &rows, n,
                                 total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_variables(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_variable **out,
                             size_t *n,
                             int64_t *total, struct err *err) {
    return variable_list(f, "key like ?", pattern, page, a, out, n, total, err);
}

enum err_code flow_variable_get(struct flow *f, const char *key, struct arena *a, struct flow_variable *out, struct err *err) {
    struct flow_variable *rows = NULL;
    size_t n = 0;
    enum err_code e = variable_list(f, "key = ?", key, NULL, a, &rows, &n, NULL, err);
    if (e == ERR_OK && n == 0) return err_set(err, ERR_NOT_FOUND, "The Variable with key: `%s` was not found", key);
    if (e == ERR_OK) *out = rows[0];
    return e;
}

enum err_code flow_variable_put(struct flow *f, const struct flow_variable *v, bool must_be_new, struct err *err) {
    enum err_code e = check_new(f, must_be_new, "select count(*) from flow_variable where key = ?1", "Variable", v->key, err);
    if (e != ERR_OK) return e;
    return meta_do(f->meta, err, "insert or replace into flow_variable values (?1, ?2, ?3)", "sss", v->key, v->value != NULL ? v->value : "",
                   v->description);
}

enum err_code flow_variable_delete(struct flow *f, const char *key, struct err *err) {
    return delete_row(f, "delete from flow_variable where key = ?1", "Variable", key, err);
}

// ---- connections -----------------------------------------------------------------------------------------------------------------
static void connection_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    struct flow_connection *c = out;
    const char **const texts[] = {&c->id, &c->type, &c->host, &c->login, &c->password, &c->schema, &c->extra, &c->description};
    for (int i = 0; i < 8; i++) *texts[i] = row_str(st, i, a);
    c->port = (int)meta_int(st, 8);
}

static enum err_code connection_list(struct flow *f, const char *where, const char *v, const struct flow_page *page, struct arena *a,
                                     struct flow_connection **out, size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"connection_id", "id"}, {"conn_id", "id"}, {"conn_type", "type"}, {"description", "description"},
        {"host", "host"},
                                          {"port", "port"}, {"id", "id"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, where, v);
    enum err_code e = query_list(f, &q, "id, type, host, login, password, schema, extra, description, port", "flow_connection", orders, "id", page,
                                 connection_of_row, sizeof **out, &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_connections(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_connection **out,
                               size_t *n, int64_t *total, struct err *err) {
    return connection_list(f, "id like ?", pattern, page, a, out, n, total, err);
}

enum err_code flow_connection_get(struct flow *f, const char *id, struct arena *a, struct flow_connection *out, struct err *err) {
    struct flow_connection *rows = NULL;
    size_t n = 0;
    enum err_code e = connection_list(f, "id = ?", id, NULL, a, &rows, &n, NULL, err);
    if (e == ERR_OK && n == 0) return err_set(err, ERR_NOT_FOUND, "The Connection with connection_id: `%s` was not found", id);
    if (e == ERR_OK) *out = rows[0];
    return e;
}

enum err_code flow_connection_put(struct flow *f, const struct flow_connection *c, bool must_be_new, struct err *err) {
    enum err_code e = check_new(f, must_be_new, "select count(*) from flow_connection where id = ?1", "Connection", c->id, err);
    if (e != ERR_OK) return e;
    if (c->type == NULL || c->type[0] == '\0') return err_set(err, ERR_INVALID, "a connection needs conn_type");
    struct err own = {0};
    if (err == NULL) err = &own;
    struct meta_stmt *st = meta_query(f->meta, err,
                                      "insert or replace into flow_connection(id, type, host, login, password, schema, extra, description, port)"
                                      " values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, nullif(?9, 0))", "ssssssssi", c->id, c->type, c->host, c->login,
                                          c->password, c->schema,
                                      c->extra, c->description, (int64_t)c->port);
    if (st == NULL) return err->code;
    return meta_run(st, err);
}

enum err_code flow_connection_delete(struct flow *f, const char *id, struct err *err) {
    return delete_row(f, "delete from flow_connection where id = ?1", "Connection", id, err);
}

// ---- pools: slots in the loop's memory, the rest in the store ---------------------------------------------------------------------
static void pool_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    *(struct flow_pool *)out = (struct flow_pool){.name = row_str(st, 0, a), .slots = (int)meta_int(st, 1), .description = row_str(st, 2, a),
                                                  .include_deferred = meta_int(st, 3) != 0};
}

struct use {
    struct flow *f;
    struct flow_pool *pools;
    size_t n;
};

static void add_use(void *arg) {
    struct use *u = arg;
    for (size_t i = 0; i < u->n; i++) {
        struct flow_pool *out = &u->pools[i];
        struct fpool *p = flow_pool_find(u->f, out->name);
        if (p == NULL) continue;
        out->running = p->used;
        for (size_t k = 0; k < p->heap.n; k++) out->scheduled += p->heap.p[k].ti->task->pool_slots;
        out->open = p->slots < 0 ? -1 : p->slots > p->used ? p->slots - p->used : 0;
    }
}

static enum err_code pool_list(struct flow *f, const char *where, const char *v, const struct flow_page *page, struct arena *a,
                               struct flow_pool **out,
                               size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"name", "name"}, {"pool", "name"}, {"id", "name"}, {"slots", "slots"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, where, v);
    enum err_code e = query_list(f, &q, "name, slots, description, include_deferred", "flow_pool", orders, "name", page, pool_of_row, sizeof **out,
                                 &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    if (e == ERR_OK) flow_on_loop(f, add_use, &(struct use){f, *out, *n});
    return e;
}

enum err_code flow_pools(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_pool **out, size_t *n,
                         int64_t *total, struct err *err) {
    return pool_list(f, "name like ?", pattern, page, a, out, n, total, err);
}

enum err_code flow_pool_get(struct flow *f, const char *name, struct arena *a, struct flow_pool *out, struct err *err) {
    struct flow_pool *rows = NULL;
    size_t n = 0;
    enum err_code e = pool_list(f, "name = ?", name, NULL, a, &rows, &n, NULL, err);
    if (e == ERR_OK && n == 0) return err_set(err, ERR_NOT_FOUND, "The Pool with name: `%s` was not found", name);
    if (e == ERR_OK) *out = rows[0];
    return e;
}

struct pool_in {
    const char *name;
    int slots;
    bool gone;
};

static enum err_code pool_changed(struct fcall *c, struct err *err) {
    (void)err;
    const struct pool_in *in = c->in;
    struct flow *f = c->f;
    bool is_new = flow_pool_find(f, in->name) == NULL;
    struct fpool *p = flow_pool_add(f, in->name, in->gone ? 0 : in->slots); // a deleted pool has no slots: its tasks wait
    if (is_new) // tasks that waited for it
        for (size_t i = 0; i < f->all_runs.n; i++)
            for (size_t k = 0; k < f->all_runs.p[i]->version->n; k++)
                if (f->all_runs.p[i]->tis[k].state == FLOW_TI_SCHEDULED && strcmp(f->all_runs.p[i]->tis[k].task->pool, p->name) == 0)
                    vec_add(&f->eval, &f->all_runs.p[i]->tis[k]);
    flow_touch(f);
    return ERR_OK;
}

enum err_code flow_pool_put(struct flow *f, const struct flow_pool *p, bool must_be_new, struct err *err) {
    enum err_code e = check_new(f, must_be_new, "select count(*) from flow_pool where name = ?1", "Pool", p->name, err);
    if (e == ERR_OK && p->slots < -1) e = err_set(err, ERR_INVALID, "slots must be -1 (no limit) or more");
    if (e == ERR_OK)
        e = meta_do(f->meta, err, "insert or replace into flow_pool values (?1, ?2, ?3, ?4)", "sisi", p->name, (int64_t)p->slots, p->description,
                    (int64_t)p->include_deferred);
    if (e != ERR_OK) return e;
    struct pool_in in = {p->name, p->slots, false};
    return flow_call(f, pool_changed, &in, NULL, NULL, err);
}

enum err_code flow_pool_delete(struct flow *f, const char *name, struct err *err) {
    if (strcmp(name, "default_pool") == 0) return err_set(err, ERR_INVALID, "Default Pool can't be deleted");
    enum err_code e = delete_row(f, "delete from flow_pool where name = ?1", "Pool", name, err);
    if (e != ERR_OK) return e;
    struct pool_in in = {name, 0, true};
    return flow_call(f, pool_changed, &in, NULL, NULL, err);
}

// ---- events ----------------------------------------------------------------------------------------------------------------------
static void event_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    struct flow_event *e = out;
    e->id = meta_int(st, 0);
    e->when_us = meta_int(st, 1);
    e->logical_us = row_time(st, 2);
    const char **const texts[] = {&e->event, &e->dag_id, &e->run_id, &e->task_id, &e->owner, &e->extra};
    for (int i = 0; i < 6; i++) *texts[i] = row_str(st, 3 + i, a);
    e->try_number = (int)meta_int(st, 9);
}

#define EVENT_SELECT "e.id, e.when_us, r.logical_us, e.event, e.dag_id, e.run_id, e.task_id, e.owner, e.extra, e.try_number"
#define EVENT_FROM "flow_event e left join flow_run r on r.dag_id = e.dag_id and r.run_id = e.run_id"

enum err_code flow_events(struct flow *f, const struct flow_event_filter *w, const struct flow_page *page, struct arena *a, struct flow_event **out,
                          size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"id", "e.id"}, {"event_log_id", "e.id"}, {"when", "e.when_us"}, {"event", "e.event"}, {"dag_id",
        "e.dag_id"},
                                          {"run_id", "e.run_id"}, {"task_id", "e.task_id"}, {"owner", "e.owner"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    if (w != NULL) {
        query_str(&q, "e.dag_id = ?", w->dag_id);
        query_str(&q, "e.run_id = ?", w->run_id);
        query_str(&q, "e.task_id = ?", w->task_id);
        query_str(&q, "e.event = ?", w->event);
    }
    enum err_code e = query_list(f, &q, EVENT_SELECT, EVENT_FROM, orders, "e.id", page, event_of_row, sizeof **out, &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_event_get(struct flow *f, int64_t id, struct arena *a, struct flow_event *out, struct err *err) {
    struct query q;
    void *rows = NULL;
    size_t n = 0;
    query_init(&q, a);
    query_int(&q, "e.id = ?", id);
    enum err_code e = query_list(f, &q, EVENT_SELECT, EVENT_FROM, NULL, "e.id", NULL, event_of_row, sizeof *out, &rows, &n, NULL, err);
    query_fini(&q);
    if (e == ERR_OK && n == 0) return err_set(err, ERR_NOT_FOUND, "The Event Log with id: `%lld` not found", (long long)id);
    if (e == ERR_OK) *out = *(struct flow_event *)rows;
    return e;
}

// ---- health ----------------------------------------------------------------------------------------------------------------------
struct health_in {
    struct flow *f;
    struct arena *a;
    struct flow_health *out;
};

static void health(void *arg) {
    struct health_in *h = arg;
    struct flow *f = h->f;
    *h->out = (struct flow_health){.scheduler_ok = !f->broken && !f->closing, .python_ok = flow_python_ok(f), .heartbeat_us = flow_now(f),
        // it answers
                                   .parser_heartbeat_us = f->parser_heartbeat_us, .queued = f->n_scheduled, .running = f->running,
                                   .problem = f->problem[0] != '\0' ? arena_strdup(h->a, f->problem) : NULL};
}

void flow_health(struct flow *f, struct arena *a, struct flow_health *out) { flow_on_loop(f, health, &(struct health_in){f, a, out}); }
