// SPDX-License-Identifier: Apache-2.0
// `millrace produce`: a file's rows as Avro events of a topic of any Kafka, with the schema in any Confluent-compatible registry.
//
// The file is read by the SQL engine inside this process (read_parquet, read_csv, read_json), batch by batch; each row becomes one datum.
// Memory is bounded by the batch and by librdkafka's queue, which makes the reading wait.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cluster.h"
#include "client/http.h"
#include "client/kafka.h"
#include "engine/engine.h"
#include "schema/avro.h"
#include "sql/sql.h"

enum { PARTITIONS_DEFAULT = -1, SETTINGS_MAX = 32, PROGRESS_US = 100000, WIRE_HEADER = 5 };

struct produce {
    struct cli *c;
    const char *file, *topic, *subject, *registry, *key, *timestamp;
    struct client_target at;
    struct engine *engine;
    struct engine_session *session;
    struct engine_result *rows;
    struct client_producer *producer;
    struct avro_encoder *encoder;
    int32_t schema_id;
    int key_column, time_column; // -1 = none
    int64_t total, sent;         // total -1 = unknown
    int64_t started_us, shown_us;
    bool tty, shown;
};

// ---- progress -----------------------------------------------------------------------------------------------------------

static void show_progress(struct produce *p, bool last) {
    int64_t now = sys_mono_us(p->c->sys);
    if (!last && (!p->tty || now - p->shown_us < PROGRESS_US)) return;
    p->shown_us = now;
    int64_t done = p->sent - client_producer_waiting(p->producer);
    double seconds = (double)(now - p->started_us) / 1e6;
    if (!p->tty) {
        cli_note(p->c, "%" PRId64 " records acknowledged in %.2f s, %.0f records/s", done, seconds, (double)done / (seconds > 0 ? seconds : 1));
        return;
    }
    char bar[31];
    int filled = p->total > 0 ? (int)(done * 30 / p->total) : 0;
    for (int i = 0; i < 30; i++) bar[i] = i < filled ? '#' : '.';
    bar[30] = 0;
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "\r%s [%s] %" PRId64, p->topic, bar, done);
    if (p->total > 0) buf_printf(&b, " of %" PRId64, p->total);
    buf_printf(&b, " records, %.1f s, %.0f records/s  %s", seconds, (double)done / (seconds > 0 ? seconds : 1), last ? "\n" : "");
    sys_stderr_write(buf_str(&b));
    buf_fini(&b);
}

// ---- the file -----------------------------------------------------------------------------------------------------------

static const struct {
    const char *suffix, *format, *function;
} formats[] = {
    {".parquet", "parquet", "read_parquet"}, {".csv", "csv", "read_csv"},        {".tsv", "csv", "read_csv"}, {".csv.gz", "csv", "read_csv"},
    {".json", "json", "read_json"},          {".jsonl", "json", "read_json"},    {".ndjson", "json", "read_json"}, {".jsonl.gz", "json", "read_json"},
};

static const char *reader_of(const char *file, const char *format) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (format != NULL && strcmp(format, formats[i].format) == 0) return formats[i].function;
        if (format == NULL && str_ends(str_c(file), str_c(formats[i].suffix))) return formats[i].function;
    }
    return NULL;
}

