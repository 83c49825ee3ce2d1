// SPDX-License-Identifier: Apache-2.0
// The tables of flow and the one transaction per round that writes what changed. The loop's thread (readers of api_*.c use the tables from
// theirs). Durable when flow_store_flush has answered ERR_OK; when it fails, what is in memory is ahead of the store: the caller loads again.
#include "flow/flow_int.h"

#include <stdio.h>

#include "base/log.h"

static const struct meta_migration migrations[] = {
    {1,
     "create table flow_version(id integer primary key, uuid text not null, dag_id text not null, number integer not null, hash text not null,"
     " doc text not null, source blob not null, created_us integer not null, unique(dag_id, number));"
     "create table flow_dag(dag_id text primary key, file text not null, paused integer not null, stale integer not null, import_error"
     " integer not null,"
     " version_id integer, last_automated_us integer, last_parsed_us integer, parse_us integer, failed_in_a_row integer not null default 0,"
     " display_name text, description text, fileloc text, tags text, owners text) without rowid;"
     "create table flow_run(id integer primary key, dag_id text not null, run_id text not null, version_id integer not null, state text not null,"
     " run_type text not null, triggered_by text, user text, note text, conf text not null, logical_us integer, interval_start_us integer,"
     " interval_end_us integer, run_after_us integer not null, queued_us integer, start_us integer, end_us integer, decision_us integer,"
     " unique(dag_id, run_id));"
     "create index flow_run_logical on flow_run(dag_id, logical_us);"
     "create index flow_run_active on flow_run(state) where state in ('queued', 'running');"
     "create table flow_ti(run integer not null, task_id text not null, uuid text not null, state text not null, try_number integer not null,"
     " max_tries integer not null, reschedules integer not null, start_us integer, end_us integer, queued_us integer, scheduled_us integer,"
     " first_start_us integer, next_us integer, pid integer, rendered text, note text, skips text, operator text, pool text, pool_slots integer,"
     " queue text, weight integer, primary key(run, task_id)) without rowid;"
     "create table flow_try(run integer not null, task_id text not null, try_number integer not null, uuid text not null, state text not null,"
     " max_tries integer not null, start_us integer, end_us integer, queued_us integer, scheduled_us integer, pid integer,"
     " primary key(run, task_id, try_number)) without rowid;"
     "create table flow_xcom(run integer not null, task_id text not null, key text not null, value text not null, when_us integer not null,"
     " primary key(run, task_id, key)) without rowid;"
     "create table flow_variable(key text primary key, value text not null, description text) without rowid;"
     "create table flow_connection(id text primary key, type text not null, host text, login text, password text, schema text, port integer,"
     " extra text, description text) without rowid;"
     "create table flow_pool(name text primary key, slots integer not null, description text, include_deferred integer not null) without rowid;"
     "insert into flow_pool values ('default_pool', 128, 'Default pool', 0);"
     "insert into flow_connection(id, type, description) values ('millrace_default', 'millrace', 'This server');"
     "create table flow_import_error(id integer primary key, file text not null unique, trace text not null, when_us integer not null);"
     "create table flow_event(id integer primary key, when_us integer not null, event text not null, dag_id text, run_id text, task_id text,"
     " try_number integer, owner text, extra text);"
     "create index flow_event_dag on flow_event(dag_id, id);"},
};

enum err_code flow_store_open(struct flow *f, struct err *err) {
    return meta_migrate(f->meta, "flow", migrations, sizeof migrations / sizeof migrations[0], err);
}

// A time that may be absent: two ways to bind.
static void bind_time(struct meta_stmt *st, int i, int64_t us) {
    if (us == FLOW_NO_TIME) meta_bind_null(st, i);
    else meta_bind_int(st, i, us);
}
static int64_t col_time(struct meta_stmt *st, int i) { return meta_is_null(st, i) ? FLOW_NO_TIME : meta_int(st, i); }
static char *col_dup(struct meta_stmt *st, int i) { return meta_is_null(st, i) ? NULL : mem_strdup(meta_cstr(st, i)); }

