// SPDX-License-Identifier: Apache-2.0
// Opening, the lock, transactions and migrations.
//
// One SQLite connection in WAL mode with synchronous=FULL: a commit is one append and one sync of the WAL. The store's lock belongs to a
// thread and counts, so transactions and statements nest. At open the WAL is copied into the main file and emptied, so that what an earlier
// run's failed sync left behind is written again before anything new is acknowledged on top of it.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "meta/meta_impl.h"

// ---- the lock -------------------------------------------------------------------------------------------------------

static const void *this_thread(void) {
    static _Thread_local char id;
    return &id;
}

void meta_hold(struct meta *m) {
    sys_mutex_lock(&m->mutex);
    while (m->owner != NULL && m->owner != this_thread()) sys_cond_wait(&m->released, &m->mutex);
    m->owner = this_thread();
    m->holds++;
    sys_mutex_unlock(&m->mutex);
}

void meta_release(struct meta *m) {
    sys_mutex_lock(&m->mutex);
    assert(m->owner == this_thread() && m->holds > 0);
    if (--m->holds == 0) {
        m->owner = NULL;
        sys_cond_signal(&m->released);
    }
    sys_mutex_unlock(&m->mutex);
}

// ---- errors ---------------------------------------------------------------------------------------------------------

static enum err_code code_of(int rc) {
    switch (rc & 0xFF) {
    case SQLITE_FULL: return ERR_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_LOCKED;
    case SQLITE_NOMEM: return ERR_NO_MEMORY;
    case SQLITE_TOOBIG: return ERR_TOO_LARGE;
    case SQLITE_INTERRUPT: return ERR_CANCELLED;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID ? ERR_EXISTS : ERR_DATA;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return ERR_IO;
    default: return ERR_INTERNAL; // SQL of our own that does not compile, a wrong parameter
    }
}

enum err_code meta_error(struct meta *m, int rc, const char *doing, struct err *err) {
    struct err e;
    enum err_code code = m->vfs->sync_failed ? ERR_SYNC_FAILED : code_of(rc);
    bool from_file = m->vfs->last.code != ERR_OK && (code == ERR_IO || code == ERR_NO_SPACE || code == ERR_SYNC_FAILED || code == ERR_LOCKED);
    if (from_file && (code == ERR_IO || code == ERR_LOCKED)) code = m->vfs->last.code;
    const char *why = from_file ? m->vfs->last.msg : m->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(m->db);
    err_set(&e, code, "metadata '%s': %s: %s", m->path, doing, why);
    if (m->depth > 0 && !m->doomed && sqlite3_get_autocommit(m->db)) {
        m->doomed = true; // SQLite rolled back by itself: what follows must not run outside of the transaction
        m->doom = e;
    }
    err_copy(err, &e);
    return code;
}

enum err_code meta_check(struct meta *m, struct err *err) {
    if (m->vfs->sync_failed)
        return err_set(err, ERR_SYNC_FAILED, "metadata '%s': a sync failed earlier (%s); restart to recover", m->path, m->vfs->last.msg);
    if (m->depth > 0 && m->doomed) return err_set(err, ERR_CONFLICT, "the transaction was rolled back: %s", m->doom.msg);
    m->vfs->last.code = ERR_OK;
    return ERR_OK;
}

enum err_code meta_exec(struct meta *m, const char *sql, struct err *err) {
    meta_hold(m);
    enum err_code code = meta_check(m, err);
    if (code == ERR_OK) {
        int rc = sqlite3_exec(m->db, sql, NULL, NULL, NULL);
        if (rc != SQLITE_OK) code = meta_error(m, sqlite3_extended_errcode(m->db), "cannot run a statement", err);
    }
    meta_release(m);
    return code;
}

// ---- transactions ---------------------------------------------------------------------------------------------------

enum err_code meta_begin(struct meta *m, struct err *err) {
    meta_hold(m);
    if (m->depth == 0) {
        enum err_code code = meta_check(m, err);
        if (code == ERR_OK && sqlite3_exec(m->db, "begin immediate", NULL, NULL, NULL) != SQLITE_OK)
            code = meta_error(m, sqlite3_extended_errcode(m->db), "cannot begin", err);
        if (code != ERR_OK) {
            meta_release(m);
            return code;
        }
        m->doomed = false;
    }
    m->depth++;
    return ERR_OK; // the holding goes on until commit or rollback
}

static void undo(struct meta *m) {
    if (!sqlite3_get_autocommit(m->db)) sqlite3_exec(m->db, "rollback", NULL, NULL, NULL);
}

enum err_code meta_commit(struct meta *m, struct err *err) {
    assert(m->owner == this_thread() && m->depth > 0);
    enum err_code code = ERR_OK;
    if (m->depth == 1) {
        code = meta_check(m, err);
        if (code == ERR_OK && sqlite3_exec(m->db, "commit", NULL, NULL, NULL) != SQLITE_OK)
            code = meta_error(m, sqlite3_extended_errcode(m->db), "cannot commit", err);
        if (code != ERR_OK) undo(m);
    }
    m->depth--;
    meta_release(m);
    return code;
}

