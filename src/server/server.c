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
#include "broker/groups.h"
#include "engine/engine.h"
#include "flow/flow.h"
#include "ingest/ingest.h"
#include "lake/lake.h"
#include "quality/quality.h"
#include "server/datadir.h"
#include "server/properties.h"
#include "subjects/subjects.h"
#include "topics/topics.h"

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

// The topics of a Kafka cluster outside: this process has no broker then.
static enum err_code open_cluster(struct server *s, struct err *err) {
    struct topics_cluster c = {.brokers = config_text(&s->config, CFG_BOOTSTRAP_SERVERS)};
    const char *file = config_text(&s->config, CFG_BROKER_CLIENT_PROPERTIES);
    struct arena a = {0};
    struct properties properties = {0};
    if (*c.brokers == 0) return err_set(err, ERR_CONFIG, "broker.mode=external needs bootstrap.servers=host:port,...");
    enum err_code code = *file == 0 ? ERR_OK : properties_read(s->sys, "broker.client_properties", file, &a, &properties, err);
    c.settings = properties.p;
    c.n_settings = properties.n;
    if (code == ERR_OK) s->topics = topics_remote(s->sys, &c, err);
    arena_fini(&a);
    return s->topics != NULL ? ERR_OK : err->code;
}

static const char *of(const struct properties *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->p[i].name, name) == 0) return p->p[i].value;
    return NULL;
}

// `name` is shown with the simple listener and those of the file.
static void show_listeners(struct server *s, struct properties *p, const char *name, const char *own, const char *more) {
    size_t at = 0;
    while (at < p->n && strcmp(p->p[at].name, name) != 0) at++;
    const char *value = more == NULL || *more == 0 ? own : arena_printf(&s->properties, "%s,%s", own, more);
    p->p[at] = (struct broker_kv){name, value};
    if (at == p->n) p->places[p->n++] = NULL;
}

// kafka.listen and kafka.advertised as Kafka's configs, for who asks the broker for them.
static void add_listeners(struct server *s, struct properties *p) {
    const char *listen = config_text(&s->config, CFG_KAFKA_LISTEN), *advertised = config_text(&s->config, CFG_KAFKA_ADVERTISED);
    const char *more = of(p, "listeners"), *told = of(p, "advertised.listeners");
    if (strcmp(listen, "off") == 0) return;
    struct broker_kv *all = ARENA_ARRAY(&s->properties, struct broker_kv, p->n + 2);
    const char **places = ARENA_ARRAY(&s->properties, const char *, p->n + 2);
    if (p->n > 0) memcpy(all, p->p, p->n * sizeof *all);
    if (p->n > 0) memcpy(places, p->places, p->n * sizeof *places);
    p->p = all;
    p->places = places;
    show_listeners(s, p, "listeners", arena_printf(&s->properties, "PLAINTEXT://%s", listen), more);
    show_listeners(s, p, "advertised.listeners", arena_printf(&s->properties, "PLAINTEXT://%s", *advertised != 0 ? advertised : listen),
                   told == NULL ? more : told);
}

static enum err_code open_broker(struct server *s, struct err *err) {
    if (str_eqc(str_c(config_text(&s->config, CFG_BROKER_MODE)), "external")) return open_cluster(s, err);
    struct properties properties = {0};
    const char *file = config_text(&s->config, CFG_BROKER_PROPERTIES);
    if (*file != 0 && properties_load(s->sys, file, &s->config, &s->properties, &properties, err) != ERR_OK) return err->code;
    s->door_settings = properties.door;
    s->n_door_settings = properties.n_door;
    add_listeners(s, &properties);
    char *dir = path_in(s, "log");
    struct broker_config c = {.dir = dir,
                              .node_id = (int32_t)config_num(&s->config, CFG_BROKER_NODE_ID),
                              .default_partitions = (int32_t)config_num(&s->config, CFG_BROKER_PARTITIONS),
                              .auto_create_topics = config_bool(&s->config, CFG_BROKER_AUTO_CREATE),
                              .max_partitions = (int32_t)config_num(&s->config, CFG_BROKER_PARTITIONS_MAX),
                              .group_initial_rebalance_delay_ms = -1,
                              .produce_bytes_max = (uint64_t)config_num(&s->config, CFG_BROKER_UNSYNCED_MAX),
                              .configs = properties.p,
                              .n_configs = properties.n,
                              .places = properties.places,
                              .features = config_text(&s->config, CFG_BROKER_FEATURES),
                              .features_place = config_place(&s->config, CFG_BROKER_FEATURES)};
    s->broker = broker_open(s->sys, &c, s->loops, s->n_loops, s->pool, err);
    mem_free(dir);
    if (s->broker == NULL) return err->code;
    s->topics = topics_local(s->broker);
    return ERR_OK;
}
static void close_broker(struct server *s) {
    topics_close(s->topics);
    if (s->broker != NULL) broker_close(s->broker);
}

static enum err_code open_lake(struct server *s, struct err *err) {
    char *dir = path_in(s, "lake");
    s->lake = lake_open(s->sys, dir, err);
    mem_free(dir);
    return s->lake == NULL ? err->code : ERR_OK;
}
static void close_lake(struct server *s) { lake_close(s->lake); }

static enum err_code open_subjects(struct server *s, struct err *err) {
    s->subjects = subjects_open(s->topics, err);
    return s->subjects == NULL ? err->code : ERR_OK;
}
static void close_subjects(struct server *s) { subjects_close(s->subjects); }

