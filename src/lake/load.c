// SPDX-License-Identifier: Apache-2.0
// From the files of _delta_log to a snapshot: the newest usable checkpoint, then the commits behind it, without a gap.
// A checkpoint that cannot be read is passed over (with a warning) for an older one, or for the commits from 0 on when they are all there.
// Blocking; any thread. Memory: one log entry at a time (at most LAKE_COMMIT_MAX). Changes nothing on disk.
#include "base/log.h"
#include "lake/internal.h"

void lake_commit_name(int64_t version, char out[32]) { snprintf(out, 32, "%020lld.json", (long long)version); }

// Version of "<20 digits>.json"; -1 = another file.
static int64_t commit_version(const char *name) {
    struct str s = str_c(name);
    int64_t v;
    if (s.n != 25 || !str_ends(s, STR(".json")) || strspn(name, "0123456789") != 20 || !str_to_i64((struct str){s.p, 20}, &v))
        return -1;
    return v;
}

static enum err_code apply_commit(struct lake *l, const char *log_dir, int64_t version, struct lake_replay *r, struct err *err) {
    char name[32];
    lake_commit_name(version, name);
    char *path = mem_printf("%s/%s", log_dir, name);
    struct err local = {0};
    size_t n = 0;
    char *text = sys_read_file(lake_sys(l), path, LAKE_COMMIT_MAX, &n, &local);
    if (text == NULL) {
        err_copy(err, &local);
        mem_free(path);
        return local.code;
    }
    enum err_code code = lake_replay_ndjson(r, str_n(text, n), path, err);
    mem_free(text);
    mem_free(path);
    return code;
}

// Commits first, first+1, ... up to `last` (-1: as many as there are). *reached = the last one applied (first - 1 = none).
static enum err_code apply_commits(struct lake *l, const char *log_dir, int64_t first, int64_t last, struct lake_replay *r, int64_t *reached,
                                   struct err *err) {
    *reached = first - 1;
    while (last < 0 || *reached < last) {
        struct err local = {0};
        enum err_code code = apply_commit(l, log_dir, *reached + 1, r, &local);
        if (code == ERR_NOT_FOUND && last < 0)
            return ERR_OK;
        if (code != ERR_OK) {
            err_copy(err, &local);
            return code == ERR_NOT_FOUND ? err_set(err, ERR_CORRUPT, "%s: log entry %lld is missing", log_dir, (long long)(*reached + 1)) : code;
        }
        ++*reached;
    }
    return ERR_OK;
}

struct log_list {
    struct sys_list names;
    VEC(int64_t) checkpoints; // ascending, each once
    int64_t first_commit, last_commit;
};

static enum err_code log_list_read(struct lake *l, const char *log_dir, struct log_list *out, struct err *err) {
    *out = (struct log_list){.first_commit = -1, .last_commit = -1};
    enum err_code code = sys_list_dir(lake_sys(l), log_dir, &out->names, err);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < out->names.n; i++) { // sorted: versions have leading zeros
        int64_t v = commit_version(out->names.names[i]);
        if (v >= 0) {
            out->first_commit = out->first_commit < 0 ? v : out->first_commit;
            out->last_commit = v;
        }
        v = lake_checkpoint_version(out->names.names[i]);
        if (v >= 0 && (out->checkpoints.n == 0 || *vec_last(&out->checkpoints) != v))
            vec_add(&out->checkpoints, v);
    }
    return ERR_OK;
}

static void log_list_fini(struct log_list *g) {
    sys_list_free(&g->names);
    vec_fini(&g->checkpoints);
}

// The state from the newest checkpoint <= limit that can be read into r; returns its version, or -1 when none could (err then says why of the last).
static int64_t apply_checkpoint(struct lake *l, const char *log_dir, const struct log_list *g, int64_t limit, struct lake_replay *r,
                                struct err *err) {
    for (size_t i = g->checkpoints.n; i > 0; i--) {
        int64_t v = g->checkpoints.p[i - 1];
        if (v > limit)
            continue;
        struct err local = {0};
        if (lake_checkpoint_read(l, log_dir, v, &g->names, r, &local) == ERR_OK)
            return v;
        log_warn("lake", "checkpoint passed over", "log", log_dir, "version", log_i64(v), "reason", local.msg, NULL);
        err_copy(err, &local);
        lake_replay_fini(r);
        lake_replay_init(r);
    }
    return -1;
}

