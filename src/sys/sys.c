// SPDX-License-Identifier: Apache-2.0
// The public functions: dispatch to the system's table, and what is built from its single steps.
//
// No state, any thread. Durability is what the header promises per function; the steps are the textbook ones: write, sync, rename or
// exclusive link, sync the directory.
#include "sys/sys.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "sys/ops.h"

// ---- files ----------------------------------------------------------------------------------------------------------

struct sys_file *sys_open(struct sys *s, const char *path, int flags, struct err *err) {
    assert((flags & (SYS_READ | SYS_WRITE)) != 0);
    assert((flags & SYS_EXCLUSIVE) == 0 || (flags & SYS_CREATE) != 0);
    return s->ops->open(s, path, flags, err);
}

void sys_close(struct sys_file *f) {
    if (f != NULL) f->sys->ops->close(f);
}

static bool is_aligned(const void *p, uint64_t n, uint64_t offset) {
    return ((uintptr_t)p % SYS_BLOCK | n % SYS_BLOCK | offset % SYS_BLOCK) == 0;
}

// Through blocks of our own: for headers, scans and what else is not on the way of the data.
static int64_t read_by_copy(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err) {
    enum { STEP = 256 << 10 };
    size_t cap = (n + 2 * SYS_BLOCK) / SYS_BLOCK * SYS_BLOCK, done = 0;
    if (cap > STEP) cap = STEP;
    char *blocks = aligned_alloc(SYS_BLOCK, cap);
    if (blocks == NULL) abort();
    while (done < n) {
        uint64_t at = (offset + done) / SYS_BLOCK * SYS_BLOCK;
        size_t skip = (size_t)(offset + done - at);
        int64_t got = sys_pread(f, blocks, cap, at, err);
        if (got < 0) {
            free(blocks);
            return -1;
        }
        size_t part = (size_t)got > skip ? (size_t)got - skip : 0;
        if (part > n - done) part = n - done;
        if (part == 0) break;
        memcpy((char *)p + done, blocks + skip, part);
        done += part;
        if ((size_t)got < cap) break;
    }
    free(blocks);
    return (int64_t)done;
}

int64_t sys_pread(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err) {
    if (f->direct && !is_aligned(p, n, offset)) return read_by_copy(f, p, n, offset, err);
    size_t done = 0;
    while (done < n) {
        int64_t got = f->sys->ops->read_at(f, (char *)p + done, n - done, offset + done, err);
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
        if (f->direct && done % SYS_BLOCK != 0) break; // the end of the file
    }
    return (int64_t)done;
}

enum err_code sys_pwrite(struct sys_file *f, const void *p, size_t n, uint64_t offset, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    assert(!f->direct || is_aligned(p, n, offset));
    for (size_t done = 0; done < n;) {
        int64_t put = f->sys->ops->write_at(f, (const char *)p + done, n - done, offset + done, err);
        if (put < 0) return err->code;
        assert(put > 0);
        done += (size_t)put;
    }
    return ERR_OK;
}

static enum err_code write_pieces(struct sys_file *f, const struct sys_iov *iov, int n_iov, uint64_t offset, bool sync, struct err *err) {
    for (int i = 0; i < n_iov; i++) {
        enum err_code code = sys_pwrite(f, iov[i].p, iov[i].n, offset, err);
        if (code != ERR_OK) return code;
        offset += iov[i].n;
    }
    return sync ? sys_fdatasync(f, err) : ERR_OK;
}

enum err_code sys_pwritev(struct sys_file *f, const struct sys_iov *iov, int n_iov, uint64_t offset, bool sync, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    assert(n_iov > 0 && n_iov <= SYS_IOV_MAX);
    for (int i = 0; i < n_iov; i++) assert(!f->direct || is_aligned(iov[i].p, iov[i].n, offset));
    if (f->sys->ops->writev_at == NULL) return write_pieces(f, iov, n_iov, offset, sync, err);
    int64_t put = f->sys->ops->writev_at(f, iov, n_iov, offset, sync, err);
    if (put < 0) return err->code;
    size_t done = (size_t)put; // a short one is finished piece by piece
    for (int i = 0; i < n_iov; offset += iov[i++].n) {
        size_t skip = done < iov[i].n ? done : iov[i].n;
        done -= skip;
        if (skip == iov[i].n) continue;
        struct sys_iov rest[SYS_IOV_MAX];
        int n = 0;
        rest[n++] = (struct sys_iov){(const char *)iov[i].p + skip, iov[i].n - skip};
        for (int k = i + 1; k < n_iov; k++) rest[n++] = iov[k];
        return write_pieces(f, rest, n, offset + skip, sync, err);
    }
    return ERR_OK;
}

