// SPDX-License-Identifier: Apache-2.0
// Poll sets of the real system: epoll, level-triggered, with an eventfd to wake it. One owner thread; wake from any.
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/ops.h"

struct real_poll {
    struct sys_poll base;
    int epoll, event;
    _Atomic bool woken;    // one write to the eventfd until the owner has seen it
    bool no_pwait2;        // an older kernel: milliseconds
};

enum { WAIT_MAX = 256 };

struct sys_poll *sys_real_poll_new(struct sys *s, struct err *err) {
    struct real_poll *p = MEM_NEW(struct real_poll);
    p->base.sys = s;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &p->event}; // a tag that no caller has
    if (p->epoll >= 0 && p->event >= 0 && epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->event, &e) == 0) return &p->base;
    err_errno(err, errno, "cannot make a poll set");
    sys_real_poll_free(&p->base);
    return NULL;
}

void sys_real_poll_free(struct sys_poll *base) {
    struct real_poll *p = (struct real_poll *)base;
    if (p->event >= 0) close(p->event);
    if (p->epoll >= 0) close(p->epoll);
    mem_free(p);
}

enum err_code sys_real_poll_fd(struct sys_poll *base, int fd, int events, void *tag, struct err *err) {
    struct real_poll *p = (struct real_poll *)base;
    struct epoll_event e = {.data.ptr = tag};
    if (events & SYS_EV_READ) e.events |= EPOLLIN | EPOLLRDHUP;
    if (events & SYS_EV_WRITE) e.events |= EPOLLOUT;
    int rc;
    if (events == 0) {
        rc = epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, &e);
        if (rc != 0 && errno == ENOENT) rc = 0;
    } else {
        rc = epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &e);
        if (rc != 0 && errno == ENOENT) rc = epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e);
    }
    return rc == 0 ? ERR_OK : err_errno(err, errno, "cannot watch descriptor %d", fd);
}

enum err_code sys_real_poll_sock(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err) {
    return sys_real_poll_fd(p, sys_real_sock_fd(k), events, tag, err);
}

static int wait_once(struct real_poll *p, struct epoll_event *ev, int max, int64_t timeout_us) {
    if (!p->no_pwait2) {
        struct timespec ts = {timeout_us / 1000000, (timeout_us % 1000000) * 1000};
        int n = epoll_pwait2(p->epoll, ev, max, timeout_us < 0 ? NULL : &ts, NULL);
        if (n >= 0 || errno != ENOSYS) return n;
        p->no_pwait2 = true;
    }
    int64_t ms = timeout_us < 0 ? -1 : (timeout_us + 999) / 1000;
    return epoll_wait(p->epoll, ev, max, ms > 1000000000 ? 1000000000 : (int)ms);
}

// A peer's half-close is SYS_EV_READ (the read answers 0 after the last byte); SYS_EV_CLOSED is an error or both ways closed, and what
// was received before can still be read.
static int events_of(uint32_t e) {
    int events = 0;
    if (e & (EPOLLIN | EPOLLRDHUP)) events |= SYS_EV_READ;
    if (e & EPOLLOUT) events |= SYS_EV_WRITE;
    if (e & (EPOLLHUP | EPOLLERR)) events |= SYS_EV_CLOSED;
    return events;
}

int sys_real_poll_wait(struct sys_poll *base, struct sys_event *out, int max, int64_t timeout_us) {
    struct real_poll *p = (struct real_poll *)base;
    struct epoll_event ev[WAIT_MAX];
    int n = wait_once(p, ev, max < WAIT_MAX ? max : WAIT_MAX, timeout_us), filled = 0;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr != &p->event) {
            out[filled++] = (struct sys_event){ev[i].data.ptr, events_of(ev[i].events)};
            continue;
        }
        uint64_t count;
        if (read(p->event, &count, sizeof count) < 0) continue;
        atomic_store(&p->woken, false); // after the read: a wake from here on writes again
    }
    return filled; // EINTR counts as woken
}

void sys_real_poll_wake(struct sys_poll *base) {
    struct real_poll *p = (struct real_poll *)base;
    if (atomic_exchange(&p->woken, true)) return;
    uint64_t one = 1;
    while (write(p->event, &one, sizeof one) < 0 && errno == EINTR) {
    }
}
