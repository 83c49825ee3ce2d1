// SPDX-License-Identifier: Apache-2.0
// The simulated disk: a tree of inodes in memory whose folders remember which changes of names are not durable yet.
//
// Every folder has its entries as programs see them, its entries on the platter, and the list of changes between the two. Syncing a folder
// applies the list; a power cut applies a prefix that the seed chooses. A rename between folders is one change in each, and the removal
// never becomes durable before the addition. All under the system's mutex.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sys/sim_impl.h"

struct sim_change {
    uint64_t id;
    char *del, *set; // names; NULL = none. First del, then set
    struct sim_inode *inode;
    struct sim_inode *after_dir; // this change needs that folder's changes up to after_id to be durable
    uint64_t after_id;
};

struct sim_inode {
    bool is_dir, marked;
    int names, opens;
    int64_t mtime_us;
    struct sim_file *locked_by;
    struct sim_data data;         // file
    struct map now, safe;         // folder: name -> inode
    VEC(struct sim_change) queue; // folder: changes not durable yet
};

struct sim_file {
    struct sys_file base;
    struct sim_inode *inode; // NULL = stale: opened before a power cut
    int flags;
    char *path;
};

static struct sim *disk_of(struct sys_file *f) { return sim_of(f->sys); }

// ---- numbering, faults, the crash ---------------------------------------------------------------------------------------

enum step { STEP_OK, STEP_FAIL, STEP_SHORT, STEP_CRASH };
enum kind { KIND_NAME, KIND_WRITE, KIND_SYNC };

static bool take_fault(sim_fault_vec *faults, uint64_t op, enum kind kind, enum sys_sim_fault *out) {
    for (size_t i = 0; i < faults->n; i++) {
        struct sim_fault f = faults->p[i];
        bool waits = f.kind == SYS_SIM_FSYNC || f.kind == SYS_SIM_SHORT;
        bool fits = f.kind == SYS_SIM_FSYNC ? kind == KIND_SYNC : f.kind == SYS_SIM_SHORT ? kind == KIND_WRITE : true;
        if (op < f.op || !fits || (!waits && op != f.op)) continue;
        *out = f.kind;
        vec_remove(faults, i);
        return true;
    }
    return false;
}

static enum err_code power_is_off(enum kind kind, struct err *err) {
    return err_set(err, kind == KIND_SYNC ? ERR_SYNC_FAILED : ERR_IO, "the power is off (simulated)");
}

// Counts an operation and says how it goes. STEP_FAIL: err is set. STEP_CRASH: it may happen in part, then fails (err is set).
static enum step begin_step(struct sim_disk *d, enum kind kind, const char *path, enum err_code *code, struct err *err) {
    if (d->crashed) return *code = power_is_off(kind, err), STEP_FAIL;
    d->ops++;
    if (d->crash_at != 0 && d->ops >= d->crash_at) {
        d->crashed = true;
        *code = power_is_off(kind, err);
        return STEP_CRASH;
    }
    enum sys_sim_fault fault;
    if (!take_fault(&d->faults, d->ops, kind, &fault)) return STEP_OK;
    if (fault == SYS_SIM_SHORT) return STEP_SHORT;
    *code = kind == KIND_SYNC ? ERR_SYNC_FAILED : fault == SYS_SIM_ENOSPC ? ERR_NO_SPACE : ERR_IO;
    err_set(err, *code, "'%s': failed (simulated, operation %llu)", path, (unsigned long long)d->ops);
    return STEP_FAIL;
}

// For changes of names: true = do it. After a crash step it is done or not, and the call fails either way: *code says.
static bool step_name(struct sim_disk *d, const char *path, enum err_code *code, struct err *err) {
    *code = ERR_OK;
    enum step step = begin_step(d, KIND_NAME, path, code, err);
    return step == STEP_OK || step == STEP_SHORT || (step == STEP_CRASH && sim_rng_below(&d->fate, 2) == 0);
}

