// SPDX-License-Identifier: Apache-2.0
// `millrace group reset-offsets`: where a group goes on reading. Says what it would do; does it with --execute.
//
// Rules as of kafka-consumer-groups --reset-offsets: only groups without members; a wish outside of the log becomes its nearer end; a time
// later than all records means the end; without a committed offset the current one is the end.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cluster.h"
#include "cli/group.h"
#include "client/groups.h"
#include "cols/cols.h"

enum mode { TO_EARLIEST, TO_LATEST, TO_CURRENT, TO_OFFSET, SHIFT_BY, TO_DATETIME, BY_DURATION, FROM_FILE, N_MODES };
static const char *const mode_names[N_MODES] = {"to-earliest", "to-latest", "to-current", "to-offset", "shift-by", "to-datetime", "by-duration", "from-file"};
enum { FILE_MAX = 16 << 20 };

struct plan {
    enum mode mode;
    int64_t number; // offset, distance, or milliseconds since 1970
    struct group_offset_row *rows;
    size_t n;
};

// ---- what is asked for ----------------------------------------------------------------------------------------------------

// ISO 8601: P2DT3H4M5S, PT1H30M. Milliseconds.
static bool parse_duration(struct str s, int64_t *ms) {
    static const struct {
        char unit;
        bool time;
        int64_t ms;
    } units[] = {{'W', false, 604800000}, {'D', false, 86400000}, {'H', true, 3600000}, {'M', true, 60000}, {'S', true, 1000}};
    bool time = false, any = false;
    if (s.n < 2 || s.p[0] != 'P') return false;
    *ms = 0;
    for (size_t i = 1; i < s.n;) {
        if (s.p[i] == 'T' && !time) {
            time = true;
            i++;
            continue;
        }
        int64_t v;
        size_t digits = i;
        while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9') digits++;
        if (digits == i || digits == s.n || digits - i > 9 || !str_to_i64(str_n(s.p + i, digits - i), &v)) return false;
        size_t u = 0, n = sizeof units / sizeof units[0];
        while (u < n && !(units[u].unit == s.p[digits] && units[u].time == time)) u++;
        if (u == n) return false;
        *ms += v * units[u].ms;
        any = true;
        i = digits + 1;
    }
    return any;
}

static enum err_code read_mode(struct cli *c, struct plan *p, struct err *err) {
    int given = 0;
    for (int i = 0; i < N_MODES; i++) {
        if (cli_opt(c, mode_names[i]) == NULL && !cli_flag(c, mode_names[i])) continue;
        p->mode = (enum mode)i;
        given++;
    }
    if (given != 1)
        return err_set(err, ERR_INVALID, "say where to, once: --to-earliest, --to-latest, --to-current, --to-offset N, --shift-by N, --to-datetime TIME, "
                                         "--by-duration PERIOD or --from-file FILE");
    const char *value = cli_opt(c, mode_names[p->mode]);
    if (p->mode == TO_OFFSET || p->mode == SHIFT_BY) {
        if (!str_to_i64(str_c(value), &p->number)) return err_set(err, ERR_INVALID, "--%s %s: a number is expected", mode_names[p->mode], value);
    } else if (p->mode == TO_DATETIME) {
        if (!cols_timestamp_parse(str_c(value), &p->number, NULL))
            return err_set(err, ERR_INVALID, "--to-datetime %s: a time such as 2026-01-31T13:45:00Z is expected", value);
        p->number /= 1000;
    } else if (p->mode == BY_DURATION) {
        int64_t ms;
        if (!parse_duration(str_c(value), &ms)) return err_set(err, ERR_INVALID, "--by-duration %s: a period such as P1DT2H or PT30M is expected", value);
        p->number = sys_now_us(c->sys) / 1000 - ms;
    }
    return ERR_OK;
}

// ---- which partitions -----------------------------------------------------------------------------------------------------