int64_t sys_preadv(struct sys_file *f, const struct sys_iov *iov, int n_iov, uint64_t offset, struct err *err) {
    assert(n_iov > 0 && n_iov <= SYS_IOV_MAX);
    for (int i = 0; i < n_iov; i++) assert(!f->direct || is_aligned(iov[i].p, iov[i].n, offset));
    if (f->sys->ops->readv_at != NULL) return f->sys->ops->readv_at(f, iov, n_iov, offset, err);
    int64_t done = 0;
    for (int i = 0; i < n_iov; i++) {
        int64_t got = sys_pread(f, (void *)(uintptr_t)iov[i].p, iov[i].n, offset + (uint64_t)done, err);
        if (got < 0) return -1;
        done += got;
        if ((size_t)got < iov[i].n) break;
    }
    return done;
}

enum err_code sys_reserve(struct sys_file *f, uint64_t offset, uint64_t n, struct err *err) {
    return f->sys->ops->reserve(f, offset, n, err);
}
enum err_code sys_fdatasync(struct sys_file *f, struct err *err) { return f->sys->ops->fdatasync(f, err); }
enum err_code sys_truncate(struct sys_file *f, uint64_t size, struct err *err) { return f->sys->ops->truncate(f, size, err); }
int64_t sys_file_size(struct sys_file *f, struct err *err) { return f->sys->ops->size(f, err); }
enum err_code sys_lock(struct sys_file *f, struct err *err) { return f->sys->ops->lock(f, err); }
int sys_file_fd(struct sys_file *f) { return f->sys->ops->fd(f); }

char *sys_read_file(struct sys *s, const char *path, size_t max, size_t *n_out, struct err *err) {
    assert(max < SIZE_MAX / 2);
    struct sys_file *f = sys_open(s, path, SYS_READ, err);
    if (f == NULL) return NULL;
    char *p = NULL;
    size_t n = 0, cap = 0;
    int64_t size = sys_file_size(f, err);
    if (size < 0) goto failed;
    for (;;) { // one byte more than the size: a file that grows (or has none, in /proc) is read to its end
        size_t want = n == 0 ? (size_t)size + 1 : n;
        if (want < 4096) want = 4096;
        if (want > max - n + 1) want = max - n + 1;
        if (n + want + 1 > cap) p = mem_realloc(p, cap = n + want + 1);
        int64_t got = sys_pread(f, p + n, want, n, err);
        if (got < 0) goto failed;
        n += (size_t)got;
        if (n > max) {
            err_set(err, ERR_TOO_LARGE, "'%s' is larger than %zu bytes", path, max);
            goto failed;
        }
        if ((size_t)got < want) break;
    }
    sys_close(f);
    p[n] = 0;
    if (n_out != NULL) *n_out = n;
    return p;
failed:
    sys_close(f);
    mem_free(p);
    return NULL;
}

// The folder that holds `path`, from mem_alloc.
static char *parent_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    if (n == 0) return mem_strdup(".");
    while (n > 1 && path[n - 1] == '/') n--;
    return mem_strndup(path, n);
}

static enum err_code sync_parent(struct sys *s, const char *path, struct err *err) {
    char *dir = parent_of(path);
    enum err_code code = sys_sync_dir(s, dir, err);
    mem_free(dir);
    return code;
}

static enum err_code write_synced(struct sys *s, const char *path, int flags, struct str content, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    struct sys_file *f = sys_open(s, path, SYS_WRITE | SYS_CREATE | flags, err);
    if (f == NULL) return err->code;
    enum err_code code = sys_pwrite(f, content.p, content.n, 0, err);
    if (code == ERR_OK) code = sys_fdatasync(f, err);
    sys_close(f);
    return code;
}