// ---- inodes -------------------------------------------------------------------------------------------------------------

static struct sim_inode *new_inode(struct sim *m, bool is_dir) {
    struct sim_inode *i = MEM_NEW(struct sim_inode);
    i->is_dir = is_dir;
    i->mtime_us = m->now_us;
    if (is_dir) {
        map_init(&i->now);
        map_init(&i->safe);
    }
    vec_add(&m->disk.inodes, i);
    return i;
}

static void free_change(struct sim_change *c) {
    mem_free(c->del);
    mem_free(c->set);
}

static void free_inode(struct sim_inode *i) {
    if (i->is_dir) {
        map_fini(&i->now);
        map_fini(&i->safe);
        for (size_t k = 0; k < i->queue.n; k++) free_change(&i->queue.p[k]);
        vec_fini(&i->queue);
    }
    sim_data_fini(&i->data);
    mem_free(i);
}

static void mark_inode(struct sim_inode *i) {
    if (i == NULL || i->marked) return;
    i->marked = true;
    if (!i->is_dir) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&i->now, &it)) != NULL;) mark_inode(e->value);
    for (size_t it = 0; (e = map_next(&i->safe, &it)) != NULL;) mark_inode(e->value);
    for (size_t k = 0; k < i->queue.n; k++) {
        mark_inode(i->queue.p[k].inode);
        mark_inode(i->queue.p[k].after_dir);
    }
}

// Frees what no name, no change and no open file reaches.
static void sweep(struct sim_disk *d) {
    mark_inode(d->inodes.p[0]);
    for (size_t i = 0; i < d->files.n; i++) mark_inode(d->files.p[i]->inode);
    size_t kept = 0;
    for (size_t i = 0; i < d->inodes.n; i++) {
        struct sim_inode *node = d->inodes.p[i];
        if (node->marked) {
            node->marked = false;
            d->inodes.p[kept++] = node;
        } else {
            free_inode(node);
        }
    }
    d->inodes.n = kept;
    d->sweep_at = kept * 2 + 1000;
}

static uint64_t bytes_used(const struct sim_disk *d) {
    uint64_t sum = 0;
    for (size_t i = 0; i < d->inodes.n; i++)
        if (d->inodes.p[i]->names + d->inodes.p[i]->opens > 0) sum += d->inodes.p[i]->data.size;
    return sum;
}

// ---- paths ----------------------------------------------------------------------------------------------------------------

// The folder that holds the last part of `path`, and that part; *errnum when there is none. "" and "." parts are skipped; ".." is not used.
static struct sim_inode *find_parent(struct sim *m, const char *path, struct str *last, int *errnum) {
    struct sim_inode *dir = m->disk.inodes.p[0];
    struct str rest = str_c(path), part = {0};
    *last = (struct str){0};
    while (rest.n > 0) {
        struct str tail;
        str_cut(rest, '/', &part, &tail);
        rest = tail;
        if (part.n == 0 || str_eqc(part, ".")) continue;
        assert(!str_eqc(part, ".."));
        if (last->n > 0) {
            struct sim_inode *next = map_get(&dir->now, *last);
            if (next == NULL || !next->is_dir) return *errnum = next == NULL ? ENOENT : ENOTDIR, NULL;
            dir = next;
        }
        *last = part;
    }
    return dir;
}

static struct sim_inode *find(struct sim *m, const char *path, int *errnum) {
    struct str last;
    struct sim_inode *dir = find_parent(m, path, &last, errnum);
    if (dir == NULL || last.n == 0) return dir;
    struct sim_inode *i = map_get(&dir->now, last);
    if (i == NULL) *errnum = ENOENT;
    return i;
}

// ---- changes of names -----------------------------------------------------------------------------------------------------