static const struct group_offset_row *committed_row(const struct group_offset_row *rows, size_t n, struct str topic, int32_t partition) {
    for (size_t i = 0; i < n; i++)
        if (rows[i].partition == partition && str_eq(rows[i].topic, topic)) return &rows[i];
    return NULL;
}

static void add(struct plan *p, struct str topic, int32_t partition, const struct group_offset_row *known, size_t n_known) {
    const struct group_offset_row *k = committed_row(known, n_known, topic, partition);
    p->rows[p->n++] = (struct group_offset_row){.topic = topic, .partition = partition, .offset = k == NULL ? -1 : k->offset, .start = -1, .end = -1};
}

static enum err_code add_specs(struct cli *c, struct cluster *k, struct plan *p, const struct group_offset_row *known, size_t n_known, struct err *err) {
    struct cli_topic_spec *specs;
    size_t n, most = 0;
    if (cli_topic_specs(c, &specs, &n, err) != ERR_OK) return err->code;
    if (n == 0) return err_set(err, ERR_INVALID, "which topics? say --topic TOPIC, --topic TOPIC:0,1 or --all-topics");
    struct str *names = ARENA_ARRAY(&c->arena, struct str, n);
    for (size_t i = 0; i < n; i++) names[i] = specs[i].topic;
    const struct kafka_metadata_response *md;
    if (cluster_topics(k, names, (int32_t)n, &md, err) != ERR_OK) return err->code;
    for (int32_t t = 0; t < md->topics.n; t++) most += (size_t)md->topics.p[t].partitions.n;
    for (size_t i = 0; i < n; i++) most += (size_t)specs[i].n;
    p->rows = ARENA_ARRAY(&c->arena, struct group_offset_row, most);
    for (size_t i = 0; i < n; i++) {
        for (int32_t q = 0; q < specs[i].n; q++) add(p, specs[i].topic, specs[i].partitions[q], known, n_known);
        for (int32_t t = 0; specs[i].partitions == NULL && t < md->topics.n; t++)
            for (int32_t q = 0; str_eq(md->topics.p[t].name, specs[i].topic) && q < md->topics.p[t].partitions.n; q++)
                add(p, specs[i].topic, q, known, n_known);
    }
    return ERR_OK;
}

// Lines of topic,partition,offset as --export writes them.
static enum err_code add_file(struct cli *c, struct plan *p, struct err *err) {
    const char *path = cli_opt(c, "from-file");
    size_t size, line_no = 0;
    char *text = sys_read_file(c->sys, path, FILE_MAX, &size, err);
    if (text == NULL) return err->code;
    struct str rest = arena_str(&c->arena, str_n(text, size));
    mem_free(text);
    size_t lines = 1;
    for (size_t i = 0; i < rest.n; i++) lines += rest.p[i] == '\n';
    p->rows = ARENA_ARRAY(&c->arena, struct group_offset_row, lines);
    while (rest.n > 0) {
        struct str line, tail, topic, partition, offset;
        int64_t part, at;
        line_no++;
        (void)str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (line.n > 0 && line.p[line.n - 1] == '\r') line.n--;
        if (line.n == 0) continue;
        bool ok = str_cut(line, ',', &topic, &tail) && str_cut(tail, ',', &partition, &offset) && topic.n > 0;
        if (!ok || !str_to_i64(partition, &part) || part < 0 || part > INT32_MAX || !str_to_i64(offset, &at) || at < 0)
            return err_set(err, ERR_INVALID, "%s:%zu: topic,partition,offset is expected", path, line_no);
        p->rows[p->n++] = (struct group_offset_row){.topic = topic, .partition = (int32_t)part, .offset = at, .start = -1, .end = -1};
    }
    return ERR_OK;
}

// ---- where to ---------------------------------------------------------------------------------------------------------------

