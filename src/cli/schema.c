// SPDX-License-Identifier: Apache-2.0
// `millrace schema`: subjects and schemas of any Confluent-compatible registry.
#include <inttypes.h>

#include "cli/cli.h"
#include "client/http.h"

enum { SCHEMA_MAX = 1 << 20 };

static enum err_code call(struct cli *c, const char *method, const char *path, const json_t *body, json_t **out, struct err *err) {
    struct client_http http = {.base = cli_opt(c, "registry")};
    if (http.base == NULL && cli_address(c, "registry", "http://127.0.0.1:8081", &http.base, err) != ERR_OK) return err->code;
    return client_http_json(&http, method, path, body, out, NULL, err);
}

static const char *subject_path(struct cli *c, const char *subject, const char *rest) {
    return arena_printf(&c->arena, "/subjects/%s%s", client_http_escape(&c->arena, subject), rest);
}

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"subject", "versions", "newest_id"};
    json_t *subjects;
    enum err_code code = call(c, "GET", "/subjects", NULL, &subjects, err);
    if (code != ERR_OK) return code;
    size_t n = json_array_size(subjects);
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 3);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        json_t *versions = NULL, *newest = NULL;
        cells[i * 3] = arena_strdup(&c->arena, json_string_value(json_array_get(subjects, i)));
        code = call(c, "GET", subject_path(c, cells[i * 3], "/versions"), NULL, &versions, err);
        if (code == ERR_OK) code = call(c, "GET", subject_path(c, cells[i * 3], "/versions/latest"), NULL, &newest, err);
        cells[i * 3 + 1] = arena_printf(&c->arena, "%zu", json_array_size(versions));
        cells[i * 3 + 2] = arena_printf(&c->arena, "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(newest, "id")));
        json_decref(versions);
        json_decref(newest);
    }
    json_decref(subjects);
    if (code == ERR_OK) cli_print_rows(c, names, "tnn", 3, cells, n);
    return code;
}

static void print_schema(struct cli *c, json_t *j) {
    struct buf b;
    buf_init(&b, 0);
    json_t *schema = json_parse(str_c(json_string_value(json_object_get(j, "schema"))), NULL);
    json_write(c->json || schema == NULL ? j : schema, JSON_INDENT(2), &b);
    cli_print(c, "%s", buf_cstr(&b));
    json_decref(schema);
    buf_fini(&b);
}

static enum err_code run_get(struct cli *c, struct err *err) {
    json_t *j;
    int64_t id;
    const char *version = cli_opt(c, "version");
    bool by_id = str_to_i64(str_c(c->args[0]), &id);
    const char *rest = arena_printf(&c->arena, "/versions/%s", version == NULL ? "latest" : client_http_escape(&c->arena, version));
    const char *path = by_id ? arena_printf(&c->arena, "/schemas/ids/%" PRId64, id) : subject_path(c, c->args[0], rest);
    enum err_code code = call(c, "GET", path, NULL, &j, err);
    if (code == ERR_OK) print_schema(c, j);
    if (code == ERR_OK) json_decref(j);
    return code;
}

static enum err_code send_schema(struct cli *c, const char *path, json_t **out, struct err *err) {
    char *text = sys_read_file(c->sys, c->args[1], SCHEMA_MAX, NULL, err);
    if (text == NULL) return err->code;
    json_t *body = json_pack("{s:s}", "schema", text);
    enum err_code code = call(c, "POST", path, body, out, err);
    json_decref(body);
    mem_free(text);
    return code;
}

static enum err_code run_register(struct cli *c, struct err *err) {
    json_t *j;
    enum err_code code = send_schema(c, subject_path(c, c->args[0], "/versions"), &j, err);
    if (code != ERR_OK) return code;
    cli_print(c, "{\"id\": %" JSON_INTEGER_FORMAT "}", json_integer_value(json_object_get(j, "id")));
    json_decref(j);
    return ERR_OK;
}

static enum err_code run_check(struct cli *c, struct err *err) {
    json_t *j;
    const char *path = arena_printf(&c->arena, "/compatibility%s?verbose=true", subject_path(c, c->args[0], "/versions/latest"));
    enum err_code code = send_schema(c, path, &j, err);
    if (code != ERR_OK) return code;
    bool ok = json_is_true(json_object_get(j, "is_compatible"));
    const char *why = json_string_value(json_array_get(json_object_get(j, "messages"), 0));
    if (ok) cli_print(c, "compatible");
    else code = err_set(err, ERR_INCOMPATIBLE, "not compatible with the newest schema of '%s': %s", c->args[0], why == NULL ? "no reason was given" : why);
    json_decref(j);
    return code;
}

static enum err_code run_delete(struct cli *c, struct err *err) {
    json_t *j = NULL;
    const char *path = subject_path(c, c->args[0], "");
    enum err_code code = call(c, "DELETE", path, NULL, &j, err);
    json_decref(j);
    if (cli_flag(c, "permanent") && (code == ERR_OK || code == ERR_NOT_FOUND)) { // soft-deleted before: what is left to do is the rest
        err_clear(err);
        code = call(c, "DELETE", arena_printf(&c->arena, "%s?permanent=true", path), NULL, &j, err);
        if (code == ERR_OK) json_decref(j);
    }
    return code;
}

#define REGISTRY {"registry", 0, "URL", "any Confluent-compatible registry; else this server's"}
static const struct cli_option options[] = {REGISTRY, {0}};
static const struct cli_option get_options[] = {{"version", 0, "N", "a version of the subject; else the newest"}, REGISTRY, {0}};
static const struct cli_option delete_options[] = {{"permanent", 0, NULL, "also the soft-deleted versions, for ever"}, REGISTRY, {0}};

static const struct cli_command list = {
    .name = "list", .args = "", .summary = "subjects with their versions", .options = options, .is_client = true,
    .examples = "millrace schema list\nmillrace schema list --output json",
    .run = run_list};
static const struct cli_command get = {.name = "get", .args = "SUBJECT|ID", .summary = "print a schema", .options = get_options, .is_client = true,
    .min_args = 1, .max_args = 1, .examples = "millrace schema get flights-value\nmillrace schema get 1", .run = run_get};
static const struct cli_command add = {.name = "register", .args = "SUBJECT FILE", .summary = "register an Avro schema", .options = options,
    .is_client = true, .min_args = 2, .max_args = 2, .examples = "millrace schema register orders-value orders.avsc", .run = run_register};
static const struct cli_command check = {.name = "check", .args = "SUBJECT FILE", .summary = "is this schema compatible with the subject's newest?",
    .options = options, .is_client = true, .min_args = 2, .max_args = 2,
    .examples = "# before a producer is changed: would the registry take its new schema?\nmillrace schema check orders-value orders-v2.avsc",
    .run = run_check};
static const struct cli_command drop = {.name = "delete", .args = "SUBJECT", .summary = "delete a subject", .options = delete_options, .is_client = true,
    .min_args = 1, .max_args = 1, .examples = "millrace schema delete orders-value\nmillrace schema delete orders-value --permanent",
    .run = run_delete};
static const struct cli_command *const subs[] = {&list, &get, &add, &check, &drop, NULL};

const struct cli_command cli_schema;
const struct cli_command cli_schema = {
    .name = "schema",
    .args = "",
    .summary = "subjects and schemas of the registry",
    .examples = "millrace schema list\nmillrace schema get flights-value",
    .is_client = true,
    .subs = subs,
};