static uint64_t queue_change(struct sim *m, struct sim_inode *dir, struct str del, struct str set, struct sim_inode *inode) {
    struct sim_change c = {.id = ++m->disk.next_id, .inode = inode};
    if (del.n > 0) c.del = mem_strndup(del.p, del.n);
    if (set.n > 0) c.set = mem_strndup(set.p, set.n);
    vec_add(&dir->queue, c);
    dir->mtime_us = m->now_us;
    return c.id;
}

static void drop_name(struct sim_inode *dir, struct str name) {
    struct sim_inode *gone = map_remove(&dir->now, name);
    if (gone != NULL) gone->names--;
}

static void add_name(struct sim_inode *dir, struct str name, struct sim_inode *inode) {
    struct sim_inode *old = map_put(&dir->now, name, inode);
    if (old != NULL) old->names--;
    inode->names++;
}

// Makes the folder's changes up to `id` durable, in order.
static void settle(struct sim_inode *dir, uint64_t id) {
    while (dir->queue.n > 0 && dir->queue.p[0].id <= id) {
        struct sim_change c = dir->queue.p[0];
        vec_remove(&dir->queue, 0);
        if (c.after_dir != NULL) settle(c.after_dir, c.after_id);
        if (c.del != NULL) map_remove(&dir->safe, str_c(c.del));
        if (c.set != NULL) map_put(&dir->safe, str_c(c.set), c.inode);
        free_change(&c);
    }
}

enum err_code sim_mkdir(struct sys *s, const char *path, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code;
    int e = EEXIST;
    if (step_name(&m->disk, path, &code, err)) {
        struct str name;
        struct sim_inode *dir = find_parent(m, path, &name, &e);
        if (dir == NULL || name.n == 0 || map_get(&dir->now, name) != NULL) {
            if (code == ERR_OK) code = err_errno(err, dir == NULL ? e : EEXIST, "cannot make the folder '%s'", path);
        } else {
            struct sim_inode *made = new_inode(m, true);
            add_name(dir, name, made);
            queue_change(m, dir, (struct str){0}, name, made);
        }
    }
    sim_unlock(m);
    return code;
}

static int do_link(struct sim *m, const char *from, const char *to) {
    int e = 0;
    struct str name;
    struct sim_inode *i = find(m, from, &e);
    if (i == NULL) return e;
    struct sim_inode *dir = find_parent(m, to, &name, &e);
    if (dir == NULL) return e;
    if (i->is_dir) return EPERM;
    if (name.n == 0 || map_get(&dir->now, name) != NULL) return EEXIST;
    add_name(dir, name, i);
    queue_change(m, dir, (struct str){0}, name, i);
    return 0;
}

static int do_rename(struct sim *m, const char *from, const char *to) {
    int e = 0;
    struct str old_name, new_name;
    struct sim_inode *from_dir = find_parent(m, from, &old_name, &e);
    if (from_dir == NULL) return e;
    struct sim_inode *to_dir = find_parent(m, to, &new_name, &e);
    if (to_dir == NULL) return e;
    struct sim_inode *i = map_get(&from_dir->now, old_name);
    if (i == NULL) return ENOENT;
    if (new_name.n == 0) return EEXIST;
    struct sim_inode *old = map_get(&to_dir->now, new_name);
    if (old == i) return 0;
    if (old != NULL && old->is_dir != i->is_dir) return old->is_dir ? EISDIR : ENOTDIR;
    if (old != NULL && old->is_dir && old->now.n > 0) return ENOTEMPTY;
    i->names++; // drop_name first would leave it without a name for a moment
    drop_name(from_dir, old_name);
    add_name(to_dir, new_name, i);
    i->names--;
    if (from_dir == to_dir) {
        queue_change(m, from_dir, old_name, new_name, i);
        return 0;
    }
    uint64_t added = queue_change(m, to_dir, (struct str){0}, new_name, i);
    queue_change(m, from_dir, old_name, (struct str){0}, NULL);
    vec_last(&from_dir->queue)->after_dir = to_dir;
    vec_last(&from_dir->queue)->after_id = added;
    return 0;
}

