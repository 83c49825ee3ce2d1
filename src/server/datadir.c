// SPDX-License-Identifier: Apache-2.0
// DIR/lock holds the pid of its owner under an advisory lock; DIR/version the layout's number, written before anything else is.
// One thread, at start. Durable: the directory and its version before a room opens in it.
#include "server/datadir.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/digest.h"
#include "server/version.h"

enum { SMALL_FILE_MAX = 4096 };

static char *path_in(const char *dir, const char *name) { return mem_printf("%s/%s", dir, name); }

static struct sys_file *take_lock(struct sys *s, const char *dir, struct err *err) {
    char *path = path_in(dir, "lock");
    struct sys_file *f = sys_open(s, path, SYS_READ | SYS_WRITE | SYS_CREATE, err);
    if (f != NULL && sys_lock(f, err) != ERR_OK) {
        char pid[32] = "";
        int64_t n = sys_pread(f, pid, sizeof pid - 1, 0, NULL);
        struct str who = str_trim(str_n(pid, n > 0 ? (size_t)n : 0));
        sys_close(f);
        f = NULL;
        err_set(err, ERR_LOCKED, "data directory %s is used by another millrace, process %.*s; stop it, or give another --data", dir,
                who.n > 0 ? (int)who.n : 7, who.n > 0 ? who.p : "unknown");
    }
    mem_free(path);
    if (f == NULL) return NULL;
    char *pid = mem_printf("%" PRId64 "\n", sys_getpid());
    enum err_code code = sys_truncate(f, 0, err);
    if (code == ERR_OK) code = sys_pwrite(f, pid, strlen(pid), 0, err);
    mem_free(pid);
    if (code == ERR_OK) return f;
    sys_close(f);
    return NULL;
}

static enum err_code refuse_version(const char *dir, int64_t found, struct err *err) {
    if (found > DATA_VERSION)
        return err_set(err, ERR_VERSION,
                       "data directory %s is of layout version %" PRId64 ", this is millrace %s with version %d; use a newer millrace", dir, found,
                       MILLRACE_VERSION, DATA_VERSION);
    return err_set(err, ERR_VERSION,
                   "data directory %s is of layout version %" PRId64 ", which millrace %s no longer reads; use the older millrace to export", dir,
                   found, MILLRACE_VERSION);
}

static bool holds_data(struct sys *s, const char *dir) {
    static const char *const names[] = {"log", "meta.db", "lake"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        char *path = path_in(dir, names[i]);
        found = sys_exists(s, path);
        mem_free(path);
    }
    return found;
}

static enum err_code check_version(struct sys *s, const char *dir, struct err *err) {
    char *path = path_in(dir, "version");
    enum err_code code = ERR_OK;
    if (!sys_exists(s, path)) {
        char text[16];
        struct buf b = {.p = NULL, .max = sizeof text};
        buf_printf(&b, "%d\n", DATA_VERSION);
        if (holds_data(s, dir))
            code = err_set(err, ERR_VERSION, "%s holds data but no file `version`: it is not a whole data directory; give another --data", dir);
        else code = sys_write_file(s, path, buf_str(&b), err);
        buf_fini(&b);
    } else {
        size_t n;
        int64_t found;
        char *text = sys_read_file(s, path, SMALL_FILE_MAX, &n, err);
        if (text == NULL) code = err->code;
        else if (!str_to_i64(str_trim(str_n(text, n)), &found)) code = err_set(err, ERR_VERSION, "%s is damaged: it holds no version number", path);
        else if (found != DATA_VERSION) code = refuse_version(dir, found, err);
        mem_free(text);
    }
    mem_free(path);
    return code;
}

enum err_code datadir_cluster_id(struct sys *s, const char *dir, char out[CLUSTER_ID_SIZE], struct err *err) {
    char *path = path_in(dir, "cluster_id");
    enum err_code code = ERR_OK;
    if (!sys_exists(s, path)) { // a UUID in base64url, as Kafka writes it
        uint8_t id[16];
        struct buf text;
        buf_init(&text, SMALL_FILE_MAX);
        sys_uuid(s, id);
        base64url_encode(str_n(id, sizeof id), &text);
        buf_puts(&text, "\n");
        code = sys_write_file(s, path, buf_str(&text), err);
        buf_fini(&text);
    }
    size_t n = 0;
    char *text = code == ERR_OK ? sys_read_file(s, path, SMALL_FILE_MAX, &n, err) : NULL;
    struct str id = str_trim(str_n(text, n));
    if (text == NULL) code = err->code;
    else if (id.n == 0 || id.n >= CLUSTER_ID_SIZE) code = err_set(err, ERR_CORRUPT, "%s is damaged: it holds no cluster id; remove it to get another", path);
    else {
        memcpy(out, id.p, id.n);
        out[id.n] = 0;
    }
    mem_free(text);
    mem_free(path);
    return code;
}

struct sys_file *datadir_open(struct sys *s, const char *dir, struct err *err) {
    if (sys_mkdirs(s, dir, err) != ERR_OK) {
        err_wrap(err, "data directory %s", dir);
        return NULL;
    }
    struct sys_file *lock = take_lock(s, dir, err);
    if (lock == NULL) return NULL;
    if (check_version(s, dir, err) == ERR_OK) return lock;
    sys_close(lock);
    return NULL;
}
