// SPDX-License-Identifier: Apache-2.0
// Opens and closes the rooms in order. One thread (the program's first); what it opens brings its own threads.
// Errors name the room; what was opened before is closed again.
#include "server/server.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/datadir.h"

static char *path_in(const struct server *s, const char *name) { return mem_printf("%s/%s", s->dir, name); }

static enum err_code open_loops(struct server *s, struct err *err) {
    int64_t wanted = config_num(&s->config, CFG_SERVER_LOOPS);
    if (wanted == 0) wanted = sys_cpu_count();
    for (int64_t i = 0; i < wanted && i < SERVER_LOOPS_MAX; i++) {
        char *name = mem_printf("loop-%" PRId64, i);
        struct loop *l = loop_new(s->sys, name, err);
        mem_free(name);
        if (l == NULL) return err->code;
        loop_start(l);
        s->loops[s->n_loops++] = l;
    }
    return ERR_OK;
}

static enum err_code open_rooms(struct server *s, struct err *err) {
    enum err_code code = open_loops(s, err);
    if (code != ERR_OK) return code;
    s->pool = pool_new("work", (int)config_num(&s->config, CFG_SERVER_WORKERS), (size_t)config_num(&s->config, CFG_SERVER_QUEUE_MAX));
    return ERR_OK;
}

struct server *server_open(struct sys *sys, const char *dir, struct config *config, struct err *err) {
    struct sys_file *lock = datadir_open(sys, dir, err);
    if (lock == NULL) return NULL;
    struct server *s = MEM_NEW(struct server);
    s->sys = sys;
    s->dir = mem_strdup(dir);
    s->lock = lock;
    s->config = *config;
    *config = (struct config){0};
    s->opened_us = sys_now_us(sys);
    loop_event_init(&s->flow_ready);
    config_resolve(&s->config, dir);
    server_remove_addresses(s); // of one that was killed
    if (open_rooms(s, err) == ERR_OK) return s;
    server_close(s);
    return NULL;
}

void server_close(struct server *s) {
    if (s == NULL) return;
    if (s->pool != NULL) pool_free(s->pool);
    for (size_t i = 0; i < s->n_loops; i++) {
        loop_stop(s->loops[i]);
        loop_free(s->loops[i]);
    }
    loop_event_fini(&s->flow_ready);
    sys_close(s->lock);
    config_fini(&s->config);
    mem_free(s->dir);
    mem_free(s);
}

enum err_code server_write_addresses(struct server *s, const char *const *names, const char *const *addresses, size_t n, struct err *err) {
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "{");
    for (size_t i = 0; i < n; i++) buf_printf(&b, "%s\"%s\": \"%s\"", i > 0 ? ", " : "", names[i], addresses[i]); // host names hold nothing to escape
    buf_printf(&b, ", \"pid\": %" PRId64 ", \"version\": \"%s\"}\n", sys_getpid(), MILLRACE_VERSION);
    char *path = path_in(s, "addresses.json");
    enum err_code code = sys_write_file(s->sys, path, buf_str(&b), err);
    mem_free(path);
    buf_fini(&b);
    return code;
}

void server_remove_addresses(struct server *s) {
    char *path = path_in(s, "addresses.json");
    sys_unlink(s->sys, path, NULL);
    mem_free(path);
}