static int do_remove(struct sim *m, const char *path, bool is_dir) {
    int e = 0;
    struct str name;
    struct sim_inode *dir = find_parent(m, path, &name, &e);
    if (dir == NULL) return e;
    struct sim_inode *i = name.n == 0 ? NULL : map_get(&dir->now, name);
    if (i == NULL) return ENOENT;
    if (i->is_dir != is_dir) return is_dir ? ENOTDIR : EISDIR;
    if (is_dir && i->now.n > 0) return ENOTEMPTY;
    drop_name(dir, name);
    queue_change(m, dir, name, (struct str){0}, NULL);
    if (m->disk.inodes.n > m->disk.sweep_at) sweep(&m->disk);
    return 0;
}

enum err_code sim_link(struct sys *s, const char *from, const char *to, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code;
    int e = step_name(&m->disk, to, &code, err) ? do_link(m, from, to) : 0;
    if (code == ERR_OK && e != 0) code = err_errno(err, e, "cannot link '%s' to '%s'", from, to);
    sim_unlock(m);
    return code;
}

enum err_code sim_rename(struct sys *s, const char *from, const char *to, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code;
    int e = step_name(&m->disk, to, &code, err) ? do_rename(m, from, to) : 0;
    if (code == ERR_OK && e != 0) code = err_errno(err, e, "cannot rename '%s' to '%s'", from, to);
    sim_unlock(m);
    return code;
}

static enum err_code remove_step(struct sys *s, const char *path, bool is_dir, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code;
    int e = step_name(&m->disk, path, &code, err) ? do_remove(m, path, is_dir) : 0;
    if (code == ERR_OK && e != 0) code = err_errno(err, e, "cannot remove '%s'", path);
    sim_unlock(m);
    return code;
}

enum err_code sim_unlink(struct sys *s, const char *path, struct err *err) { return remove_step(s, path, false, err); }
enum err_code sim_rmdir(struct sys *s, const char *path, struct err *err) { return remove_step(s, path, true, err); }

enum err_code sim_sync_dir(struct sys *s, const char *path, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code = ERR_OK;
    int e = 0;
    if (begin_step(&m->disk, KIND_SYNC, path, &code, err) == STEP_OK) {
        struct sim_inode *dir = find(m, path, &e);
        if (dir != NULL && dir->is_dir) settle(dir, UINT64_MAX);
        else code = err_errno(err, dir == NULL ? e : ENOTDIR, "cannot open the folder '%s'", path);
    }
    sim_unlock(m);
    return code;
}

// ---- looking ----------------------------------------------------------------------------------------------------------------

enum err_code sim_stat(struct sys *s, const char *path, bool follow, struct sys_stat *out, struct err *err) {
    (void)follow; // there are no symbolic links
    struct sim *m = sim_of(s);
    sim_lock(m);
    int e = 0;
    enum err_code code = ERR_OK;
    struct sim_inode *i = find(m, path, &e);
    if (m->disk.crashed) code = power_is_off(KIND_NAME, err);
    else if (i == NULL) code = err_errno(err, ENOENT, "cannot look at '%s'", path);
    else *out = (struct sys_stat){i->is_dir ? SYS_TYPE_DIR : SYS_TYPE_FILE, i->data.size, i->mtime_us};
    sim_unlock(m);
    return code;
}

enum err_code sim_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    int e = 0;
    enum err_code code = ERR_OK;
    struct sim_inode *dir = find(m, path, &e);
    if (m->disk.crashed) code = power_is_off(KIND_NAME, err);
    else if (dir == NULL || !dir->is_dir) code = err_errno(err, dir == NULL ? e : ENOTDIR, "cannot list '%s'", path);
    if (code == ERR_OK) {
        VEC(char *) names = {0};
        struct map_entry *entry;
        for (size_t it = 0; (entry = map_next(&dir->now, &it)) != NULL;) vec_add(&names, mem_strdup(entry->key));
        *out = (struct sys_list){names.p, names.n};
    }
    sim_unlock(m);
    return code;
}