// ---- writing ----------------------------------------------------------------------------------------------------------------
static enum err_code write_run(struct flow *f, struct frun *r, struct err *err) {
    struct meta_stmt *st = meta_prepare(
        f->meta, "insert or replace into flow_run values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)", err);
    if (st == NULL) return err->code;
    meta_bind_int(st, 1, r->id);
    meta_bind_cstr(st, 2, r->dag->dag_id);
    meta_bind_cstr(st, 3, r->run_id);
    meta_bind_int(st, 4, r->version->id);
    meta_bind_cstr(st, 5, flow_run_state_name(r->state));
    meta_bind_cstr(st, 6, r->run_type);
    meta_bind_cstr(st, 7, r->triggered_by);
    meta_bind_cstr(st, 8, r->user);
    meta_bind_cstr(st, 9, r->note);
    meta_bind_cstr(st, 10, r->conf);
    const int64_t times[] = {r->logical_us, r->interval_start_us, r->interval_end_us, r->run_after_us, r->queued_us, r->start_us, r->end_us,
        r->decision_us};
    for (int i = 0; i < 8; i++) bind_time(st, 11 + i, times[i]);
    return meta_run(st, err);
}

static enum err_code write_ti(struct flow *f, struct fti *t, struct err *err) {
    struct meta_stmt *st = meta_prepare(f->meta,
                                        "insert or replace into flow_ti values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
                                        " ?14, ?15, ?16,"
                                        " ?17, ?18, ?19, ?20, ?21, ?22)",
                                        err);
    if (st == NULL) return err->code;
    meta_bind_int(st, 1, t->run->id);
    meta_bind_cstr(st, 2, t->task->id);
    meta_bind_cstr(st, 3, t->uuid);
    meta_bind_cstr(st, 4, flow_ti_state_name(t->state));
    meta_bind_int(st, 5, t->try_number);
    meta_bind_int(st, 6, t->max_tries);
    meta_bind_int(st, 7, t->reschedules);
    const int64_t times[] = {t->start_us, t->end_us, t->queued_us, t->scheduled_us, t->first_start_us, t->next_us};
    for (int i = 0; i < 6; i++) bind_time(st, 8 + i, times[i]);
    meta_bind_int(st, 14, t->pid);
    meta_bind_cstr(st, 15, t->rendered);
    meta_bind_cstr(st, 16, t->note);
    meta_bind_cstr(st, 17, t->skips);
    meta_bind_cstr(st, 18, t->task->operator_name);
    meta_bind_cstr(st, 19, t->task->pool);
    meta_bind_int(st, 20, t->task->pool_slots);
    meta_bind_cstr(st, 21, t->task->queue);
    meta_bind_int(st, 22, t->task->weight);
    return meta_run(st, err);
}

static enum err_code write_dag(struct flow *f, struct fdag *d, struct err *err) {
    struct meta_stmt *st = meta_prepare(f->meta,
                                        "insert or replace into flow_dag values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
                                            err);
    if (st == NULL) return err->code;
    json_t *doc = d->latest != NULL ? d->latest->doc : NULL;
    meta_bind_cstr(st, 1, d->dag_id);
    meta_bind_cstr(st, 2, d->file);
    meta_bind_int(st, 3, d->paused);
    meta_bind_int(st, 4, d->stale);
    meta_bind_int(st, 5, d->import_error);
    if (d->latest != NULL) meta_bind_int(st, 6, d->latest->id);
    bind_time(st, 7, d->last_automated_us);
    bind_time(st, 8, d->last_parsed_us);
    meta_bind_int(st, 9, d->parse_us);
    meta_bind_int(st, 10, d->failed_in_a_row);
    meta_bind_cstr(st, 11, json_get_cstr(doc, "display_name", d->dag_id));
    meta_bind_cstr(st, 12, json_get_cstr(doc, "description", NULL));
    meta_bind_cstr(st, 13, json_get_cstr(doc, "fileloc", ""));
    struct arena a;
    arena_init(&a);
    meta_bind_text(st, 14, doc != NULL ? json_text(json_object_get(doc, "tags"), JSON_COMPACT, &a) : STR("[]"));
    meta_bind_text(st, 15, doc != NULL ? json_text(json_object_get(doc, "owners"), JSON_COMPACT, &a) : STR("[]"));
    arena_fini(&a);
    return meta_run(st, err);
}