static enum err_code open_rows(struct produce *p, struct err *err) {
    const char *reader = reader_of(p->file, cli_opt(p->c, "format"));
    if (reader == NULL)
        return err_set(err, ERR_INVALID, "%s: what kind of file is it? Say --format parquet, csv or json (JSON lines)", p->file);
    struct sys_stat st;
    if (sys_stat(p->c->sys, p->file, &st, err) != ERR_OK) return err->code;
    const char *slash = strrchr(p->file, '/');
    struct engine_config config = {.files_dir = slash == NULL ? "." : arena_strndup(&p->c->arena, p->file, (size_t)(slash - p->file) + 1)};
    p->engine = engine_open(p->c->sys, &config, NULL, NULL, NULL, err);
    if (p->engine == NULL) return err->code;
    p->session = engine_session_open(p->engine, err);
    if (p->session == NULL) return err->code;
    struct buf from;
    buf_init(&from, 0);
    buf_printf(&from, " from %s(", reader);
    sql_put_string(&from, str_c(p->file));
    buf_put_u8(&from, ')');
    const char *limit = cli_opt(p->c, "limit");
    int64_t max = -1;
    enum err_code code = ERR_OK;
    if (limit != NULL && (!str_to_i64(str_c(limit), &max) || max < 0)) code = err_set(err, ERR_INVALID, "--limit %s: a number of rows is expected", limit);
    struct str count = {0};
    p->total = -1;
    if (code == ERR_OK && strcmp(reader, "read_parquet") == 0) {
        code = engine_scalar(p->session, str_c(arena_printf(&p->c->arena, "select count(*)%s", buf_cstr(&from))), &p->c->arena, &count, err);
        if (code == ERR_OK) str_to_i64(count, &p->total);
    }
    if (max >= 0 && (p->total < 0 || p->total > max)) p->total = max;
    if (code == ERR_OK) {
        const char *sql = arena_printf(&p->c->arena, "select *%s%s%s", buf_cstr(&from), max >= 0 ? " limit " : "", max >= 0 ? limit : "");
        p->rows = engine_query(p->session, str_c(sql), NULL, 0, err);
        if (p->rows == NULL) code = err_wrap(err, "%s", p->file);
    }
    buf_fini(&from);
    return code;
}

// ---- schema and topic ---------------------------------------------------------------------------------------------------

// "a topic's name" as an Avro name: what Avro does not allow becomes an underscore.
static const char *record_name(struct arena *a, const char *topic) {
    char *name = arena_printf(a, "%s%s", topic[0] >= '0' && topic[0] <= '9' ? "_" : "", topic);
    for (char *q = name; *q != 0; q++)
        if (!((*q >= '0' && *q <= '9') || (*q >= 'A' && *q <= 'Z') || (*q >= 'a' && *q <= 'z'))) *q = '_';
    return name;
}

static enum err_code register_schema(struct produce *p, struct err *err) {
    const struct cols_schema *cols = engine_result_schema(p->rows);
    struct buf text;
    buf_init(&text, AVRO_SCHEMA_TEXT_MAX);
    const struct avro_schema *schema = NULL;
    enum err_code code = avro_schema_of_cols(cols, record_name(&p->c->arena, p->topic), &text, err);
    if (code == ERR_OK) {
        schema = avro_schema_parse(buf_str(&text), &p->c->arena, err);
        code = schema == NULL ? err->code : ERR_OK;
    }
    json_t *answer = NULL;
    if (code == ERR_OK) {
        struct client_http http = {.base = p->registry};
        json_t *body = json_pack("{s:s%}", "schema", (const char *)text.p, text.n);
        const char *path = arena_printf(&p->c->arena, "/subjects/%s/versions", client_http_escape(&p->c->arena, p->subject));
        code = client_http_json(&http, "POST", path, body, &answer, NULL, err);
        json_decref(body);
        if (code != ERR_OK) err_wrap(err, "registering the schema of '%s' at %s", p->subject, p->registry);
    }
    if (code == ERR_OK) {
        const json_t *id = json_object_get(answer, "id");
        p->schema_id = (int32_t)json_integer_value(id);
        if (!json_is_integer(id)) code = err_set(err, ERR_INVALID, "%s answered without a schema id", p->registry);
    }
    json_decref(answer);
    if (code == ERR_OK) {
        p->encoder = avro_encoder_new(schema, cols, err);
        code = p->encoder == NULL ? err->code : ERR_OK;
    }
    buf_fini(&text);
    return code;
}

static enum err_code column_of(const struct cols_schema *cols, const char *option, const char *name, int *out, struct err *err) {
    *out = name == NULL ? -1 : cols_schema_find(cols, str_c(name));
    if (name == NULL || *out >= 0) return ERR_OK;
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < cols->n; i++) buf_printf(&b, "%s%s", i == 0 ? "" : ", ", cols->fields[i].name);
    err_set(err, ERR_NO_COLUMN, "--%s %s: the file has no such column, it has %s", option, name, buf_cstr(&b));
    buf_fini(&b);
    return ERR_NO_COLUMN;
}