int64_t sim_disk_size(struct sys *s, const char *path) {
    (void)path;
    struct sim *m = sim_of(s);
    sim_lock(m);
    uint64_t limit = m->disk.limit == 0 ? (uint64_t)1 << 40 : m->disk.limit;
    sim_unlock(m);
    return (int64_t)limit;
}

int64_t sim_disk_free(struct sys *s, const char *path) {
    (void)path;
    struct sim *m = sim_of(s);
    sim_lock(m);
    uint64_t used = bytes_used(&m->disk), limit = m->disk.limit == 0 ? (uint64_t)1 << 40 : m->disk.limit;
    sim_unlock(m);
    return used >= limit ? 0 : (int64_t)(limit - used);
}

// ---- files ------------------------------------------------------------------------------------------------------------------

// Finds or makes what is to be opened; making and emptying are steps of their own.
static struct sim_inode *open_inode(struct sim *m, const char *path, int flags, enum err_code *code, struct err *err) {
    struct str name;
    int e = 0;
    *code = ERR_OK;
    struct sim_inode *dir = find_parent(m, path, &name, &e);
    struct sim_inode *i = dir == NULL ? NULL : name.n == 0 ? dir : map_get(&dir->now, name);
    if (m->disk.crashed) return *code = power_is_off(KIND_NAME, err), NULL;
    if (dir != NULL && i == NULL && (flags & SYS_CREATE) == 0) e = ENOENT;
    else if (i != NULL && (flags & SYS_EXCLUSIVE)) e = EEXIST;
    else if (i != NULL && i->is_dir) e = EISDIR;
    if (e != 0) return *code = err_errno(err, e, "cannot open '%s'", path), NULL;
    if (i == NULL) {
        if (!step_name(&m->disk, path, code, err)) return NULL;
        i = new_inode(m, false);
        add_name(dir, name, i);
        queue_change(m, dir, (struct str){0}, name, i);
    } else if ((flags & SYS_TRUNCATE) && i->data.size > 0) {
        if (!step_name(&m->disk, path, code, err)) return NULL;
        sim_data_truncate(&i->data, 0);
        i->mtime_us = m->now_us;
    }
    return *code == ERR_OK ? i : NULL;
}

struct sys_file *sim_open(struct sys *s, const char *path, int flags, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    enum err_code code;
    struct sim_inode *i = open_inode(m, path, flags, &code, err);
    struct sim_file *f = NULL;
    if (i != NULL) {
        f = MEM_NEW(struct sim_file);
        *f = (struct sim_file){.base = {s, (flags & SYS_DIRECT) != 0}, .inode = i, .flags = flags, .path = mem_strdup(path)};
        i->opens++;
        vec_add(&m->disk.files, f);
    }
    sim_unlock(m);
    return f == NULL ? NULL : &f->base;
}

void sim_close(struct sys_file *base) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    sim_lock(m);
    for (size_t i = 0; i < m->disk.files.n; i++) {
        if (m->disk.files.p[i] != f) continue;
        vec_remove(&m->disk.files, i);
        break;
    }
    if (f->inode != NULL) {
        f->inode->opens--;
        if (f->inode->locked_by == f) f->inode->locked_by = NULL;
    }
    sim_unlock(m);
    mem_free(f->path);
    mem_free(f);
}

static bool usable(struct sim *m, struct sim_file *f, enum kind kind, enum err_code *code, struct err *err) {
    *code = ERR_OK;
    if (m->disk.crashed) return *code = power_is_off(kind, err), false;
    if (f->inode != NULL) return true;
    *code = err_set(err, kind == KIND_SYNC ? ERR_SYNC_FAILED : ERR_IO, "'%s' was opened before the power cut (simulated)", f->path);
    return false;
}