static struct lake_snapshot *load_whole(struct lake *l, const char *dir, const char *log_dir, int64_t version, struct err *err) {
    struct log_list g;
    struct lake_replay r;
    struct lake_snapshot *s = NULL;
    struct err why = {0};
    if (log_list_read(l, log_dir, &g, &why) != ERR_OK) {
        log_list_fini(&g);
        err_copy(err, &why);
        if (why.code == ERR_NOT_FOUND)
            err_set(err, ERR_NO_TABLE, "%s: there is no table", dir);
        return NULL;
    }
    int64_t newest = g.last_commit;
    if (g.checkpoints.n > 0 && *vec_last(&g.checkpoints) > newest)
        newest = *vec_last(&g.checkpoints);
    int64_t target = version < 0 ? newest : version, reached = -1;
    lake_replay_init(&r);
    if (newest < 0) {
        err_set(err, ERR_NO_TABLE, "%s: there is no table (its log is empty)", dir);
    } else if (target > newest) {
        err_set(err, ERR_NOT_FOUND, "%s has no version %lld; its newest is %lld", dir, (long long)target, (long long)newest);
    } else {
        int64_t from = apply_checkpoint(l, log_dir, &g, target, &r, &why);
        if (from < 0 && g.first_commit != 0) {
            if (why.code != ERR_OK)
                err_copy(err, &why);
            else
                err_set(err, ERR_NOT_FOUND, "%s: version %lld is no longer there (the log begins at %lld)", dir, (long long)target,
                        (long long)g.first_commit);
        } else if (apply_commits(l, log_dir, from + 1, target, &r, &reached, err) == ERR_OK) {
            s = lake_replay_finish(&r, dir, target, err);
        }
    }
    lake_replay_fini(&r);
    log_list_fini(&g);
    return s;
}

// The first look at a table: who made its newest entry may have been killed before it was durable, and what is read from it must not be
// lost with the power afterwards.
static void settle(struct lake *l, const char *log_dir) {
    struct err err = {0};
    if (sys_exists(lake_sys(l), log_dir) && sys_sync_dir(lake_sys(l), log_dir, &err) != ERR_OK)
        log_error("lake", "the newest commits may not survive a power cut", "log", log_dir, "error", err.msg, NULL);
}

// Newer than what commit probing finds? Only when somebody cleaned the log up behind a newer checkpoint.
static bool newer_checkpoint(struct lake *l, const char *log_dir, int64_t than) {
    char *path = mem_printf("%s/_last_checkpoint", log_dir);
    size_t n;
    char *text = sys_read_file(lake_sys(l), path, LAKE_SMALL_FILE_MAX, &n, NULL);
    mem_free(path);
    if (text == NULL)
        return false;
    json_t *j = json_loadb(text, n, 0, NULL);
    const json_t *v = json_object_get(j, "version");
    bool newer = json_is_integer(v) && json_integer_value(v) > than;
    json_decref(j);
    mem_free(text);
    return newer;
}

struct lake_snapshot *lake_load(struct lake *l, const char *dir, int64_t version, struct lake_snapshot *known, struct err *err) {
    char *log_dir = mem_printf("%s/" LAKE_LOG_DIR, dir);
    struct lake_snapshot *s = NULL;
    if (known != NULL && version == known->version) {
        s = lake_snapshot_ref(known);
    } else if (known != NULL && (version < 0 || version > known->version)) {
        struct lake_replay r;
        int64_t reached;
        struct err local = {0};
        lake_replay_from(&r, known);
        if (apply_commits(l, log_dir, known->version + 1, version, &r, &reached, &local) == ERR_OK) {
            if (reached > known->version)
                s = lake_replay_finish(&r, dir, reached, &local);
            else if (!newer_checkpoint(l, log_dir, known->version) && sys_exists(lake_sys(l), log_dir))
                s = lake_snapshot_ref(known);
        }
        lake_replay_fini(&r);
    }
    if (s == NULL)
        s = load_whole(l, dir, log_dir, version, err);
    if (s != NULL && known == NULL)
        settle(l, log_dir);
    mem_free(log_dir);
    if (s != NULL) {
        enum err_code code = lake_check_readable(s, err);
        if (code != ERR_OK) {
            err_wrap(err, "%s", dir);
            lake_snapshot_unref(s);
            s = NULL;
        }
    }
    return s;
}