static enum err_code make_topic(struct produce *p, struct err *err) {
    const char *n = cli_opt(p->c, "partitions");
    int64_t partitions = PARTITIONS_DEFAULT;
    if (n != NULL && (!str_to_i64(str_c(n), &partitions) || partitions < 1 || partitions > 10000))
        return err_set(err, ERR_INVALID, "--partitions %s: a number from 1 to 10000 is expected", n);
    // Retention goes by the records' timestamps: with event times of years ago, a new topic's default of seven days would empty it within minutes.
    const struct client_kv keep = {"retention.ms", "-1"};
    enum err_code code = client_topic_create(&p->at, p->topic, (int32_t)partitions, &keep, p->timestamp != NULL ? 1 : 0, err);
    if (code != ERR_EXISTS) return code;
    err_clear(err);
    return ERR_OK;
}

// ---- events -------------------------------------------------------------------------------------------------------------

static int64_t time_ms(const struct produce *p, const struct cols_batch *b, size_t row) {
    if (p->time_column < 0) return 0;
    const struct cols_column *c = &b->columns[p->time_column];
    if (!cols_is_valid(c, row)) return 0;
    if (c->type->kind == COLS_DATE) return (int64_t)((const int32_t *)c->values)[row] * 86400000;
    int64_t us = ((const int64_t *)c->values)[row];
    return us >= 0 ? us / 1000 : -((-us + 999) / 1000);
}

static struct str key_of(const struct produce *p, const struct cols_batch *b, size_t row, struct buf *text, bool *null) {
    *null = p->key_column < 0 || !cols_is_valid(&b->columns[p->key_column], row);
    if (*null) return (struct str){0};
    const struct cols_column *c = &b->columns[p->key_column];
    if (c->type->kind == COLS_STRING || c->type->kind == COLS_BYTES) return cols_str(c, row);
    buf_clear(text);
    cols_value_text(c, row, text);
    return buf_str(text);
}

static enum err_code send_batch(struct produce *p, const struct cols_batch *b, struct buf *value, struct buf *key_text, struct err *err) {
    for (size_t row = 0; row < b->n; row++) {
        buf_clear(value);
        buf_put_u8(value, 0);
        buf_put_be32(value, (uint32_t)p->schema_id);
        if (avro_encode_row(p->encoder, b, row, value, err) != ERR_OK) return err_wrap(err, "%s row %" PRId64, p->file, p->sent + 1);
        bool null;
        struct str key = key_of(p, b, row, key_text, &null);
        if (client_produce(p->producer, p->topic, -1, key, null, buf_str(value), time_ms(p, b, row), err) != ERR_OK) return err->code;
        p->sent++;
        if ((p->sent & 8191) == 0) show_progress(p, false);
    }
    return ERR_OK;
}

static enum err_code send_all(struct produce *p, struct err *err) {
    struct buf value, key_text;
    buf_init(&value, 64 << 20);
    buf_init(&key_text, 0);
    enum err_code code = ERR_OK;
    while (code == ERR_OK) {
        err_clear(err);
        struct cols_batch *b = engine_result_next(p->rows, err);
        if (b == NULL) {
            code = err->code;
            break;
        }
        code = send_batch(p, b, &value, &key_text, err);
        cols_batch_free(b);
    }
    do {
        if (code == ERR_OK || code == ERR_TIMEOUT) code = client_producer_flush(p->producer, 200, err);
        show_progress(p, false);
    } while (code == ERR_TIMEOUT);
    show_progress(p, true);
    buf_fini(&value);
    buf_fini(&key_text);
    return code;
}

static enum err_code open_producer(struct produce *p, struct err *err) {
    const char *given[SETTINGS_MAX];
    struct client_kv settings[SETTINGS_MAX + 1] = {{"compression.type", "lz4"}};
    size_t n = cli_opt_all(p->c, "set", given, SETTINGS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct str name, value;
        if (!str_cut(str_c(given[i]), '=', &name, &value)) return err_set(err, ERR_INVALID, "--set %s: key=value is expected", given[i]);
        settings[i + 1] = (struct client_kv){arena_strndup(&p->c->arena, name.p, name.n), arena_strndup(&p->c->arena, value.p, value.n)};
    }
    p->producer = client_producer_open(&p->at, settings, n + 1, err);
    return p->producer == NULL ? err->code : ERR_OK;
}