// As a device sees it: whole blocks, and of a write that fails or is short whole sectors.
static void assert_blocks(const struct sys_file *f, const void *p, size_t n, uint64_t offset) {
    assert(!f->direct || ((uintptr_t)p % SYS_BLOCK == 0 && n % SYS_BLOCK == 0 && offset % SYS_BLOCK == 0));
}

static size_t part_of(const struct sys_file *f, enum step step, size_t part, size_t n) {
    if (!f->direct || step == STEP_OK) return part;
    if (step == STEP_SHORT) return part < SYS_BLOCK ? SYS_BLOCK : part / SYS_BLOCK * SYS_BLOCK;
    return part == n ? n : part / SIM_SECTOR * SIM_SECTOR;
}

int64_t sim_read_at(struct sys_file *base, void *p, size_t n, uint64_t offset, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    assert(f->flags & SYS_READ);
    assert_blocks(base, p, n, offset);
    sim_lock(m);
    enum err_code code;
    int64_t got = -1;
    if (usable(m, f, KIND_WRITE, &code, err)) {
        enum sys_sim_fault fault = SYS_SIM_FSYNC; // none
        take_fault(&m->disk.read_faults, ++m->disk.reads, KIND_WRITE, &fault);
        struct sim_data *d = &f->inode->data;
        size_t left = offset < d->size ? d->size - (size_t)offset : 0;
        got = (int64_t)(left < n ? left : n);
        if (fault == SYS_SIM_SHORT && base->direct) got = got / SYS_BLOCK > 1 ? got / 2 / SYS_BLOCK * SYS_BLOCK : got;
        else if (fault == SYS_SIM_SHORT && got > 1) got = 1 + (int64_t)sim_rng_below(&m->disk.fate, (uint64_t)got - 1);
        if (fault == SYS_SIM_EIO) got = -1, err_set(err, ERR_IO, "cannot read '%s': failed (simulated)", f->path);
        if (got > 0) memcpy(p, d->now + offset, (size_t)got);
    }
    sim_unlock(m);
    return got;
}

int64_t sim_write_at(struct sys_file *base, const void *p, size_t n, uint64_t offset, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    struct sim_disk *disk = &m->disk;
    assert(f->flags & SYS_WRITE);
    assert(n > 0);
    assert_blocks(base, p, n, offset);
    sim_lock(m);
    enum err_code code;
    int64_t put = -1;
    if (usable(m, f, KIND_WRITE, &code, err)) {
        struct sim_data *d = &f->inode->data;
        if (f->flags & SYS_APPEND) offset = d->size;
        enum step step = begin_step(disk, KIND_WRITE, f->path, &code, err);
        size_t part = step == STEP_OK ? n : step == STEP_SHORT ? 1 + sim_rng_below(&disk->fate, n) : sim_rng_below(&disk->fate, n + 1);
        part = part_of(base, step, part, n);
        if (disk->limit > 0 && offset + part > d->size) {
            uint64_t grow = offset + part - d->size, used = bytes_used(disk), room = used >= disk->limit ? 0 : disk->limit - used;
            if (grow > room) part = part > grow - room ? part - (size_t)(grow - room) : 0;
        }
        sim_data_write(d, p, part, (size_t)offset);
        f->inode->mtime_us = m->now_us;
        if (step == STEP_OK || step == STEP_SHORT) {
            put = (int64_t)part;
            if (part == 0) put = -1, err_errno(err, ENOSPC, "cannot write '%s'", f->path);
        }
    }
    sim_unlock(m);
    return put;
}