static enum err_code write_try(struct flow *f, const struct fop *o, struct err *err) {
    const struct fti *t = &o->row;
    struct meta_stmt *st = meta_prepare(f->meta, "insert or replace into flow_try values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)", err);
    if (st == NULL) return err->code;
    meta_bind_int(st, 1, o->run);
    meta_bind_cstr(st, 2, o->a);
    meta_bind_int(st, 3, o->try_number);
    meta_bind_cstr(st, 4, o->uuid);
    meta_bind_cstr(st, 5, flow_ti_state_name(t->state));
    meta_bind_int(st, 6, t->max_tries);
    bind_time(st, 7, t->start_us);
    bind_time(st, 8, t->end_us);
    bind_time(st, 9, t->queued_us);
    bind_time(st, 10, t->scheduled_us);
    meta_bind_int(st, 11, t->pid);
    return meta_run(st, err);
}

static enum err_code delete_runs(struct flow *f, const char *where, const struct fop *o, struct err *err) {
    static const char *const tables[] = {"flow_ti", "flow_try", "flow_xcom"};
    char sql[256];
    bool by_dag = o->kind == FOP_DAG_DELETE;
    for (size_t i = 0; i < 3; i++) {
        snprintf(sql, sizeof sql, "delete from %s where run in (select id from flow_run where %s)", tables[i], where);
        enum err_code e = by_dag ? meta_do(f->meta, err, sql, "s", o->a) : meta_do(f->meta, err, sql, "i", o->run);
        if (e != ERR_OK) return e;
    }
    snprintf(sql, sizeof sql, "delete from flow_run where %s", where);
    return by_dag ? meta_do(f->meta, err, sql, "s", o->a) : meta_do(f->meta, err, sql, "i", o->run);
}

