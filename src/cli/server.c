// SPDX-License-Identifier: Apache-2.0
// `millrace server`: opens the rooms and the doors, says where they are, and waits for SIGTERM or SIGINT.
#include "server/server.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/doors.h"
#include "cli/settings.h"
#include "httpd/httpd.h"

enum { DOORS_MAX = 16, KEPT_MEMORY = 16 << 20 };

struct running {
    struct server *server;
    void *handles[DOORS_MAX];
    const char *names[DOORS_MAX], *addresses[DOORS_MAX];
    size_t n_addresses;
    struct loop_event stop;
};

static void write_log(void *arg, enum log_level level, struct str line) {
    (void)arg, (void)level;
    sys_stderr_write(line);
}

static int64_t now(void *arg) { return sys_now_us(arg); }

static void on_stop(void *arg, int sig) {
    log_info("server", "stopping", "signal", log_i64(sig), NULL);
    loop_event_set(&((struct running *)arg)->stop);
}

static enum err_code open_doors(struct cli *c, struct running *r, struct err *err) {
    for (size_t i = 0; i < n_doors; i++) {
        const struct door *d = &doors[i];
        char host[256];
        int port;
        if (d->listen == CFG_KAFKA_LISTEN && r->server->broker == NULL) { // clients go to the cluster itself
            r->names[r->n_addresses] = d->name;
            r->addresses[r->n_addresses++] = config_text(&r->server->config, CFG_BOOTSTRAP_SERVERS);
            continue;
        }
        bool on = config_listen(&r->server->config, d->listen, host, &port);
        if (!on && !(d->listen == CFG_KAFKA_LISTEN && server_has_listeners(r->server))) continue;
        if (!on) host[0] = 0;
        bool no_login = d->listen == CFG_PG_LISTEN || d->listen == CFG_REGISTRY_LISTEN; // the others look for themselves
        if (on && no_login && !httpd_is_loopback(str_c(host)) && !config_bool(&r->server->config, CFG_SERVER_ALLOW_OPEN))
            return err_set(err, ERR_CONFIG, "%s=%s can be reached by others and has no log-in: listen at 127.0.0.1, or set server.allow_open=true when "
                           "something else keeps them out", config_key(d->listen)->key, config_text(&r->server->config, d->listen));
        r->handles[i] = d->open(r->server, host, &port, err);
        if (r->handles[i] == NULL) {
            const char *key = config_key(d->listen)->key;
            if (err->code == ERR_EXISTS && on) { // the mend
                struct err why = *err;
                err_set(err, ERR_EXISTS, "%.600s; stop that one, or choose another port: --set %s=%s:PORT", why.msg, key, host);
            }
            bool file = d->listen == CFG_KAFKA_LISTEN && r->server->n_door_settings > 0; // what is wrong may stand in either place
            err_wrap(err, "%s=%s%s%s", key, config_text(&r->server->config, d->listen), file ? ", broker.properties=" : "",
                     file ? config_text(&r->server->config, CFG_BROKER_PROPERTIES) : "");
            return err->code;
        }
        bool v6 = strchr(host, ':') != NULL;
        r->names[r->n_addresses] = d->name;
        r->addresses[r->n_addresses++] = arena_printf(&c->arena, "%s%s%s%s:%d%s", d->scheme, v6 ? "[" : "", host, v6 ? "]" : "", port, d->suffix);
    }
    return server_write_addresses(r->server, r->names, r->addresses, r->n_addresses, err);
}

static void close_doors(struct running *r, bool that_use_flow) {
    for (size_t i = n_doors; i-- > 0;) {
        if (r->handles[i] == NULL || doors[i].uses_flow != that_use_flow) continue;
        doors[i].close(r->handles[i]);
        r->handles[i] = NULL;
    }
}

static void close_all(struct running *r) {
    server_remove_addresses(r->server);
    server_begin_stop(r->server);
    close_doors(r, true);
    server_stop_flow(r->server);
    close_doors(r, false);
    server_close(r->server);
}

static const char *address_of(const struct running *r, const char *door) {
    for (size_t i = 0; i < r->n_addresses; i++)
        if (strcmp(r->names[i], door) == 0) return r->addresses[i];
    return NULL;
}

static void say_ready(struct running *r, int64_t began_us) {
    for (size_t i = 0; i < r->n_addresses; i++) log_info("server", "door open", "door", r->names[i], "address", r->addresses[i], NULL);
    log_info("server", "ready", "data", r->server->dir, "ms", log_i64((sys_mono_us(r->server->sys) - began_us) / 1000), "rss_mb",
             log_i64(sys_rss_bytes() >> 20), NULL);
}

static enum err_code run_server(struct cli *c, struct err *err) {
    int64_t began_us = sys_mono_us(c->sys);
    struct running r = {0};
    struct config config;
    enum log_level level;
    log_set_clock(now, c->sys);
    log_set_sink(write_log, NULL);
    enum err_code code = settings_load(c, &config, err);
    if (code != ERR_OK) return code;
    if (log_level_parse(str_c(config_text(&config, CFG_LOG_LEVEL)), &level)) log_set_level(level);
    mem_keep_freed(KEPT_MEMORY);
    loop_event_init(&r.stop);
    sys_private_files(); // topics, tables and the tokens' key, as PostgreSQL keeps its data
    sys_on_stop_signal(on_stop, &r); // before any other thread: they all have the signals blocked
    r.server = server_open(c->sys, cli_data_dir(c), &config, err);
    if (r.server == NULL) {
        config_fini(&config);
        return err->code;
    }
    code = open_doors(c, &r, err);
    if (code == ERR_OK) code = server_start_flow(r.server, address_of(&r, "http"), err);
    if (code == ERR_OK) {
        say_ready(&r, began_us);
        loop_event_wait(&r.stop);
    }
    close_all(&r);
    if (code == ERR_OK) log_info("server", "stopped", NULL);
    return code;
}

static const struct cli_option options[] = {
    {"data", 0, "DIR", "data directory: all state is in it; made when absent (MILLRACE_DATA, else data)"},
    SETTINGS_OPTIONS,
    {NULL, 0, NULL, NULL},
};

const struct cli_command cli_server;
const struct cli_command cli_server = {
    .name = "server",
    .args = "",
    .summary = "run the server: every door, one data directory",
    .help =
        "Needs no configuration: on a new directory it binds to 127.0.0.1 on the standard ports. When the doors are open it writes their addresses\n"
        "to DIR/addresses.json. SIGTERM and SIGINT stop it cleanly. The log goes to standard error.",
    .examples = "millrace server --data /var/lib/millrace\n# free ports, more in the log\nmillrace server --data /tmp/mill --set "
                "kafka.listen=127.0.0.1:0 --set log.level=debug\n"
                "# from a file and the environment\nMILLRACE_HTTP_LISTEN=127.0.0.1:8090 millrace server --data DIR --config millrace.yaml",
    .options = options,
    .run = run_server};
