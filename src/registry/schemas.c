// SPDX-License-Identifier: Apache-2.0
// What is found by id or over all subjects, and what the registry says of itself.
#include "registry/api.h"

enum err_code reg_root(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_object());
}

enum err_code reg_types(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_pack("[s]", "AVRO"));
}

enum err_code reg_contexts(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_pack("[s]", "."));
}

enum err_code reg_meta_id(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_pack("{s:s, s:{s:[], s:{s:s, s:s}}}", "id", "millrace", "scope", "path", "clusters", "kafka-cluster", "millrace",
                                  "schema-registry-cluster", "schema-registry"));
}

enum err_code reg_meta_version(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_pack("{s:s, s:s}", "version", "7.9.0-millrace", "commitId", ""));
}

// Subjects are found by name alone here; nothing is ever associated.
enum err_code reg_no_associations(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_reply(r, json_array());
}

enum err_code reg_not_supported(struct httpd_request *r, struct err *err) {
    (void)err;
    return reg_api_fault(r, SUBJECTS_NOT_SUPPORTED,
                         arena_printf(r->arena, "%s %.200s is not supported by Millrace (docs/LIMITS.md)", r->method, r->path));
}

enum err_code reg_schemas(struct httpd_request *r, struct err *err) {
    (void)err;
    bool deleted, latest;
    struct subjects_schema *all;
    size_t from, to;
    if (!reg_api_flag(r, "deleted", &deleted) || !reg_api_flag(r, "latestOnly", &latest)) return ERR_OK;
    size_t n = subjects_all(reg_api_subjects(r), httpd_query(r, "subjectPrefix"), deleted, latest, r->arena, &all);
    if (!reg_api_page(r, n, &from, &to)) return ERR_OK;
    json_t *list = json_array();
    for (size_t i = from; i < to; i++) json_array_append_new(list, reg_api_schema_json(&all[i], true));
    return reg_api_reply(r, list);
}

// The schema of the path's id; with ?subject it must be used there. false: the answer is written.
static bool find(struct httpd_request *r, struct subjects_schema *v) {
    struct err err;
    int32_t id;
    if (!reg_api_id(r, &id)) return false;
    int code = subjects_get_id(reg_api_subjects(r), id, r->arena, v, &err);
    if (code == SUBJECTS_OK) return true;
    reg_api_fault(r, code, err.msg);
    return false;
}

enum err_code reg_by_id(struct httpd_request *r, struct err *err) {
    (void)err;
    bool max_id;
    struct subjects_schema v;
    if (!reg_api_flag(r, "fetchMaxId", &max_id) || !find(r, &v)) return ERR_OK;
    v.deleted = false;
    json_t *j = reg_api_schema_json(&v, false);
    if (max_id) json_object_set_new(j, "maxId", json_integer(subjects_max_id(reg_api_subjects(r))));
    return reg_api_reply(r, j);
}

enum err_code reg_id_schema(struct httpd_request *r, struct err *err) {
    (void)err;
    struct subjects_schema v;
    return find(r, &v) ? reg_api_schema_text(r, &v) : ERR_OK;
}

static enum err_code uses(struct httpd_request *r, bool pairs) {
    struct subjects_schema v, *all;
    bool deleted;
    const char *subject = httpd_query(r, "subject");
    if (!reg_api_flag(r, "deleted", &deleted) || !find(r, &v)) return ERR_OK;
    size_t n = subjects_uses(reg_api_subjects(r), v.id, deleted, r->arena, &all);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (subject != NULL && strcmp(subject, all[i].subject) != 0) continue;
        json_t *name = json_of_str(str_c(all[i].subject));
        if (pairs) json_array_append_new(list, json_pack("{s:o, s:i}", "subject", name, "version", (int)all[i].version));
        else if (i == 0 || strcmp(all[i - 1].subject, all[i].subject) != 0) json_array_append_new(list, name);
        else json_decref(name);
    }
    return reg_api_reply(r, list);
}

enum err_code reg_id_subjects(struct httpd_request *r, struct err *err) {
    (void)err;
    return uses(r, false);
}

enum err_code reg_id_versions(struct httpd_request *r, struct err *err) {
    (void)err;
    return uses(r, true);
}
