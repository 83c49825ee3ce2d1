// SPDX-License-Identifier: Apache-2.0
// `millrace consume`: prints a topic's events of any Kafka, Avro values decoded by any registry.
#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "client/http.h"
#include "client/kafka.h"
#include "schema/avro.h"

enum { POLL_MS = 100, WIRE_HEADER = 5, SETTINGS_MAX = 32 };

struct consume {
    struct cli *c;
    const char *registry; // NULL: values are text
    struct map decoders;  // schema id as text -> struct decoder
};

struct decoder {
    struct avro_decoder *avro; // NULL: not decodable
    struct cols_builder *builder;
};

static struct decoder *decoder_of(struct consume *k, int32_t id) {
    const char *key = arena_printf(&k->c->arena, "%d", id);
    struct decoder *d = map_getc(&k->decoders, key);
    if (d != NULL) return d;
    struct err err = {0};
    struct client_http http = {.base = k->registry};
    json_t *j = NULL;
    d = MEM_NEW(struct decoder);
    map_put(&k->decoders, str_c(key), d);
    if (client_http_json(&http, "GET", arena_printf(&k->c->arena, "/schemas/ids/%d", id), NULL, &j, NULL, &err) == ERR_OK) {
        const char *text = json_string_value(json_object_get(j, "schema"));
        const struct avro_schema *schema = text == NULL ? NULL : avro_schema_parse(str_c(text), &k->c->arena, &err);
        if (schema != NULL) d->avro = avro_decoder_new(schema, NULL, &err);
        if (d->avro != NULL) d->builder = cols_builder_new(avro_decoder_schema(d->avro), 1);
        json_decref(j);
    }
    if (d->avro == NULL) cli_note(k->c, "schema %d: %s; its values are shown as bytes", id, err.msg);
    return d;
}

static void put_text(struct buf *out, struct str s) {
    if (str_utf8_ok(s)) {
        json_put_str(out, s);
        return;
    }
    buf_puts(out, "\"\\\\x");
    for (size_t i = 0; i < s.n; i++) buf_printf(out, "%02x", (uint8_t)s.p[i]);
    buf_put_u8(out, '"');
}

static void put_value(struct consume *k, struct str value, struct buf *out) {
    if (k->registry != NULL && value.n >= WIRE_HEADER && value.p[0] == 0) {
        struct rd r = rd_of(value.p + 1, 4);
        struct decoder *d = decoder_of(k, (int32_t)rd_be32(&r));
        if (d->avro != NULL && avro_decode(d->avro, (struct str){value.p + WIRE_HEADER, value.n - WIRE_HEADER}, d->builder, NULL) == ERR_OK) {
            struct cols_batch *b = cols_builder_finish(d->builder);
            cols_row_json(b, 0, out);
            cols_batch_free(b);
            return;
        }
    }
    put_text(out, value);
}

// One line of JSON per event; with --values only the value.
static void print_event(struct consume *k, const struct client_message *m) {
    struct buf b;
    buf_init(&b, 0);
    bool whole = !cli_flag(k->c, "values");
    if (whole) {
        buf_printf(&b, "{\"partition\": %d, \"offset\": %" PRId64 ", \"timestamp\": %" PRId64 ", \"key\": ", m->partition, m->offset, m->timestamp_ms);
        if (m->key_null) buf_puts(&b, "null");
        else put_text(&b, m->key);
        buf_puts(&b, ", \"value\": ");
    }
    if (m->value_null) buf_puts(&b, "null");
    else put_value(k, m->value, &b);
    buf_puts(&b, whole ? "}\n" : "\n");
    sys_stdout_write(buf_str(&b));
    buf_fini(&b);
}

static enum err_code number_option(struct cli *c, const char *name, int64_t otherwise, int64_t *out, struct err *err) {
    const char *text = cli_opt(c, name);
    *out = otherwise;
    if (text == NULL || (str_to_i64(str_c(text), out) && *out >= 0)) return ERR_OK;
    return err_set(err, ERR_INVALID, "--%s %s: a number is expected", name, text);
}