static enum err_code open_engine(struct server *s, struct err *err) {
    char *spill = path_in(s, "spill");
    const char *files = config_text(&s->config, CFG_ENGINE_FILES);
    struct engine_config c = {.spill_dir = spill,
                              .memory_limit = (uint64_t)config_num(&s->config, CFG_ENGINE_MEMORY_LIMIT),
                              .threads = (int)config_num(&s->config, CFG_ENGINE_THREADS),
                              .files_dir = *files == 0 ? NULL : files};
    s->engine = engine_open(s->sys, &c, s->lake, s->topics, subjects_source(s->subjects), err);
    mem_free(spill);
    if (s->engine == NULL) return err->code;
    ingest_register(s->engine);
    return ERR_OK;
}
static void close_engine(struct server *s) { engine_close(s->engine); }

static enum err_code open_quality(struct server *s, struct err *err) {
    char *checks = path_in(s, "checks");
    struct quality_config c = {.checks_dir = checks, .suites_dir = config_text(&s->config, CFG_QUALITY_SUITES)};
    s->quality = quality_open(s->sys, s->engine, &c, err);
    mem_free(checks);
    return s->quality == NULL ? err->code : ERR_OK;
}
static void close_quality(struct server *s) { quality_close(s->quality); }

static const struct {
    const char *name;
    enum err_code (*open)(struct server *s, struct err *err);
    void (*close)(struct server *s);
} rooms[] = {
    {"loops", open_loops, close_loops},
    {"workers", open_workers, close_workers},
    {"lake", open_lake, close_lake},
    {"broker", open_broker, close_broker},
    {"subjects", open_subjects, close_subjects},
    {"engine", open_engine, close_engine},
    {"quality", open_quality, close_quality},
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
    if (datadir_cluster_id(sys, dir, s->cluster_id, err) == ERR_OK && open_rooms(s, err) == ERR_OK) return s;
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
    arena_fini(&s->properties);
    mem_free(s->dir);
    mem_free(s);
}

bool server_has_listeners(const struct server *s) {
    for (size_t i = 0; i < s->n_door_settings; i++)
        if (strcmp(s->door_settings[i].name, "listeners") == 0 && s->door_settings[i].value[0] != 0) return true;
    return false;
}

// ---- workflows ----------------------------------------------------------------------------------------------------------------------

// Our Python packages: as configured, or beside the program in a source tree or an installation. NULL = not found.
static char *find_python_dir(const struct server *s) {
    static const char *const places[] = {"../../python", "../share/millrace/python"}; // build/release/millrace, bin/millrace
    char program[4096];
    const char *configured = config_text(&s->config, CFG_FLOW_PYTHON_DIR);
    if (*configured != 0) return mem_strdup(configured);
    if (!sys_program_path(program)) return NULL;
    size_t n = strlen(program);
    while (n > 0 && program[n - 1] != '/') n--;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *dir = mem_printf("%.*s%s", (int)n, program, places[i]), *package = mem_printf("%s/millrace_worker", dir);
        bool found = sys_exists(s->sys, package);
        mem_free(package);
        if (found) return dir;
        mem_free(dir);
    }
    return NULL;
}

enum err_code server_start_flow(struct server *s, const char *api_url, struct err *err) {
    char *python_dir = find_python_dir(s), *addresses = path_in(s, "addresses.json");
    struct flow_config c = {.sys = s->sys,
                            .engine = s->engine,
                            .data_dir = s->dir,
                            .dags_dir = config_text(&s->config, CFG_FLOW_DAGS),
                            .python = config_text(&s->config, CFG_FLOW_PYTHON),
                            .python_dir = python_dir,
                            .addresses = addresses,
                            .api_url = api_url,
                            .parallelism = (int)config_num(&s->config, CFG_FLOW_PARALLELISM),
                            .sql_workers = (int)config_num(&s->config, CFG_FLOW_SQL_WORKERS),
                            .scan_seconds = (int)config_num(&s->config, CFG_FLOW_SCAN_SECONDS),
                            .parse_timeout_seconds = (int)config_num(&s->config, CFG_FLOW_PARSE_SECONDS),
                            .paused_at_creation = config_bool(&s->config, CFG_FLOW_PAUSED)};
    if (python_dir == NULL) log_warn("server", "no folder of Python packages found: DAG files are not read", "key", "flow.python_dir", NULL);
    struct flow *f = flow_open(&c, err);
    mem_free(python_dir);
    mem_free(addresses);
    sys_mutex_lock(&s->mutex);
    s->flow = f;
    if (f == NULL) s->flow_over = true;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->mutex);
    if (f == NULL) err_wrap(err, "flow");
    return f == NULL ? err->code : ERR_OK;
}

void server_begin_stop(struct server *s) {
    sys_mutex_lock(&s->mutex);
    s->flow_over = true;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->mutex);
}

void server_stop_flow(struct server *s) {
    server_begin_stop(s);
    if (s->broker != NULL) groups_stop(s->broker); // the Kafka door, closed next, must not wait for a rebalance
    flow_close(s->flow);
    s->flow = NULL;
}

struct flow *server_flow(struct server *s) {
    sys_mutex_lock(&s->mutex);
    while (s->flow == NULL && !s->flow_over) sys_cond_wait(&s->changed, &s->mutex);
    struct flow *f = s->flow_over ? NULL : s->flow;
    sys_mutex_unlock(&s->mutex);
    return f;
}

struct flow *server_flow_now(struct server *s) {
    sys_mutex_lock(&s->mutex);
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