static int by_partition(const void *a, const void *b) {
    const struct group_offset_row *x = a, *y = b;
    int d = str_cmp(x->topic, y->topic);
    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

static enum err_code ask(struct cli *c, struct cluster *k, struct plan *p, int64_t timestamp, int64_t *out, struct err *err) {
    struct offset_query *q = ARENA_ARRAY(&c->arena, struct offset_query, p->n);
    for (size_t i = 0; i < p->n; i++) q[i] = (struct offset_query){.topic = p->rows[i].topic, .partition = p->rows[i].partition, .timestamp = timestamp};
    if (cluster_list_offsets(k, q, p->n, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < p->n; i++) {
        if (cluster_error(q[i].error, (struct str){0}, err, "%.*s-%d", (int)q[i].topic.n, q[i].topic.p, q[i].partition) != ERR_OK) return err->code;
        out[i] = q[i].offset;
    }
    return ERR_OK;
}

static int64_t within(struct cli *c, const struct group_offset_row *r, int64_t wish) {
    if (wish >= r->start && wish <= r->end) return wish;
    int64_t got = wish < r->start ? r->start : r->end;
    cli_note(c, "%.*s-%d: offset %" PRId64 " is outside of the log, %" PRId64 " is taken", (int)r->topic.n, r->topic.p, r->partition, wish, got);
    return got;
}

static enum err_code decide(struct cli *c, struct cluster *k, struct plan *p, struct err *err) {
    int64_t *ends = ARENA_ARRAY(&c->arena, int64_t, p->n), *starts = ARENA_ARRAY(&c->arena, int64_t, p->n), *times = ARENA_ARRAY(&c->arena, int64_t, p->n);
    if (ask(c, k, p, -1, ends, err) != ERR_OK || ask(c, k, p, -2, starts, err) != ERR_OK) return err->code;
    bool timed = p->mode == TO_DATETIME || p->mode == BY_DURATION;
    if (timed && ask(c, k, p, p->number, times, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < p->n; i++) {
        struct group_offset_row *r = &p->rows[i];
        r->start = starts[i];
        r->end = ends[i];
        switch (p->mode) {
        case TO_EARLIEST: r->offset = r->start; break;
        case TO_LATEST: r->offset = r->end; break;
        case TO_CURRENT: r->offset = r->offset < 0 ? r->end : r->offset; break;
        case TO_OFFSET: r->offset = within(c, r, p->number); break;
        case SHIFT_BY:
            if (r->offset < 0)
                return err_set(err, ERR_INVALID, "%.*s-%d has no committed offset to shift", (int)r->topic.n, r->topic.p, r->partition);
            r->offset = within(c, r, r->offset + p->number);
            break;
        case TO_DATETIME:
        case BY_DURATION: r->offset = times[i] < 0 ? r->end : times[i]; break;
        case FROM_FILE: r->offset = within(c, r, r->offset); break;
        case N_MODES: break;
        }
    }
    return ERR_OK;
}

static void show(struct cli *c, const struct plan *p) {
    static const char *const names[] = {"group", "topic", "partition", "new_offset"};
    if (cli_flag(c, "export")) {
        for (size_t i = 0; i < p->n; i++)
            cli_print(c, "%.*s,%d,%" PRId64, (int)p->rows[i].topic.n, p->rows[i].topic.p, p->rows[i].partition, p->rows[i].offset);
        return;
    }
    const char **cells = ARENA_ARRAY(&c->arena, const char *, p->n * 4);
    for (size_t i = 0; i < p->n; i++) {
        const char *row[] = {c->args[0], cli_text(c, p->rows[i].topic), cli_number(c, p->rows[i].partition), cli_number(c, p->rows[i].offset)};
        memcpy(&cells[i * 4], row, sizeof row);
    }
    cli_print_rows(c, names, "ttnn", 4, cells, p->n);
}

static bool idle(struct str state) { return str_eqc(state, "Empty") || str_eqc(state, "Dead"); }

static enum err_code reset(struct cli *c, struct cluster *k, struct plan *p, struct err *err) {
    struct group_detail g;
    struct group_offset_row *known = NULL;
    size_t n_known = 0;
    enum err_code code = groups_describe(k, str_c(c->args[0]), &g, err);
    if (code == ERR_NOT_FOUND) { // a new group may begin where it is told to
        err_clear(err);
        g = (struct group_detail){.row = {.id = str_c(c->args[0]), .type = STR("classic"), .state = STR("Empty")}};
        code = cluster_find(k, CLUSTER_GROUP, g.row.id, &g.row.coordinator, err);
    } else if (code == ERR_OK) {
        code = groups_offsets(k, &g, &known, &n_known, err);
    }
    if (code != ERR_OK) return code;
    if (!idle(g.row.state))
        return err_set(err, ERR_CONFLICT, "offsets can only be reset while the group has no members; group '%s' is %.*s: stop its consumers first", c->args[0],
                       (int)g.row.state.n, g.row.state.p);
    if (p->mode == FROM_FILE) {
        code = add_file(c, p, err);
    } else if (cli_flag(c, "all-topics")) {
        p->rows = ARENA_ARRAY(&c->arena, struct group_offset_row, n_known);
        for (size_t i = 0; i < n_known; i++) add(p, known[i].topic, known[i].partition, known, n_known);
    } else {
        code = add_specs(c, k, p, known, n_known, err);
    }
    if (code == ERR_OK && p->n > 0) qsort(p->rows, p->n, sizeof *p->rows, by_partition);
    if (code == ERR_OK) code = decide(c, k, p, err);
    bool execute = cli_flag(c, "execute") && !cli_flag(c, "dry-run");
    if (code == ERR_OK && execute && p->n > 0) code = groups_commit(k, &g, p->rows, p->n, err);
    if (code != ERR_OK) return code;
    show(c, p);
    if (!execute && !cli_flag(c, "export")) cli_note(c, "nothing was changed: this is what --execute would do");
    return ERR_OK;
}

static enum err_code run_reset(struct cli *c, struct err *err) {
    struct plan p = {0};
    if (read_mode(c, &p, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = reset(c, k, &p, err);
    cluster_close(k);
    return code;
}

static const struct cli_option options[] = {
    {"topic", 't', "TOPIC[:0,1]", "a topic, or some of its partitions; may be repeated"},
    {"all-topics", 0, NULL, "all partitions that the group has committed"},
    {"to-earliest", 0, NULL, "the log's begin"},
    {"to-latest", 0, NULL, "the log's end: only what comes from now on"},
    {"to-current", 0, NULL, "where it stands; for --export"},
    {"to-offset", 0, "N", "this offset"},
    {"shift-by", 0, "N", "so many records further, or back when negative: --shift-by=-10"},
    {"to-datetime", 0, "TIME", "the first record at or after this time: 2026-01-31T13:45:00Z"},
    {"by-duration", 0, "PERIOD", "the first record of the last PERIOD: P1D, PT2H30M"},
    {"from-file", 0, "FILE", "lines of topic,partition,offset"},
    {"dry-run", 0, NULL, "only say what would be done (what happens without --execute)"},
    {"execute", 0, NULL, "do it"},
    {"export", 0, NULL, "write topic,partition,offset for --from-file"},
    CLI_BROKERS,
    {0}};

const struct cli_command cli_group_reset = {
    .name = "reset-offsets", .args = "GROUP", .summary = "set where a group without members goes on", .options = options, .is_client = true, .min_args = 1,
    .max_args = 1,
    .examples = "# look first, then do it\nmillrace group reset-offsets billing --topic orders --to-earliest\n"
                "millrace group reset-offsets billing --topic orders --to-earliest --execute\n"
                "# the last hour once more\nmillrace group reset-offsets billing --all-topics --by-duration PT1H --execute\n"
                "# keep where it stands, and go back there later\nmillrace group reset-offsets billing --all-topics --to-current --export >offsets.csv\n"
                "millrace group reset-offsets billing --from-file offsets.csv --execute",
    .run = run_reset};
