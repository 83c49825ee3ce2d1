// SPDX-License-Identifier: Apache-2.0
// Opens and closes the rooms in order: one table. One thread (the program's first); what it opens brings its own threads.
// Errors name the room; what was opened before is closed again, the other way round.
#include "server/server.h"

#include <assert.h>
#include <inttypes.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "lake/lake.h"
#include "server/datadir.h"

static char *path_in(const struct server *s, const char *name) { return mem_printf("%s/%s", s->dir, name); }

// ---- the rooms --------------------------------------------------------------------------------------------------------------------

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
static void close_loops(struct server *s) {
    for (size_t i = 0; i < s->n_loops; i++) {
        loop_stop(s->loops[i]);
        loop_free(s->loops[i]);
    }
}

static enum err_code open_workers(struct server *s, struct err *err) {
    (void)err;
    s->pool = pool_new("work", (int)config_num(&s->config, CFG_SERVER_WORKERS), (size_t)config_num(&s->config, CFG_SERVER_QUEUE_MAX));
    return ERR_OK;
}
static void close_workers(struct server *s) { pool_free(s->pool); }

static enum err_code open_broker(struct server *s, struct err *err) {
    char *dir = path_in(s, "log");
    struct broker_config c = {.dir = dir,
                              .node_id = (int32_t)config_num(&s->config, CFG_BROKER_NODE_ID),
                              .default_partitions = (int32_t)config_num(&s->config, CFG_BROKER_PARTITIONS),
                              .auto_create_topics = config_bool(&s->config, CFG_BROKER_AUTO_CREATE),
                              .max_partitions = (int32_t)config_num(&s->config, CFG_BROKER_PARTITIONS_MAX),
                              .produce_bytes_max = (uint64_t)config_num(&s->config, CFG_BROKER_UNSYNCED_MAX)};
    s->broker = broker_open(s->sys, &c, s->loops, s->n_loops, s->pool, err);
    mem_free(dir);
    return s->broker == NULL ? err->code : ERR_OK;
}
static void close_broker(struct server *s) { broker_close(s->broker); }

static enum err_code open_lake(struct server *s, struct err *err) {
    char *dir = path_in(s, "lake");
    s->lake = lake_open(s->sys, dir, err);
    mem_free(dir);
    return s->lake == NULL ? err->code : ERR_OK;
}
static void close_lake(struct server *s) { lake_close(s->lake); }

static const struct {
    const char *name;
    enum err_code (*open)(struct server *s, struct err *err);
    void (*close)(struct server *s);
} rooms[] = {
    {"loops", open_loops, close_loops},
    {"workers", open_workers, close_workers},
    {"lake", open_lake, close_lake},
    {"broker", open_broker, close_broker},
};
enum { N_ROOMS = sizeof rooms / sizeof *rooms };
_Static_assert((int)N_ROOMS <= (int)SERVER_ROOMS_MAX, "server.opened has a place for each room");

static enum err_code open_rooms(struct server *s, struct err *err) {
    for (size_t i = 0; i < N_ROOMS; i++) {
        int64_t from = sys_mono_us(s->sys);
        s->opened[i] = true; // one that failed half-way is closed too
        if (rooms[i].open(s, err) != ERR_OK) {
            s->opened[i] = i == 0; // only the loops can be half open
            err_wrap(err, "%s", rooms[i].name);
            return err->code;
        }
        log_debug("server", "room open", "room", rooms[i].name, "us", log_i64(sys_mono_us(s->sys) - from), NULL);
    }
    return ERR_OK;
}

// ---- opening and closing ------------------------------------------------------------------------------------------------------------

struct server *server_open(struct sys *sys, const char *dir, struct config *config, struct err *err) {
    struct sys_file *lock = datadir_open(sys, dir, err);
    if (lock == NULL) return NULL;
    struct server *s = MEM_NEW(struct server);
    s->sys = sys;
    s->dir = mem_strdup(dir);
    s->lock = lock;
    s->config = *config;
    *config = (struct config){0};
    sys_mutex_init(&s->mutex);
    sys_cond_init(&s->changed);
    config_resolve(&s->config, dir);
    server_remove_addresses(s); // of one that was killed
    if (open_rooms(s, err) == ERR_OK) return s;
    server_close(s);
    return NULL;
}

void server_close(struct server *s) {
    if (s == NULL) return;
    server_stop_flow(s);
    for (size_t i = N_ROOMS; i-- > 0;)
        if (s->opened[i]) rooms[i].close(s);
    sys_cond_fini(&s->changed);
    sys_mutex_fini(&s->mutex);
    sys_close(s->lock);
    config_fini(&s->config);
    mem_free(s->dir);
    mem_free(s);
}

// ---- workflows ----------------------------------------------------------------------------------------------------------------------

enum err_code server_start_flow(struct server *s, const char *api_url, struct err *err) {
    (void)s, (void)api_url, (void)err;
    return ERR_OK;
}

void server_begin_stop(struct server *s) {
    sys_mutex_lock(&s->mutex);
    s->flow_over = true;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->mutex);
}

void server_stop_flow(struct server *s) { server_begin_stop(s); }

struct flow *server_flow(struct server *s) {
    sys_mutex_lock(&s->mutex);
    while (s->flow == NULL && !s->flow_over) sys_cond_wait(&s->changed, &s->mutex);
    struct flow *f = s->flow_over ? NULL : s->flow;
    sys_mutex_unlock(&s->mutex);
    return f;
}

// ---- addresses ------------------------------------------------------------------------------------------------------------------------

enum err_code server_write_addresses(struct server *s, const char *const *names, const char *const *addresses, size_t n, struct err *err) {
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "{");
    for (size_t i = 0; i < n; i++) buf_printf(&b, "\"%s\": \"%s\", ", names[i], addresses[i]); // host names hold nothing to escape
    buf_printf(&b, "\"pid\": %" PRId64 ", \"version\": \"%s\"}\n", sys_getpid(), MILLRACE_VERSION);
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