static enum err_code read_events(struct consume *k, struct client_consumer *consumer, int64_t max, struct err *err) {
    bool follow = cli_flag(k->c, "follow"), at_end = false;
    for (int64_t n = 0; max < 0 || n < max;) {
        struct client_message m;
        if (client_consume(consumer, POLL_MS, &m, &at_end, err)) {
            print_event(k, &m);
            n++;
        } else if (err->code != ERR_OK) return err->code;
        else if (at_end && !follow) break;
    }
    return ERR_OK;
}

static enum err_code run_consume(struct cli *c, struct err *err) {
    struct consume k = {.c = c};
    const char *from = cli_opt(c, "offset"), *given[SETTINGS_MAX];
    struct client_kv settings[SETTINGS_MAX];
    int64_t max, partition, offset = CLIENT_OFFSET_BEGINNING;
    struct client_target at;
    if (cli_target(c, &at, err) != ERR_OK) return err->code;
    k.registry = cli_opt(c, "registry");
    if (k.registry == NULL && cli_address(c, "registry", "http://127.0.0.1:8081", &k.registry, err) != ERR_OK) return err->code;
    if (cli_flag(c, "raw")) k.registry = NULL;
    if (number_option(c, "limit", -1, &max, err) != ERR_OK || number_option(c, "partition", -1, &partition, err) != ERR_OK) return err->code;
    if (from != NULL && strcmp(from, "end") == 0) offset = CLIENT_OFFSET_END;
    else if (from != NULL && strcmp(from, "beginning") != 0 && (!str_to_i64(str_c(from), &offset) || offset < 0))
        return err_set(err, ERR_INVALID, "--offset %s: beginning, end or a number is expected", from);
    size_t n = cli_opt_all(c, "set", given, SETTINGS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct str name, value;
        if (!str_cut(str_c(given[i]), '=', &name, &value)) return err_set(err, ERR_INVALID, "--set %s: key=value is expected", given[i]);
        settings[i] = (struct client_kv){arena_strndup(&c->arena, name.p, name.n), arena_strndup(&c->arena, value.p, value.n)};
    }
    struct client_consumer *consumer = client_consumer_open(&at, c->args[0], (int32_t)partition, offset, cli_opt(c, "group"), settings, n, err);
    if (consumer == NULL) return err->code;
    map_init(&k.decoders);
    enum err_code code = read_events(&k, consumer, max, err);
    client_consumer_close(consumer);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&k.decoders, &it)) != NULL;) {
        struct decoder *d = e->value;
        if (d->builder != NULL) cols_builder_free(d->builder);
        avro_decoder_free(d->avro);
        mem_free(d);
    }
    map_fini(&k.decoders);
    return code;
}

static const struct cli_option options[] = {
    {"group", 'g', "GROUP", "join a consumer group and commit what was read"},
    {"offset", 'o', "OFFSET", "beginning (default), end, or an offset; a group goes on where it was"},
    {"partition", 'p', "N", "only this partition"},
    {"limit", 'n', "N", "stop after so many events"},
    {"follow", 'f', NULL, "wait for more at the end"},
    {"values", 0, NULL, "print only the values"},
    {"raw", 0, NULL, "do not decode Avro values"},
    CLI_BROKERS,
    {"registry", 0, "URL", "any Confluent-compatible registry; else this server's"},
    {"set", 0, "KEY=VALUE", "a setting of librdkafka; may be repeated"},
    {0},
};

const struct cli_command cli_consume;
const struct cli_command cli_consume = {
    .name = "consume",
    .args = "TOPIC",
    .summary = "print a topic's events, Avro values as JSON",
    .help = "Prints a line of JSON per event and stops at the end of the topic. With a group, goes on where the group stopped; then\n"
            "--offset (beginning or end) says where to begin when the group has not read yet.",
    .examples = "millrace consume flights --limit 3\n"
                "# only the values, from an offset on\n"
                "millrace consume flights --values --partition 0 --offset 1000 --limit 5\n"
                "# wait for more\n"
                "millrace consume flights.dlq --follow\n"
                "# go on where the group stopped\n"
                "millrace consume orders --group billing",
    .options = options,
    .is_client = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_consume,
};