enum err_code sim_reserve(struct sys_file *base, uint64_t offset, uint64_t n, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    assert(f->flags & SYS_WRITE);
    sim_lock(m);
    enum err_code code;
    if (usable(m, f, KIND_NAME, &code, err) && step_name(&m->disk, f->path, &code, err)) {
        struct sim_data *d = &f->inode->data;
        uint64_t end = offset + n;
        if (m->disk.limit > 0 && end > d->size && bytes_used(&m->disk) + end - d->size > m->disk.limit)
            code = err_errno(err, ENOSPC, "cannot reserve room in '%s'", f->path);
        else if (end > d->size) sim_data_truncate(d, (size_t)end);
        f->inode->mtime_us = m->now_us;
    }
    sim_unlock(m);
    return code;
}

enum err_code sim_fdatasync(struct sys_file *base, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    sim_lock(m);
    enum err_code code;
    if (usable(m, f, KIND_SYNC, &code, err)) {
        enum step step = begin_step(&m->disk, KIND_SYNC, f->path, &code, err);
        if (step == STEP_OK) sim_data_sync(&f->inode->data);
        if (step == STEP_FAIL) sim_data_sync_failed(&f->inode->data, &m->disk.fate);
    }
    sim_unlock(m);
    return code;
}

enum err_code sim_truncate(struct sys_file *base, uint64_t size, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    assert(f->flags & SYS_WRITE);
    sim_lock(m);
    enum err_code code;
    if (usable(m, f, KIND_NAME, &code, err) && step_name(&m->disk, f->path, &code, err)) {
        struct sim_data *d = &f->inode->data;
        if (m->disk.limit > 0 && size > d->size && bytes_used(&m->disk) + size - d->size > m->disk.limit)
            code = err_errno(err, ENOSPC, "cannot set the size of '%s'", f->path);
        else sim_data_truncate(d, (size_t)size);
        f->inode->mtime_us = m->now_us;
    }
    sim_unlock(m);
    return code;
}

int64_t sim_size(struct sys_file *base, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    sim_lock(m);
    enum err_code code;
    int64_t size = usable(m, f, KIND_NAME, &code, err) ? (int64_t)f->inode->data.size : -1;
    sim_unlock(m);
    return size;
}

enum err_code sim_lock_file(struct sys_file *base, struct err *err) {
    struct sim_file *f = (struct sim_file *)base;
    struct sim *m = disk_of(base);
    sim_lock(m);
    enum err_code code;
    if (usable(m, f, KIND_NAME, &code, err)) {
        if (f->inode->locked_by != NULL && f->inode->locked_by != f)
            code = err_set(err, ERR_LOCKED, "'%s' is locked by another process", f->path);
        else f->inode->locked_by = f;
    }
    sim_unlock(m);
    return code;
}

int sim_fd(struct sys_file *f) { return (void)f, -1; }

// ---- the power cut ------------------------------------------------------------------------------------------------------------

// What the platter has becomes what is seen.
static void reload_names(struct sim_disk *d) {
    for (size_t i = 0; i < d->inodes.n; i++) d->inodes.p[i]->names = 0;
    for (size_t i = 0; i < d->inodes.n; i++) {
        struct sim_inode *dir = d->inodes.p[i];
        if (!dir->is_dir) continue;
        map_fini(&dir->now);
        map_init(&dir->now);
        struct map_entry *e;
        for (size_t it = 0; (e = map_next(&dir->safe, &it)) != NULL;) add_name(dir, str_n(e->key, e->key_len), e->value);
    }
}

static void end_process(struct sim_disk *d) {
    for (size_t i = 0; i < d->inodes.n; i++) {
        d->inodes.p[i]->opens = 0;
        d->inodes.p[i]->locked_by = NULL;
    }
    for (size_t i = 0; i < d->files.n; i++) d->files.p[i]->inode = NULL;
    d->crashed = false;
    d->crash_at = 0;
    d->faults.n = d->read_faults.n = 0;
}