void meta_rollback(struct meta *m) {
    assert(m->owner == this_thread() && m->depth > 0);
    undo(m);
    if (m->depth > 1 && !m->doomed) {
        m->doomed = true;
        err_set(&m->doom, ERR_CONFLICT, "an inner transaction was rolled back");
    }
    m->depth--;
    meta_release(m);
}

// ---- migrations -----------------------------------------------------------------------------------------------------

static enum err_code apply_migration(struct meta *m, const char *set, const struct meta_migration *step, struct err *err) {
    enum err_code code = meta_begin(m, err);
    if (code != ERR_OK) return code;
    code = meta_exec(m, step->sql, err);
    if (code == ERR_OK)
        code = meta_do(m, err, "insert or replace into meta_versions (name, version, applied_us) values (?, ?, ?)", "sii", set,
                       (int64_t)step->version, sys_now_us(m->sys));
    if (code != ERR_OK) {
        err_wrap(err, "migration %d of '%s'", step->version, set);
        meta_rollback(m);
        return code;
    }
    return meta_commit(m, err);
}

enum err_code meta_migrate(struct meta *m, const char *set, const struct meta_migration *migrations, size_t n, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    err_clear(err);
    meta_hold(m);
    int64_t stored = meta_get_int(m, err, 0, "select version from meta_versions where name = ?", "s", set);
    int newest = n == 0 ? 0 : migrations[n - 1].version;
    enum err_code code = err->code;
    if (code == ERR_OK && stored > newest)
        code = err_set(err, ERR_VERSION, "metadata '%s': tables of '%s' have version %lld, this program knows %d; use the newer program", m->path,
                       set, (long long)stored, newest);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        assert(migrations[i].version > (i == 0 ? 0 : migrations[i - 1].version));
        if (migrations[i].version > stored) code = apply_migration(m, set, &migrations[i], err);
    }
    meta_release(m);
    return code;
}

// ---- open and close -------------------------------------------------------------------------------------------------

static enum err_code set_up(struct meta *m, struct err *err) {
    int rc = sqlite3_open_v2(m->path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, m->vfs->name);
    if (rc != SQLITE_OK) return meta_error(m, m->db == NULL ? rc : sqlite3_extended_errcode(m->db), "cannot open", err);
    sqlite3_extended_result_codes(m->db, 1);
    sqlite3_limit(m->db, SQLITE_LIMIT_LENGTH, META_VALUE_MAX);
    static const char *const pragmas[] = {
        "pragma locking_mode = exclusive", // first: WAL without shared memory
        "pragma journal_mode = wal",
        "pragma synchronous = full",
        "pragma temp_store = memory",
        "pragma foreign_keys = on",
        "pragma trusted_schema = off",
        "pragma cache_size = -16384",
        "pragma wal_checkpoint(truncate)",
        "create table if not exists meta_versions (name text primary key, version integer not null, applied_us integer not null)",
    };
    for (size_t i = 0; i < sizeof pragmas / sizeof *pragmas; i++) {
        enum err_code code = meta_exec(m, pragmas[i], err);
        if (code != ERR_OK) return code;
    }
    struct meta_stmt *st = meta_prepare(m, "pragma journal_mode", err); // a mode that cannot be had is not an error to SQLite
    if (st == NULL) return ERR_IO;
    bool wal = meta_step(st, err) == 1 && str_eqc(meta_text(st, 0), "wal");
    meta_reset(st);
    return wal ? ERR_OK : err_set(err, ERR_INTERNAL, "metadata '%s': no write-ahead log", m->path);
}

struct meta *meta_open(struct sys *s, const char *path, const struct meta_migration *migrations, size_t n, struct err *err) {
    if (str_starts(str_c(path), STR("postgresql://")) || str_starts(str_c(path), STR("postgres://"))) {
        err_set(err, ERR_NOT_SUPPORTED, "metadata in PostgreSQL is not there yet; name a file");
        return NULL;
    }
    struct meta *m = MEM_NEW(struct meta);
    m->sys = s;
    m->path = mem_strdup(path);
    m->vfs = meta_vfs_new(s);
    sys_mutex_init(&m->mutex);
    sys_cond_init(&m->released);
    map_init(&m->cache);
    enum err_code code = set_up(m, err);
    if (code == ERR_OK) code = meta_migrate(m, "main", migrations, n, err);
    if (code == ERR_OK) return m;
    meta_close(m);
    return NULL;
}

void meta_close(struct meta *m) {
    if (m == NULL) return;
    assert(m->owner == NULL || m->owner == this_thread());
    meta_drop_statements(m);
    if (m->db != NULL) {
        undo(m);
        int rc = sqlite3_close(m->db); // copies the WAL into the main file and removes it
        assert(rc == SQLITE_OK);
        (void)rc;
    }
    meta_vfs_free(m->vfs);
    map_fini(&m->cache);
    vec_fini(&m->in_use);
    sys_cond_fini(&m->released);
    sys_mutex_fini(&m->mutex);
    mem_free(m->path);
    mem_free(m);
}

int64_t meta_changes(struct meta *m) { return sqlite3_changes64(m->db); }
int64_t meta_last_id(struct meta *m) { return sqlite3_last_insert_rowid(m->db); }
