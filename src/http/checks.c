// SPDX-License-Identifier: Apache-2.0
// Results of data quality checks, as quality/ stored them: DIR/checks/SCHEMA.TABLE/TIME.json, GX's result JSON. Request's thread; reads files.
// A name from outside is only ever compared with the names in a folder: no path is made of it.
#include "http/api.h"

enum { RESULT_MAX = 64 << 20 };

// Is `name` in the folder? Then its path, in the arena.
static const char *find_entry(struct httpd_request *r, const char *dir, const char *name, const char *suffix) {
    struct sys_list names = {0};
    const char *path = NULL, *wanted = arena_printf(r->arena, "%s%s", name, suffix);
    if (sys_list_dir(api_door(r)->server->sys, dir, &names, NULL) != ERR_OK) return NULL;
    for (size_t i = 0; i < names.n; i++)
        if (strcmp(names.names[i], wanted) == 0) path = arena_printf(r->arena, "%s/%s", dir, wanted);
    sys_list_free(&names);
    return path;
}

static const char *checks_dir(struct httpd_request *r) { return arena_printf(r->arena, "%s/checks", api_door(r)->server->dir); }

static const char *table_dir(struct httpd_request *r, struct err *err) {
    const char *table = httpd_param(r, "table"), *dir = find_entry(r, checks_dir(r), table, "");
    if (dir == NULL) err_set(err, ERR_NOT_FOUND, "table %.200s was not checked yet", table);
    return dir;
}

static json_t *read_result(struct httpd_request *r, const char *path, struct err *err) {
    size_t n;
    char *text = sys_read_file(api_door(r)->server->sys, path, RESULT_MAX, &n, err);
    json_t *j = text == NULL ? NULL : json_parse(str_n(text, n), err);
    mem_free(text);
    return j;
}

// One line of the list: without the expectations.
static json_t *summary_of(const char *table, struct str time, const json_t *result) {
    json_t *o = json_pack("{s:s, s:o}", "table", table, "time", json_of_str(time));
    static const char *const fields[] = {"success", "statistics", "suite_name", "meta"};
    for (size_t i = 0; i < API_COUNT(fields); i++) {
        json_t *v = json_object_get(result, fields[i]);
        json_object_set(o, fields[i], v == NULL ? json_null() : v);
    }
    return o;
}

static struct str time_of(const char *file) { // "2026-01-31T120000.json"
    struct str s = str_c(file);
    return str_ends(s, STR(".json")) ? str_n(s.p, s.n - 5) : s;
}

enum err_code http_checks(struct httpd_request *r, struct err *err) {
    struct sys *sys = api_door(r)->server->sys;
    struct sys_list tables = {0};
    json_t *rows = json_array();
    if (sys_list_dir(sys, checks_dir(r), &tables, NULL) == ERR_OK)
        for (size_t i = 0; i < tables.n; i++) {
            struct sys_list files = {0};
            const char *dir = arena_printf(r->arena, "%s/%s", checks_dir(r), tables.names[i]);
            if (sys_list_dir(sys, dir, &files, NULL) != ERR_OK || files.n == 0) {
                sys_list_free(&files);
                continue;
            }
            const char *newest = files.names[files.n - 1]; // names are times
            json_t *result = read_result(r, arena_printf(r->arena, "%s/%s", dir, newest), err);
            if (result != NULL) json_array_append_new(rows, summary_of(tables.names[i], time_of(newest), result));
            json_decref(result);
            sys_list_free(&files);
        }
    sys_list_free(&tables);
    return api_reply_list(r, "checks", rows, (int64_t)json_array_size(rows));
}

// The results of one table, the newest first.
enum err_code http_checks_of_table(struct httpd_request *r, struct err *err) {
    const char *dir = table_dir(r, err);
    struct sys_list files = {0};
    struct flow_page page;
    enum err_code code = dir == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = sys_list_dir(api_door(r)->server->sys, dir, &files, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = files.n - (size_t)(page.offset < (int64_t)files.n ? page.offset : (int64_t)files.n); i-- > 0;) {
        if ((int64_t)json_array_size(rows) == page.limit) break;
        json_t *result = read_result(r, arena_printf(r->arena, "%s/%s", dir, files.names[i]), err);
        if (result != NULL) json_array_append_new(rows, summary_of(httpd_param(r, "table"), time_of(files.names[i]), result));
        json_decref(result);
    }
    int64_t total = (int64_t)files.n;
    sys_list_free(&files);
    return api_reply_list(r, "checks", rows, total);
}

// One result whole; the time may be "latest".
enum err_code http_check_result(struct httpd_request *r, struct err *err) {
    const char *dir = table_dir(r, err), *time = httpd_param(r, "time"), *path = NULL;
    struct sys_list files = {0};
    if (dir == NULL) return err->code;
    if (strcmp(time, "latest") != 0) {
        path = find_entry(r, dir, time, ".json");
    } else if (sys_list_dir(api_door(r)->server->sys, dir, &files, NULL) == ERR_OK) {
        if (files.n > 0) path = arena_printf(r->arena, "%s/%s", dir, files.names[files.n - 1]);
        sys_list_free(&files);
    }
    if (path == NULL) return err_set(err, ERR_NOT_FOUND, "there is no result %.100s of table %.200s", time, httpd_param(r, "table"));
    json_t *result = read_result(r, path, err);
    return result == NULL ? err->code : httpd_reply_json(r, 200, result);
}
