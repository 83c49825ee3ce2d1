// SPDX-License-Identifier: Apache-2.0
// Files and directories of the real system. A file remembers its path for messages. Reads and writes are positional, so that one file
// may be read by several threads. Nothing is durable before fdatasync (content) and sync_dir (names).
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vec.h"
#include "sys/ops.h"

struct real_file {
    struct sys_file base;
    int fd;
    bool append;
    char *path;
};

enum { IO_MAX = 1 << 30 }; // the kernel moves at most 2 GiB a call

struct sys_file *sys_real_open(struct sys *s, const char *path, int flags, struct err *err) {
    int how = O_CLOEXEC;
    how |= (flags & SYS_WRITE) == 0 ? O_RDONLY : (flags & SYS_READ) == 0 ? O_WRONLY : O_RDWR;
    if (flags & SYS_CREATE) how |= O_CREAT;
    if (flags & SYS_EXCLUSIVE) how |= O_EXCL;
    if (flags & SYS_TRUNCATE) how |= O_TRUNC;
    if (flags & SYS_APPEND) how |= O_APPEND;
    int fd = -1;
    bool direct = false;
    if (flags & SYS_DIRECT) { // a file system without it says EINVAL
        do fd = open(path, how | O_DIRECT, 0666);
        while (fd < 0 && errno == EINTR);
        direct = fd >= 0;
        if (!direct && errno == EINVAL) how &= ~O_EXCL; // it may have been made by this try
    }
    if (!direct) {
        do fd = open(path, how, 0666);
        while (fd < 0 && errno == EINTR);
    }
    if (fd < 0) {
        err_errno(err, errno, "cannot open '%s'", path);
        return NULL;
    }
    struct real_file *f = MEM_NEW(struct real_file);
    *f = (struct real_file){.base = {s, direct}, .fd = fd, .append = (flags & SYS_APPEND) != 0, .path = mem_strdup(path)};
    return &f->base;
}

void sys_real_close(struct sys_file *base) {
    struct real_file *f = (struct real_file *)base;
    close(f->fd);
    mem_free(f->path);
    mem_free(f);
}

int64_t sys_real_read_at(struct sys_file *base, void *p, size_t n, uint64_t offset, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    ssize_t got;
    do got = pread(f->fd, p, n < IO_MAX ? n : IO_MAX, (off_t)offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) err_errno(err, errno, "cannot read '%s'", f->path);
    return got;
}

int64_t sys_real_write_at(struct sys_file *base, const void *p, size_t n, uint64_t offset, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    ssize_t put;
    if (n > IO_MAX) n = IO_MAX;
    do put = f->append ? write(f->fd, p, n) : pwrite(f->fd, p, n, (off_t)offset);
    while (put < 0 && errno == EINTR);
    if (put < 0) err_errno(err, errno, "cannot write '%s'", f->path);
    return put;
}

static_assert(sizeof(struct sys_iov) == sizeof(struct iovec) && offsetof(struct sys_iov, n) == offsetof(struct iovec, iov_len),
              "sys_iov is handed to the kernel as it is");

int64_t sys_real_writev_at(struct sys_file *base, const struct sys_iov *iov, int n, uint64_t offset, bool sync, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    const struct iovec *v = (const struct iovec *)(const void *)iov;
    ssize_t put;
    do put = pwritev2(f->fd, v, n, (off_t)offset, sync ? RWF_DSYNC : 0);
    while (put < 0 && errno == EINTR);
    if (put < 0 && errno == EOPNOTSUPP && sync) { // a kernel or file system that does not know the flag
        put = sys_real_writev_at(base, iov, n, offset, false, err);
        return put < 0 || sys_real_fdatasync(base, err) == ERR_OK ? put : -1;
    }
    if (put < 0) err_errno(err, errno, "cannot write '%s'", f->path);
    return put;
}

int64_t sys_real_readv_at(struct sys_file *base, const struct sys_iov *iov, int n, uint64_t offset, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    ssize_t got;
    do got = preadv(f->fd, (const struct iovec *)(const void *)iov, n, (off_t)offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) err_errno(err, errno, "cannot read '%s'", f->path);
    return got;
}

enum err_code sys_real_reserve(struct sys_file *base, uint64_t offset, uint64_t n, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    int rc;
    do rc = fallocate(f->fd, 0, (off_t)offset, (off_t)n);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) return ERR_OK;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return err_set(err, ERR_NOT_SUPPORTED, "the file system of '%s' reserves no room", f->path);
    return err_errno(err, errno, "cannot reserve room in '%s'", f->path);
}