static enum err_code run_steps(struct produce *p, struct err *err) {
    struct cli *c = p->c;
    p->key = cli_opt(c, "key");
    p->timestamp = cli_opt(c, "timestamp");
    p->subject = cli_opt(c, "subject");
    if (p->subject == NULL) p->subject = arena_printf(&c->arena, "%s-value", p->topic);
    enum err_code code = cli_target(c, &p->at, err);
    if (code == ERR_OK) code = cli_address(c, "registry", "http://127.0.0.1:8081", &p->registry, err);
    if (code == ERR_OK && cli_opt(c, "registry") != NULL) p->registry = cli_opt(c, "registry");
    if (code == ERR_OK) code = open_rows(p, err);
    if (code != ERR_OK) return code;
    const struct cols_schema *cols = engine_result_schema(p->rows);
    if (column_of(cols, "key", p->key, &p->key_column, err) != ERR_OK) return err->code;
    if (column_of(cols, "timestamp", p->timestamp, &p->time_column, err) != ERR_OK) return err->code;
    if (p->time_column >= 0 && cols->fields[p->time_column].type.kind != COLS_TIMESTAMP && cols->fields[p->time_column].type.kind != COLS_DATE)
        return err_set(err, ERR_INVALID, "--timestamp %s: the column is %s, a timestamp or date is expected", p->timestamp,
                       cols_kind_name(cols->fields[p->time_column].type.kind));
    code = make_topic(p, err);
    if (code == ERR_OK) code = register_schema(p, err);
    if (code == ERR_OK) code = open_producer(p, err);
    p->tty = sys_is_tty(2);
    p->started_us = sys_mono_us(c->sys);
    if (code == ERR_OK) code = send_all(p, err);
    if (code == ERR_OK && c->json)
        cli_print(c, "{\"topic\": \"%s\", \"records\": %" PRId64 ", \"seconds\": %.3f, \"schema_id\": %d}", p->topic, p->sent,
                  (double)(sys_mono_us(c->sys) - p->started_us) / 1e6, p->schema_id);
    return code;
}

static enum err_code run_produce(struct cli *c, struct err *err) {
    struct produce p = {.c = c, .file = c->args[0], .topic = cli_opt(c, "topic")};
    if (p.topic == NULL) return err_set(err, ERR_INVALID, "--topic is missing: millrace produce --topic NAME FILE");
    enum err_code code = run_steps(&p, err);
    client_producer_close(p.producer);
    avro_encoder_free(p.encoder);
    engine_result_free(p.rows);
    if (p.session != NULL) engine_session_close(p.session);
    if (p.engine != NULL) engine_close(p.engine);
    return code;
}

static const struct cli_option options[] = {
    {"topic", 't', "TOPIC", "where to; made when it is not there"},
    {"key", 'k', "COLUMN", "column that becomes the record's key, as text; keys decide the partition"},
    {"timestamp", 0, "COLUMN", "column (timestamp or date) that becomes the record's time; else now"},
    {"partitions", 'p', "N", "partitions of a topic that is made"},
    {"format", 'f', "FORMAT", "parquet, csv or json (JSON lines); else by the file's ending"},
    {"limit", 'n', "ROWS", "only the first rows"},
    {"subject", 0, "SUBJECT", "the registry's subject; else TOPIC-value"},
    CLI_BROKERS,
    {"registry", 0, "URL", "any Confluent-compatible registry; else this server's"},
    {"set", 0, "KEY=VALUE", "a setting of librdkafka, such as compression.type=zstd; may be repeated"},
    {0},
};

const struct cli_command cli_produce;
const struct cli_command cli_produce = {
    .name = "produce",
    .args = "FILE",
    .summary = "send a file's rows as Avro events to a topic",
    .help = "Reads Parquet, CSV or JSON lines, derives an Avro schema from the columns, registers it, and sends every row as one event in the\n"
            "registry's wire format, idempotent and acknowledged by all replicas (acks=all). Works against any Kafka and any registry.",
    .examples = "# three million flights, keyed by origin, at the flight's own time\n"
                "millrace produce --topic flights --partitions 6 --key origin --timestamp date flights-3m.parquet\n"
                "# to another Kafka\n"
                "millrace produce --topic orders --brokers kafka1:9092 --registry http://registry:8081 orders.csv",
    .options = options,
    .is_client = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_produce,
};