enum err_code sys_write_file(struct sys *s, const char *path, struct str content, struct err *err) {
    char *tmp = mem_printf("%s.tmp", path);
    enum err_code code = write_synced(s, tmp, SYS_TRUNCATE, content, err);
    if (code == ERR_OK) code = sys_rename(s, tmp, path, err);
    if (code == ERR_OK) code = sync_parent(s, path, err);
    else sys_unlink(s, tmp, NULL);
    mem_free(tmp);
    return code;
}

enum err_code sys_create_file(struct sys *s, const char *path, struct str content, struct err *err) {
    char *tmp = mem_printf("%s.%016llx.tmp", path, (unsigned long long)sys_random_u64(s));
    enum err_code code = write_synced(s, tmp, SYS_EXCLUSIVE, content, err);
    if (code == ERR_OK) code = sys_link(s, tmp, path, err);
    sys_unlink(s, tmp, NULL);
    if (code == ERR_OK) code = sync_parent(s, path, err);
    mem_free(tmp);
    return code;
}

// ---- directories ----------------------------------------------------------------------------------------------------

enum err_code sys_stat(struct sys *s, const char *path, struct sys_stat *out, struct err *err) {
    return s->ops->stat(s, path, true, out, err);
}
bool sys_exists(struct sys *s, const char *path) {
    struct sys_stat st;
    return s->ops->stat(s, path, true, &st, NULL) == ERR_OK;
}
enum err_code sys_mkdir(struct sys *s, const char *path, struct err *err) { return s->ops->mkdir(s, path, err); }
enum err_code sys_rename(struct sys *s, const char *from, const char *to, struct err *err) { return s->ops->rename(s, from, to, err); }
enum err_code sys_link(struct sys *s, const char *from, const char *to, struct err *err) { return s->ops->link(s, from, to, err); }
enum err_code sys_unlink(struct sys *s, const char *path, struct err *err) { return s->ops->unlink(s, path, err); }
enum err_code sys_rmdir(struct sys *s, const char *path, struct err *err) { return s->ops->rmdir(s, path, err); }
enum err_code sys_sync_dir(struct sys *s, const char *path, struct err *err) { return s->ops->sync_dir(s, path, err); }
int64_t sys_disk_size(struct sys *s, const char *path) { return s->ops->disk_size(s, path); }
int64_t sys_disk_free(struct sys *s, const char *path) { return s->ops->disk_free(s, path); }

enum err_code sys_mkdirs(struct sys *s, const char *path, struct err *err) {
    struct sys_stat st;
    struct err own;
    if (err == NULL) err = &own;
    if (s->ops->stat(s, path, true, &st, NULL) == ERR_OK) {
        if (st.type != SYS_TYPE_DIR) return err_set(err, ERR_EXISTS, "'%s' is there and not a folder", path);
        // Who made it may have been killed before its synchronisation. A folder above ours that we may not read is not our making.
        enum err_code synced = sync_parent(s, path, err);
        if (synced == ERR_DENIED) err_clear(err);
        return synced == ERR_DENIED ? ERR_OK : synced;
    }
    char *dir = parent_of(path);
    enum err_code code = strcmp(dir, path) == 0 ? ERR_OK : sys_mkdirs(s, dir, err);
    mem_free(dir);
    if (code == ERR_OK) code = sys_mkdir(s, path, err);
    if (code == ERR_EXISTS && s->ops->stat(s, path, true, &st, NULL) == ERR_OK && st.type == SYS_TYPE_DIR) {
        err_clear(err);
        code = ERR_OK; // another thread was faster; its synchronisation may not be done yet, so ours follows
    }
    return code == ERR_OK ? sync_parent(s, path, err) : code;
}