static enum err_code write_op(struct flow *f, const struct fop *o, struct err *err) {
    enum err_code e = ERR_OK;
    switch (o->kind) {
    case FOP_XCOM_SET:
        return meta_do(f->meta, err, "insert or replace into flow_xcom values (?1, ?2, ?3, ?4, ?5)", "isssi", o->run, o->a, o->b, o->c, o->when_us);
    case FOP_XCOM_CLEAR: return meta_do(f->meta, err, "delete from flow_xcom where run = ?1 and task_id = ?2", "is", o->run, o->a);
    case FOP_TRY: return write_try(f, o, err);
    case FOP_EVENT:
        return meta_do(f->meta, err,
                       "insert into flow_event(when_us, event, dag_id, run_id, task_id, try_number, extra) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                       "issssis", o->when_us, o->a, o->b, o->c, o->d, (int64_t)o->try_number, o->e);
    case FOP_PAUSE: return ERR_OK;
    case FOP_RUN_DELETE: return delete_runs(f, "id = ?1", o, err);
    case FOP_DAG_DELETE:
        e = delete_runs(f, "dag_id = ?1", o, err);
        if (e == ERR_OK) e = meta_do(f->meta, err, "delete from flow_version where dag_id = ?1", "s", o->a);
        return e == ERR_OK ? meta_do(f->meta, err, "delete from flow_dag where dag_id = ?1", "s", o->a) : e;
    }
    return e;
}

static void op_free(struct fop *o) {
    char *strings[] = {o->a, o->b, o->c, o->d, o->e};
    for (size_t i = 0; i < 5; i++) mem_free(strings[i]);
}

void flow_ops_clear(struct flow *f) {
    for (size_t i = 0; i < f->ops.n; i++) op_free(&f->ops.p[i]);
    f->ops.n = 0;
}

void flow_op_xcom(struct flow *f, int64_t run, const char *task_id, const char *key, const char *value_json) {
    vec_add(&f->ops, ((struct fop){.kind = FOP_XCOM_SET, .run = run, .a = mem_strdup(task_id), .b = mem_strdup(key), .c = mem_strdup(value_json),
                                   .when_us = flow_now(f)}));
}

enum err_code flow_store_flush(struct flow *f, struct err *err) {
    enum err_code e = meta_begin(f->meta, err);
    if (e != ERR_OK) return e;
    for (size_t i = 0; i < f->dirty_dags.n && e == ERR_OK; i++) e = write_dag(f, f->dirty_dags.p[i], err);
    for (size_t i = 0; i < f->dirty_runs.n && e == ERR_OK; i++) {
        struct frun *r = f->dirty_runs.p[i];
        e = write_run(f, r, err);
        for (size_t k = 0; r->is_new && k < r->version->n && e == ERR_OK; k++) e = write_ti(f, &r->tis[k], err);
    }
    for (size_t i = 0; i < f->dirty_tis.n && e == ERR_OK; i++)
        if (!f->dirty_tis.p[i]->run->is_new) e = write_ti(f, f->dirty_tis.p[i], err);
    for (size_t i = 0; i < f->ops.n && e == ERR_OK; i++) e = write_op(f, &f->ops.p[i], err);
    if (e != ERR_OK) {
        meta_rollback(f->meta);
        return e;
    }
    e = meta_commit(f->meta, err);
    if (e != ERR_OK) return e;
    for (size_t i = 0; i < f->dirty_dags.n; i++) f->dirty_dags.p[i]->dirty = false;
    for (size_t i = 0; i < f->dirty_runs.n; i++) f->dirty_runs.p[i]->dirty = f->dirty_runs.p[i]->is_new = false;
    for (size_t i = 0; i < f->dirty_tis.n; i++) f->dirty_tis.p[i]->dirty = false;
    f->dirty_dags.n = f->dirty_runs.n = f->dirty_tis.n = 0;
    flow_ops_clear(f);
    return ERR_OK;
}

enum err_code flow_store_version_add(struct flow *f, struct fdag *d, struct fversion *v, struct str source, struct err *err) {
    struct arena a;
    arena_init(&a);
    struct str doc = json_text(v->doc, JSON_COMPACT, &a);
    enum err_code e = meta_begin(f->meta, err);
    if (e != ERR_OK) goto out;
    int64_t number = 1 + meta_get_int(f->meta, err, 0, "select max(number) from flow_version where dag_id = ?1", "s", d->dag_id);
    v->number = (int)number;
    e = meta_do(f->meta, err, "insert into flow_version(uuid, dag_id, number, hash, doc, source, created_us) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                "ssisSbi",
                v->uuid, d->dag_id, number, v->hash, doc, source, v->created_us);
    v->id = meta_last_id(f->meta);
    if (e == ERR_OK) e = meta_commit(f->meta, err);
    else meta_rollback(f->meta);
out:
    arena_fini(&a);
    return e;
}

// ---- loading ----------------------------------------------------------------------------------------------------------------
static struct fversion *load_version(struct flow *f, int64_t id, struct err *err) {
    struct meta_stmt *st = meta_query(f->meta, err, "select doc, uuid, number, hash, created_us from flow_version where id = ?1", "i", id);
    if (st == NULL) return NULL;
    struct fversion *v = NULL;
    int row = meta_step(st, err);
    if (row == 1) {
        json_t *doc = json_parse(meta_text(st, 0), err);
        if (doc != NULL) v = flow_version_parse(doc, err);
        json_decref(doc);
        if (v != NULL) {
            v->id = id;
            v->number = (int)meta_int(st, 2);
            v->created_us = meta_int(st, 4);
            snprintf(v->uuid, sizeof v->uuid, "%s", meta_cstr(st, 1));
            snprintf(v->hash, sizeof v->hash, "%s", meta_cstr(st, 3));
        }
    } else if (row == 0) {
        err_set(err, ERR_CORRUPT, "DAG version %lld is missing in the store", (long long)id);
    }
    meta_reset(st);
    return v;
}

static struct fversion *version_of(struct flow *f, struct fdag *d, int64_t id, struct err *err) { // a new reference
    if (d->latest != NULL && d->latest->id == id) {
        d->latest->refs++;
        return d->latest;
    }
    for (size_t i = 0; i < d->runs.n; i++)
        if (d->runs.p[i]->version->id == id) {
            d->runs.p[i]->version->refs++;
            return d->runs.p[i]->version;
        }
    return load_version(f, id, err);
}

struct dagrow {
    char *dag_id, *file;
    int64_t version, times[3], parse_us, failed;
    bool flags[3];
};

static enum err_code load_dags(struct flow *f, struct err *err) {
    VEC(struct dagrow) rows = {0};
    struct meta_stmt *st = meta_prepare(f->meta,
                                        "select dag_id, file, paused, stale, import_error, version_id, last_automated_us, last_parsed_us, parse_us,"
                                        " failed_in_a_row from flow_dag",
                                        err);
    if (st == NULL) return err->code;
    int row;
    while ((row = meta_step(st, err)) == 1)
        vec_add(&rows, ((struct dagrow){col_dup(st, 0), col_dup(st, 1), meta_is_null(st, 5) ? 0 : meta_int(st, 5), {col_time(st, 6), col_time(st,
            7), 0},
                                        meta_int(st, 8), meta_int(st, 9), {meta_int(st, 2) != 0, meta_int(st, 3) != 0, meta_int(st, 4) != 0}}));
    meta_reset(st);
    for (size_t i = 0; i < rows.n; i++) {
        struct dagrow *r = &rows.p[i];
        struct fdag *d = flow_dag_add(f, r->dag_id);
        mem_free(d->file);
        d->file = r->file;
        d->paused = r->flags[0];
        d->stale = r->flags[1];
        d->import_error = r->flags[2];
        d->last_automated_us = r->times[0];
        d->last_parsed_us = r->times[1];
        d->parse_us = r->parse_us;
        d->failed_in_a_row = (int)r->failed;
        struct err e2 = {0};
        flow_version_unref(d->latest); // of a load before this one
        d->latest = r->version != 0 ? load_version(f, r->version, &e2) : NULL;
        if (r->version != 0 && d->latest == NULL) {
            log_warn("flow", "stored DAG cannot be read; waiting for its file", "dag", d->dag_id, "error", e2.msg, NULL);
            d->stale = true;
        }
        mem_free(r->dag_id);
    }
    vec_fini(&rows);
    return row < 0 ? err->code : ERR_OK;
}

static enum err_code load_tis(struct flow *f, struct frun *r, struct err *err) {
    struct meta_stmt *st = meta_query(f->meta, err,
                                      "select task_id, uuid, state, try_number, max_tries, reschedules, start_us, end_us, queued_us, scheduled_us,"
                                      " first_start_us, next_us, pid, rendered, note, skips from flow_ti where run = ?1",
                                      "i", r->id);
    if (st == NULL) return err->code;
    int row;
    while ((row = meta_step(st, err)) == 1) {
        const struct ftask *task = flow_version_task(r->version, meta_cstr(st, 0));
        if (task == NULL) continue; // the row stays as history
        struct fti *t = &r->tis[task->index];
        snprintf(t->uuid, sizeof t->uuid, "%s", meta_cstr(st, 1));
        if (!flow_ti_state_parse(meta_text(st, 2), &t->state)) t->state = FLOW_TI_NONE;
        t->try_number = (int)meta_int(st, 3);
        t->max_tries = (int)meta_int(st, 4);
        t->reschedules = (int)meta_int(st, 5);
        int64_t *const times[] = {&t->start_us, &t->end_us, &t->queued_us, &t->scheduled_us, &t->first_start_us, &t->next_us};
        for (int i = 0; i < 6; i++) *times[i] = col_time(st, 6 + i);
        t->pid = meta_int(st, 12);
        t->rendered = col_dup(st, 13);
        t->note = col_dup(st, 14);
        t->skips = col_dup(st, 15);
    }
    meta_reset(st);
    return row < 0 ? err->code : ERR_OK;
}

#define RUN_COLUMNS                                                                                                                     \
    "id, dag_id, run_id, version_id, state, run_type, triggered_by, user, note, conf, logical_us, interval_start_us, interval_end_us,"   \
    " run_after_us, queued_us, start_us, end_us, decision_us"

struct runrow {
    int64_t id, version, times[8];
    char *dag_id, *texts[7];
    enum flow_run_state state;
};

static void runrow_read(struct meta_stmt *st, struct runrow *r) {
    r->id = meta_int(st, 0);
    r->dag_id = col_dup(st, 1);
    r->texts[0] = col_dup(st, 2);
    r->version = meta_int(st, 3);
    if (!flow_run_state_parse(meta_text(st, 4), &r->state)) r->state = FLOW_RUN_FAILED;
    for (int i = 0; i < 5; i++) r->texts[1 + i] = col_dup(st, 5 + i);
    r->texts[6] = NULL;
    for (int i = 0; i < 8; i++) r->times[i] = col_time(st, 10 + i);
}

// Takes the row's strings.
static struct frun *run_of_row(struct flow *f, struct runrow *row, struct err *err) {
    struct fdag *d = flow_dag_find(f, row->dag_id);
    struct fversion *v = d == NULL ? NULL : version_of(f, d, row->version, err);
    if (d == NULL) err_set(err, ERR_CORRUPT, "run '%s' belongs to no DAG ('%s')", row->texts[0], row->dag_id);
    mem_free(row->dag_id);
    if (v == NULL) {
        for (int i = 0; i < 7; i++) mem_free(row->texts[i]);
        return NULL;
    }
    struct frun *r = flow_run_new(f, d, v);
    flow_version_unref(v);
    r->id = row->id;
    r->state = row->state;
    char **const texts[] = {&r->run_id, &r->run_type, &r->triggered_by, &r->user, &r->note, &r->conf};
    for (int i = 0; i < 6; i++) {
        mem_free(*texts[i]);
        *texts[i] = row->texts[i];
    }
    int64_t *const times[] = {&r->logical_us, &r->interval_start_us, &r->interval_end_us, &r->run_after_us, &r->queued_us, &r->start_us, &r->end_us,
        &r->decision_us};
    for (int i = 0; i < 8; i++) *times[i] = row->times[i];
    flow_run_init_tis(f, r);
    if (load_tis(f, r, err) != ERR_OK) return NULL;
    flow_run_recount(r);
    return r;
}

static enum err_code load_pools(struct flow *f, struct err *err) {
    struct meta_stmt *st = meta_prepare(f->meta, "select name, slots from flow_pool", err);
    if (st == NULL) return err->code;
    int row;
    while ((row = meta_step(st, err)) == 1) flow_pool_add(f, meta_cstr(st, 0), (int)meta_int(st, 1));
    meta_reset(st);
    return row < 0 ? err->code : ERR_OK;
}

enum err_code flow_store_load(struct flow *f, struct err *err) {
    enum err_code e = load_pools(f, err);
    if (e == ERR_OK) e = load_dags(f, err);
    if (e != ERR_OK) return e;
    f->last_run_id = meta_get_int(f->meta, err, 0, "select max(id) from flow_run", "");
    VEC(struct runrow) rows = {0};
    struct meta_stmt *st = meta_prepare(f->meta, "select " RUN_COLUMNS " from flow_run where state in ('queued', 'running') order by id", err);
    if (st == NULL) return err->code;
    int row;
    while ((row = meta_step(st, err)) == 1) runrow_read(st, vec_push(&rows));
    meta_reset(st);
    e = row < 0 ? err->code : ERR_OK;
    for (size_t i = 0; i < rows.n; i++) {
        struct err e2 = {0};
        if (run_of_row(f, &rows.p[i], &e2) == NULL) log_error("flow", "a stored run cannot be taken up", "error", e2.msg, NULL);
    }
    vec_fini(&rows);
    return e;
}

struct frun *flow_store_load_run(struct flow *f, const char *dag_id, const char *run_id, struct err *err) {
    struct meta_stmt *st = meta_query(f->meta, err, "select " RUN_COLUMNS " from flow_run where dag_id = ?1 and run_id = ?2", "ss", dag_id, run_id);
    if (st == NULL) return NULL;
    int row = meta_step(st, err);
    struct runrow r = {0};
    if (row == 1) runrow_read(st, &r);
    else if (row == 0) err_set(err, ERR_NOT_FOUND, "DAG '%s' has no run '%s'", dag_id, run_id);
    meta_reset(st);
    return row == 1 ? run_of_row(f, &r, err) : NULL;
}