enum err_code sys_real_fdatasync(struct sys_file *base, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    int rc;
    do rc = fdatasync(f->fd);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) return ERR_OK;
    err_errno(err, errno, "cannot sync '%s'", f->path);
    if (err != NULL) err->code = ERR_SYNC_FAILED;
    return ERR_SYNC_FAILED;
}

enum err_code sys_real_truncate(struct sys_file *base, uint64_t size, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    int rc;
    do rc = ftruncate(f->fd, (off_t)size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : err_errno(err, errno, "cannot set the size of '%s' to %llu", f->path, (unsigned long long)size);
}

int64_t sys_real_size(struct sys_file *base, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    struct stat st;
    if (fstat(f->fd, &st) == 0) return st.st_size;
    err_errno(err, errno, "cannot see the size of '%s'", f->path);
    return -1;
}

enum err_code sys_real_lock(struct sys_file *base, struct err *err) {
    struct real_file *f = (struct real_file *)base;
    int rc;
    do rc = flock(f->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) return ERR_OK;
    if (errno == EWOULDBLOCK) return err_set(err, ERR_LOCKED, "'%s' is locked by another process", f->path);
    return err_errno(err, errno, "cannot lock '%s'", f->path);
}

int sys_real_fd(struct sys_file *base) { return ((struct real_file *)base)->fd; }

enum err_code sys_real_stat(struct sys *s, const char *path, bool follow, struct sys_stat *out, struct err *err) {
    (void)s;
    struct stat st;
    if ((follow ? stat(path, &st) : lstat(path, &st)) != 0) {
        int e = errno == ENOTDIR ? ENOENT : errno; // a file where a folder was named: nothing is there
        return err_errno(err, e, "cannot look at '%s'", path);
    }
    out->type = S_ISREG(st.st_mode) ? SYS_TYPE_FILE : S_ISDIR(st.st_mode) ? SYS_TYPE_DIR : SYS_TYPE_OTHER;
    out->size = (uint64_t)st.st_size;
    out->mtime_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    return ERR_OK;
}

enum err_code sys_real_mkdir(struct sys *s, const char *path, struct err *err) {
    (void)s;
    return mkdir(path, 0777) == 0 ? ERR_OK : err_errno(err, errno, "cannot make the folder '%s'", path);
}

enum err_code sys_real_rename(struct sys *s, const char *from, const char *to, struct err *err) {
    (void)s;
    return rename(from, to) == 0 ? ERR_OK : err_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
}

enum err_code sys_real_link(struct sys *s, const char *from, const char *to, struct err *err) {
    (void)s;
    return link(from, to) == 0 ? ERR_OK : err_errno(err, errno, "cannot link '%s' to '%s'", from, to);
}

enum err_code sys_real_unlink(struct sys *s, const char *path, struct err *err) {
    (void)s;
    return unlink(path) == 0 ? ERR_OK : err_errno(err, errno, "cannot remove '%s'", path);
}

enum err_code sys_real_rmdir(struct sys *s, const char *path, struct err *err) {
    (void)s;
    return rmdir(path) == 0 ? ERR_OK : err_errno(err, errno, "cannot remove the folder '%s'", path);
}

enum err_code sys_real_sync_dir(struct sys *s, const char *path, struct err *err) {
    (void)s;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(err, errno, "cannot open the folder '%s'", path);
    int rc;
    do rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    int e = errno;
    close(fd);
    if (rc == 0 || e == EINVAL) return ERR_OK; // some file systems cannot sync a folder, and need not
    err_errno(err, e, "cannot sync the folder '%s'", path);
    if (err != NULL) err->code = ERR_SYNC_FAILED;
    return ERR_SYNC_FAILED;
}

enum err_code sys_real_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err) {
    (void)s;
    DIR *d = opendir(path);
    if (d == NULL) return err_errno(err, errno, "cannot list '%s'", path);
    VEC(char *) names = {0};
    struct dirent *e;
    while (errno = 0, (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) vec_add(&names, mem_strdup(e->d_name));
    int failed = errno;
    closedir(d);
    *out = (struct sys_list){names.p, names.n};
    return failed == 0 ? ERR_OK : err_errno(err, failed, "cannot list '%s'", path);
}

int64_t sys_real_disk_size(struct sys *s, const char *path) {
    (void)s;
    struct statvfs v;
    if (statvfs(path, &v) != 0) return -1;
    return (int64_t)v.f_blocks * (int64_t)v.f_frsize;
}

int64_t sys_real_disk_free(struct sys *s, const char *path) {
    (void)s;
    struct statvfs v;
    if (statvfs(path, &v) != 0) return -1;
    return (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}
