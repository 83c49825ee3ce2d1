// SPDX-License-Identifier: Apache-2.0
// TCP sockets of the real system: non-blocking, close-on-exec, TCP_NODELAY (we send whole answers), SO_REUSEADDR on listeners.
// One socket is used by one thread at a time.
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/ops.h"

struct real_sock {
    struct sys_sock base;
    int fd;
};

enum { IOV_MAX_SEND = 64, BACKLOG = 1024 };

int sys_real_sock_fd(struct sys_sock *k) { return ((struct real_sock *)k)->fd; }

static struct sys_sock *sock_of(struct sys *s, int fd) {
    struct real_sock *k = MEM_NEW(struct real_sock);
    *k = (struct real_sock){{s}, fd};
    return &k->base;
}

static void set_nodelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// Addresses of host:port, IPv4 first ("localhost" means 127.0.0.1 to most clients). Free with freeaddrinfo.
static struct addrinfo *resolve(const char *host, int port, int flags, struct err *err) {
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        err_set(err, ERR_UNAVAILABLE, "cannot resolve '%s': %s", host, gai_strerror(rc));
        return NULL;
    }
    struct addrinfo *v4 = NULL, **v4_end = &v4, *rest = NULL, **rest_end = &rest;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        struct addrinfo ***end = a->ai_family == AF_INET ? &v4_end : &rest_end;
        **end = a;
        *end = &a->ai_next;
    }
    *rest_end = NULL;
    *v4_end = rest;
    return v4;
}

static int listen_at(const struct addrinfo *a) {
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

struct sys_sock *sys_real_listen(struct sys *s, const char *host, int port, struct err *err) {
    struct addrinfo *list = resolve(host, port, AI_PASSIVE, err);
    if (list == NULL) return NULL;
    int fd = -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) fd = listen_at(a);
    int e = errno;
    freeaddrinfo(list);
    if (fd >= 0) return sock_of(s, fd);
    if (e == EADDRINUSE) err_set(err, ERR_EXISTS, "another process listens at %s:%d already", host, port);
    else err_errno(err, e, "cannot listen at %s:%d", host, port);
    return NULL;
}

int sys_real_sock_port(struct sys_sock *k) {
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(sys_real_sock_fd(k), (struct sockaddr *)&a, &n) != 0) return 0;
    if (a.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

struct sys_sock *sys_real_accept(struct sys_sock *listener, char peer[64], struct err *err) {
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    int fd;
    do fd = accept4(sys_real_sock_fd(listener), (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd < 0 && (errno == EINTR || errno == ECONNABORTED)); // gone before we came: not our failure
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) err_set(err, ERR_NO_MEMORY, "cannot accept a connection: too many open files");
        else err_errno(err, errno, "cannot accept a connection");
        return NULL;
    }
    set_nodelay(fd);
    if (peer != NULL) {
        char host[46] = "?", service[8] = "?";
        getnameinfo((struct sockaddr *)&a, n, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
        snprintf(peer, 64, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, service);
    }
    return sock_of(listener->sys, fd);
}

// Waits until the connection is made. Returns 0 or an errno value.
static int finish_connect(int fd, int64_t deadline_us, struct sys *s) {
    for (;;) {
        int64_t left_us = deadline_us - sys_mono_us(s);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int rc = poll(&p, 1, left_us <= 0 ? 0 : (int)((left_us + 999) / 1000));
        if (rc < 0 && errno == EINTR) continue;
        if (rc < 0) return errno;
        if (rc == 0) return ETIMEDOUT;
        int e = 0;
        socklen_t n = sizeof e;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 ? e : errno;
    }
}

struct sys_sock *sys_real_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err) {
    struct addrinfo *list = resolve(host, port, 0, err);
    if (list == NULL) return NULL;
    int64_t deadline = sys_mono_us(s) + (int64_t)timeout_ms * 1000;
    int e = 0, fd = -1;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            e = errno;
            continue;
        }
        e = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        if (e == EINPROGRESS || e == EINTR) e = finish_connect(fd, deadline, s);
        if (e == 0) break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd >= 0) {
        set_nodelay(fd);
        return sock_of(s, fd);
    }
    err_errno(err, e, "cannot connect to %s:%d", host, port);
    return NULL;
}

int64_t sys_real_recv(struct sys_sock *k, void *p, size_t n, struct err *err) {
    ssize_t got;
    do got = recv(sys_real_sock_fd(k), p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0) err_errno(err, errno, "cannot receive");
    return got;
}

int64_t sys_real_send(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err) {
    struct iovec v[IOV_MAX_SEND];
    int n = n_iov < IOV_MAX_SEND ? n_iov : IOV_MAX_SEND; // fewer bytes may be taken than were given, so a part will do
    for (int i = 0; i < n; i++) {
        union {
            const void *from;
            void *to;
        } p = {iov[i].p}; // iovec serves reads too and lacks the const
        v[i] = (struct iovec){p.to, iov[i].n};
    }
    struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
    ssize_t put;
    do put = sendmsg(sys_real_sock_fd(k), &m, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0) err_errno(err, errno, "cannot send");
    return put;
}

int64_t sys_real_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err) {
    int in = sys_file_fd(f);
    if (in < 0) {
        err_set(err, ERR_NOT_SUPPORTED, "not a real file");
        return -1;
    }
    off_t at = (off_t)offset;
    ssize_t put;
    do put = sendfile(sys_real_sock_fd(k), in, &at, n);
    while (put < 0 && errno == EINTR);
    if (put < 0) err_errno(err, errno, "cannot send from a file");
    return put;
}

void sys_real_sock_close(struct sys_sock *k) {
    close(sys_real_sock_fd(k));
    mem_free(k);
}