void sys_sim_reboot(struct sys *s) {
    struct sim *m = sim_of(s);
    struct sim_disk *d = &m->disk;
    sim_lock(m);
    for (size_t i = 0; i < d->inodes.n; i++) {
        struct sim_inode *dir = d->inodes.p[i];
        size_t n = dir->queue.n;
        if (n == 0) continue;
        uint64_t mode = sim_rng_below(&d->fate, 3); // all, none, a prefix
        size_t kept = mode == 0 ? n : mode == 1 ? 0 : sim_rng_below(&d->fate, n + 1);
        if (kept > 0) settle(dir, dir->queue.p[kept - 1].id); // may settle others' that must come before
    }
    for (size_t i = 0; i < d->inodes.n; i++) {
        struct sim_inode *node = d->inodes.p[i];
        for (size_t k = 0; k < node->queue.n; k++) free_change(&node->queue.p[k]);
        node->queue.n = 0;
        if (!node->is_dir) sim_data_power_cut(&node->data, &d->fate);
    }
    end_process(d);
    reload_names(d);
    sweep(d);
    reload_names(d); // a folder that nothing reaches any more counted too
    sim_unlock(m);
}

void sys_sim_kill(struct sys *s) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    end_process(&m->disk);
    sim_unlock(m);
}

// ---- the test's side --------------------------------------------------------------------------------------------------------------

void sim_disk_init(struct sim *m, uint64_t seed) {
    m->disk.fate.state = seed ^ 0x44495348;
    m->disk.sweep_at = 1000;
    new_inode(m, true)->names = 1;
}

void sim_disk_fini(struct sim *m) {
    struct sim_disk *d = &m->disk;
    assert(d->files.n == 0); // close what was opened
    for (size_t i = 0; i < d->inodes.n; i++) free_inode(d->inodes.p[i]);
    vec_fini(&d->inodes);
    vec_fini(&d->files);
    vec_fini(&d->faults);
    vec_fini(&d->read_faults);
}

static uint64_t locked_u64(struct sys *s, const uint64_t *field) {
    sim_lock(sim_of(s));
    uint64_t v = *field;
    sim_unlock(sim_of(s));
    return v;
}

uint64_t sys_sim_ops(struct sys *s) { return locked_u64(s, &sim_of(s)->disk.ops); }
uint64_t sys_sim_reads(struct sys *s) { return locked_u64(s, &sim_of(s)->disk.reads); }

static void set_u64(struct sys *s, uint64_t *field, uint64_t v) {
    sim_lock(sim_of(s));
    *field = v;
    sim_unlock(sim_of(s));
}

void sys_sim_crash_at(struct sys *s, uint64_t op) { set_u64(s, &sim_of(s)->disk.crash_at, op); }
void sys_sim_disk_size(struct sys *s, uint64_t bytes) { set_u64(s, &sim_of(s)->disk.limit, bytes); }

bool sys_sim_crashed(struct sys *s) {
    sim_lock(sim_of(s));
    bool v = sim_of(s)->disk.crashed;
    sim_unlock(sim_of(s));
    return v;
}

void sys_sim_fail_at(struct sys *s, uint64_t op, enum sys_sim_fault fault) {
    sim_lock(sim_of(s));
    vec_add(&sim_of(s)->disk.faults, ((struct sim_fault){op, fault}));
    sim_unlock(sim_of(s));
}

void sys_sim_fail_read_at(struct sys *s, uint64_t read, enum sys_sim_fault fault) {
    assert(fault == SYS_SIM_EIO || fault == SYS_SIM_SHORT);
    sim_lock(sim_of(s));
    vec_add(&sim_of(s)->disk.read_faults, ((struct sim_fault){read, fault}));
    sim_unlock(sim_of(s));
}

void sys_sim_corrupt(struct sys *s, const char *path, uint64_t offset) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    int e = 0;
    struct sim_inode *i = find(m, path, &e);
    assert(i != NULL && !i->is_dir && offset < i->data.size);
    sim_data_flip(&i->data, (size_t)offset);
    sim_unlock(m);
}