enum err_code sys_remove_tree(struct sys *s, const char *path, struct err *err) {
    struct sys_stat st;
    enum err_code code = s->ops->stat(s, path, false, &st, err);
    if (code == ERR_NOT_FOUND) return err_clear(err), ERR_OK;
    if (code != ERR_OK) return code;
    if (st.type != SYS_TYPE_DIR) return sys_unlink(s, path, err);
    struct sys_list list;
    code = sys_list_dir(s, path, &list, err);
    if (code != ERR_OK) return code;
    for (size_t i = 0; i < list.n && code == ERR_OK; i++) {
        char *child = mem_printf("%s/%s", path, list.names[i]);
        code = sys_remove_tree(s, child, err);
        mem_free(child);
    }
    sys_list_free(&list);
    return code == ERR_OK ? sys_rmdir(s, path, err) : code;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

enum err_code sys_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err) {
    *out = (struct sys_list){0};
    enum err_code code = s->ops->list_dir(s, path, out, err);
    if (code != ERR_OK) {
        sys_list_free(out);
        return code;
    }
    if (out->n > 1) qsort(out->names, out->n, sizeof *out->names, compare_names);
    return ERR_OK;
}

void sys_list_free(struct sys_list *l) {
    for (size_t i = 0; i < l->n; i++) mem_free(l->names[i]);
    mem_free(l->names);
    *l = (struct sys_list){0};
}

// ---- clock and random -------------------------------------------------------------------------------------------------

int64_t sys_now_us(struct sys *s) { return s->ops->now_us(s); }
int64_t sys_mono_us(struct sys *s) { return s->ops->mono_us(s); }
void sys_random(struct sys *s, void *p, size_t n) { s->ops->random(s, p, n); }
void sys_sleep_us(struct sys *s, int64_t us) { s->ops->sleep_us(s, us); }

uint64_t sys_random_u64(struct sys *s) {
    uint64_t v;
    sys_random(s, &v, sizeof v);
    return v;
}

void sys_uuid(struct sys *s, uint8_t out[16]) {
    sys_random(s, out, 16);
    out[6] = (uint8_t)((out[6] & 0x0F) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3F) | 0x80);
}

void sys_uuid_text(const uint8_t uuid[16], char out[37]) {
    static const char digits[] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        *p++ = digits[uuid[i] >> 4];
        *p++ = digits[uuid[i] & 15];
    }
    *p = 0;
}

// ---- sockets and readiness ----------------------------------------------------------------------------------------------

struct sys_sock *sys_listen(struct sys *s, const char *host, int port, struct err *err) {
    assert(port >= 0 && port <= 65535);
    return s->ops->listen(s, host, port, err);
}
int sys_sock_port(struct sys_sock *k) { return k->sys->ops->sock_port(k); }
struct sys_sock *sys_accept(struct sys_sock *listener, char peer[64], struct err *err) {
    return listener->sys->ops->accept(listener, peer, err);
}
struct sys_sock *sys_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err) {
    return s->ops->connect(s, host, port, timeout_ms, err);
}
int64_t sys_sock_recv(struct sys_sock *k, void *p, size_t n, struct err *err) {
    assert(n > 0); // else 0 would look like the end
    return k->sys->ops->recv(k, p, n, err);
}
int64_t sys_sock_send(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err) {
    return k->sys->ops->send(k, iov, n_iov, err);
}
int64_t sys_sock_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err) {
    return k->sys->ops->sendfile(k, f, offset, n, err);
}
void sys_sock_close(struct sys_sock *k) {
    if (k != NULL) k->sys->ops->sock_close(k);
}

struct sys_poll *sys_poll_new(struct sys *s, struct err *err) { return s->ops->poll_new(s, err); }
void sys_poll_free(struct sys_poll *p) {
    if (p != NULL) p->sys->ops->poll_free(p);
}
enum err_code sys_poll_sock(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err) {
    return p->sys->ops->poll_sock(p, k, events, tag, err);
}
enum err_code sys_poll_fd(struct sys_poll *p, int fd, int events, void *tag, struct err *err) {
    return p->sys->ops->poll_fd(p, fd, events, tag, err);
}
int sys_poll_wait(struct sys_poll *p, struct sys_event *out, int max, int64_t timeout_us) {
    assert(max > 0);
    return p->sys->ops->poll_wait(p, out, max, timeout_us);
}
void sys_poll_wake(struct sys_poll *p) { p->sys->ops->poll_wake(p); }
