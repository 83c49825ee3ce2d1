// SPDX-License-Identifier: Apache-2.0
// A sqlite3_vfs over sys, so that the simulation sees every write, sync and removal of the metadata.
//
// One per open database, registered under a name of its own. There is one connection and it holds the file's lock from open to close
// (locking_mode=EXCLUSIVE), so SQLite's own locks have nothing to do and the WAL's index lives in memory. A file that was made is made
// durable with its folder at its first sync. After a failed sync nothing more is written: what the disk has is for recovery to find out.
#include "meta/vfs.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { PATH_MAX_BYTES = 1024 };

struct vfs_file {
    sqlite3_file base;
    struct meta_vfs *vfs;
    struct sys_file *file;
    char *new_path; // not NULL: its name is not durable yet
};

static struct meta_vfs *vfs_of(sqlite3_vfs *base) { return (struct meta_vfs *)base; }

static enum err_code sync_folder(struct meta_vfs *v, const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? mem_strdup(".") : slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
    enum err_code code = sys_sync_dir(v->sys, dir, &v->last);
    mem_free(dir);
    if (code == ERR_SYNC_FAILED) v->sync_failed = true;
    return code;
}

// ---- files ----------------------------------------------------------------------------------------------------------

static int file_close(sqlite3_file *base) {
    struct vfs_file *f = (struct vfs_file *)base;
    sys_close(f->file);
    mem_free(f->new_path);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *p, int n, sqlite3_int64 offset) {
    struct vfs_file *f = (struct vfs_file *)base;
    int64_t got = sys_pread(f->file, p, (size_t)n, (uint64_t)offset, &f->vfs->last);
    if (got < 0) return SQLITE_IOERR_READ;
    if (got == n) return SQLITE_OK;
    memset((char *)p + got, 0, (size_t)(n - got)); // SQLite relies on it
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 offset) {
    struct vfs_file *f = (struct vfs_file *)base;
    if (f->vfs->sync_failed) return SQLITE_IOERR_WRITE;
    enum err_code code = sys_pwrite(f->file, p, (size_t)n, (uint64_t)offset, &f->vfs->last);
    return code == ERR_OK ? SQLITE_OK : code == ERR_NO_SPACE ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    struct vfs_file *f = (struct vfs_file *)base;
    if (f->vfs->sync_failed) return SQLITE_IOERR_TRUNCATE;
    return sys_truncate(f->file, (uint64_t)size, &f->vfs->last) == ERR_OK ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int file_sync(sqlite3_file *base, int flags) {
    (void)flags;
    struct vfs_file *f = (struct vfs_file *)base;
    struct meta_vfs *v = f->vfs;
    if (v->sync_failed) return SQLITE_IOERR_FSYNC;
    if (sys_fdatasync(f->file, &v->last) != ERR_OK) {
        v->sync_failed = true;
        return SQLITE_IOERR_FSYNC;
    }
    if (f->new_path != NULL) {
        if (sync_folder(v, f->new_path) != ERR_OK) return SQLITE_IOERR_DIR_FSYNC;
        mem_free(f->new_path);
        f->new_path = NULL;
    }
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    struct vfs_file *f = (struct vfs_file *)base;
    *size = sys_file_size(f->file, &f->vfs->last);
    return *size < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int file_lock(sqlite3_file *f, int level) { return (void)f, (void)level, SQLITE_OK; }
static int file_check_lock(sqlite3_file *f, int *out) { return (void)f, *out = 0, SQLITE_OK; }
static int file_control(sqlite3_file *f, int op, void *arg) { return (void)f, (void)op, (void)arg, SQLITE_NOTFOUND; }
static int file_sector_size(sqlite3_file *f) { return (void)f, 4096; }
// A power cut leaves bytes beside those being written as they were (as SQLite assumes of Linux by default).
static int file_traits(sqlite3_file *f) { return (void)f, SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

static const sqlite3_io_methods file_methods = {
    .iVersion = 1, // no shared memory: WAL works because the connection is exclusive
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_traits,
};

// ---- the file system ----------------------------------------------------------------------------------------------------

static int vfs_open(sqlite3_vfs *base, sqlite3_filename path, sqlite3_file *file, int flags, int *flags_out) {
    struct meta_vfs *v = vfs_of(base);
    struct vfs_file *f = (struct vfs_file *)file;
    *f = (struct vfs_file){.vfs = v};
    if (path == NULL) return SQLITE_CANTOPEN; // a temporary file: temp_store is memory
    int how = SYS_READ;
    if (flags & SQLITE_OPEN_READWRITE) how |= SYS_WRITE;
    if (flags & SQLITE_OPEN_CREATE) how |= SYS_CREATE;
    if (v->sync_failed) return SQLITE_IOERR;
    f->file = sys_open(v->sys, path, how, &v->last);
    if (f->file == NULL) return SQLITE_CANTOPEN;
    if ((flags & SQLITE_OPEN_MAIN_DB) && sys_lock(f->file, &v->last) != ERR_OK) {
        sys_close(f->file);
        f->file = NULL;
        return SQLITE_BUSY;
    }
    if (how & SYS_CREATE) f->new_path = mem_strdup(path); // even if it was there: a run that was killed may not have synced the folder
    if (flags_out != NULL) *flags_out = flags;
    f->base.pMethods = &file_methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync_dir) {
    struct meta_vfs *v = vfs_of(base);
    if (v->sync_failed) return SQLITE_IOERR_DELETE;
    enum err_code code = sys_unlink(v->sys, path, &v->last);
    if (code == ERR_NOT_FOUND) return SQLITE_IOERR_DELETE_NOENT;
    if (code != ERR_OK) return SQLITE_IOERR_DELETE;
    return !sync_dir || sync_folder(v, path) == ERR_OK ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *out) {
    (void)flags;
    struct meta_vfs *v = vfs_of(base);
    struct sys_stat st;
    enum err_code code = sys_stat(v->sys, path, &st, &v->last);
    if (code != ERR_OK && code != ERR_NOT_FOUND) return SQLITE_IOERR_ACCESS;
    // As in SQLite's own: an empty file counts as absent for "exists" (a journal of no bytes says nothing).
    *out = code == ERR_OK && (flags != SQLITE_ACCESS_EXISTS || st.size > 0);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *base, const char *path, int n, char *out) {
    (void)base;
    int len = snprintf(out, (size_t)n, "%s", path);
    return len >= 0 && len < n ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_random(sqlite3_vfs *base, int n, char *out) {
    sys_random(vfs_of(base)->sys, out, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *base, int us) {
    sys_sleep_us(vfs_of(base)->sys, us);
    return us;
}

static int vfs_time_ms(sqlite3_vfs *base, sqlite3_int64 *out) {
    *out = sys_now_us(vfs_of(base)->sys) / 1000 + 210866760000000; // since the Julian epoch
    return SQLITE_OK;
}

static int vfs_time_days(sqlite3_vfs *base, double *out) {
    sqlite3_int64 ms;
    vfs_time_ms(base, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *base, int n, char *out) { return (void)base, (void)n, (void)out, 0; }

struct meta_vfs *meta_vfs_new(struct sys *s) {
    struct meta_vfs *v = MEM_NEW(struct meta_vfs);
    snprintf(v->name, sizeof v->name, "millrace-%p", (void *)v);
    v->sys = s;
    v->base = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = (int)sizeof(struct vfs_file),
        .mxPathname = PATH_MAX_BYTES,
        .zName = v->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time_days,
        .xCurrentTimeInt64 = vfs_time_ms,
        .xGetLastError = vfs_last_error,
    };
    int rc = sqlite3_vfs_register(&v->base, 0);
    assert(rc == SQLITE_OK);
    (void)rc;
    return v;
}

void meta_vfs_free(struct meta_vfs *v) {
    sqlite3_vfs_unregister(&v->base);
    mem_free(v);
}
