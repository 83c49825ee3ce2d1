// SPDX-License-Identifier: Apache-2.0
// Subjects and versions: list, get, register, look up, delete, check.
#include "registry/api.h"

enum err_code reg_subjects(struct httpd_request *r, struct err *err) {
    (void)err;
    bool deleted, deleted_only;
    const char **names;
    size_t from, to;
    if (!reg_api_flag(r, "deleted", &deleted) || !reg_api_flag(r, "deletedOnly", &deleted_only)) return ERR_OK;
    size_t n = subjects_list(reg_api_subjects(r), httpd_query(r, "subjectPrefix"), deleted, deleted_only, r->arena, &names);
    if (!reg_api_page(r, n, &from, &to)) return ERR_OK;
    json_t *list = json_array();
    for (size_t i = from; i < to; i++) json_array_append_new(list, json_of_str(str_c(names[i])));
    return reg_api_reply(r, list);
}

enum err_code reg_versions(struct httpd_request *r, struct err *err) {
    bool deleted, deleted_only;
    int32_t *versions;
    size_t n;
    if (!reg_api_flag(r, "deleted", &deleted) || !reg_api_flag(r, "deletedOnly", &deleted_only)) return ERR_OK;
    int code = subjects_versions(reg_api_subjects(r), reg_api_subject(r), deleted, deleted_only, r->arena, &versions, &n, err);
    return code == SUBJECTS_OK ? reg_api_versions(r, versions, n) : reg_api_fault(r, code, err->msg);
}

// The version that the path names. false: the answer is written.
static bool find(struct httpd_request *r, struct subjects_schema *v) {
    struct err err;
    int32_t version;
    bool deleted;
    if (!reg_api_version(r, &version) || !reg_api_flag(r, "deleted", &deleted)) return false;
    int code = subjects_get(reg_api_subjects(r), reg_api_subject(r), version, deleted, r->arena, v, &err);
    if (code == SUBJECTS_OK) return true;
    reg_api_fault(r, code, err.msg);
    return false;
}

enum err_code reg_version(struct httpd_request *r, struct err *err) {
    (void)err;
    struct subjects_schema v;
    return find(r, &v) ? reg_api_reply(r, reg_api_schema_json(&v, true)) : ERR_OK;
}

enum err_code reg_version_schema(struct httpd_request *r, struct err *err) {
    (void)err;
    struct subjects_schema v;
    return find(r, &v) ? reg_api_schema_text(r, &v) : ERR_OK;
}

enum err_code reg_referenced_by(struct httpd_request *r, struct err *err) {
    int32_t version, *ids;
    size_t n;
    if (!reg_api_version(r, &version)) return ERR_OK;
    int code = subjects_referenced_by(reg_api_subjects(r), reg_api_subject(r), version, r->arena, &ids, &n, err);
    return code == SUBJECTS_OK ? reg_api_versions(r, ids, n) : reg_api_fault(r, code, err->msg);
}

static bool has_properties(const struct subjects_schema *v, const char *const *keys, const char *const *values, size_t n) {
    json_t *metadata = v->metadata.n == 0 ? NULL : json_parse(v->metadata, NULL);
    const json_t *properties = json_object_get(metadata, "properties");
    bool all = true;
    for (size_t i = 0; i < n && all; i++) all = str_eqc(json_get_str(properties, keys[i]), values[i]);
    json_decref(metadata);
    return all;
}

enum err_code reg_metadata(struct httpd_request *r, struct err *err) { // the newest version that has these properties
    const char *keys[16], *values[16];
    bool deleted;
    int32_t *versions;
    size_t n, n_keys = httpd_query_all(r, "key", keys, 16), n_values = httpd_query_all(r, "value", values, 16);
    if (!reg_api_flag(r, "deleted", &deleted)) return ERR_OK;
    if (n_keys != n_values || n_keys > 16) return reg_api_fault(r, 400, "as many key as value parameters, at most 16");
    int code = subjects_versions(reg_api_subjects(r), reg_api_subject(r), deleted, false, r->arena, &versions, &n, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    while (n-- > 0) {
        struct subjects_schema v;
        if (subjects_get(reg_api_subjects(r), reg_api_subject(r), versions[n], deleted, r->arena, &v, err) != SUBJECTS_OK) continue;
        if (has_properties(&v, keys, values, n_keys)) return reg_api_reply(r, reg_api_schema_json(&v, true));
    }
    return reg_api_fault(r, SUBJECTS_NO_SCHEMA, "Schema not found");
}

// ---- schemas in the body --------------------------------------------------------------------------------------------------------------
enum err_code reg_register(struct httpd_request *r, struct err *err) {
    json_t *body;
    struct subjects_new in;
    struct subjects_schema out;
    int code;
    if (reg_api_new(r, &body, &in)) {
        code = subjects_register(reg_api_subjects(r), reg_api_subject(r), &in, r->arena, &out, err);
        if (code == SUBJECTS_OK) reg_api_reply(r, json_pack("{s:i}", "id", (int)out.id));
        else reg_api_fault(r, code, err->msg);
    }
    json_decref(body);
    return ERR_OK;
}

enum err_code reg_lookup(struct httpd_request *r, struct err *err) {
    json_t *body = NULL;
    struct subjects_new in;
    struct subjects_schema out;
    bool deleted;
    if (reg_api_flag(r, "deleted", &deleted) && reg_api_new(r, &body, &in)) {
        int code = subjects_lookup(reg_api_subjects(r), reg_api_subject(r), &in, deleted, r->arena, &out, err);
        if (code == SUBJECTS_OK) reg_api_reply(r, reg_api_schema_json(&out, true));
        else reg_api_fault(r, code, err->msg);
    }
    json_decref(body);
    return ERR_OK;
}

static enum err_code check(struct httpd_request *r, int32_t version, struct err *err) {
    json_t *body = NULL;
    struct subjects_new in;
    bool verbose, compatible;
    const char **messages;
    size_t n;
    if (reg_api_flag(r, "verbose", &verbose) && reg_api_new(r, &body, &in)) {
        int code = subjects_check(reg_api_subjects(r), reg_api_subject(r), version, &in, r->arena, &compatible, &messages, &n, err);
        if (code == SUBJECTS_OK) {
            json_t *j = json_pack("{s:b}", "is_compatible", (int)compatible), *list = json_array();
            for (size_t i = 0; i < n; i++) json_array_append_new(list, json_of_str(str_c(messages[i])));
            if (verbose) json_object_set(j, "messages", list);
            json_decref(list);
            reg_api_reply(r, j);
        } else {
            reg_api_fault(r, code, err->msg);
        }
    }
    json_decref(body);
    return ERR_OK;
}

enum err_code reg_check_all(struct httpd_request *r, struct err *err) { return check(r, SUBJECTS_ALL, err); }

enum err_code reg_check_version(struct httpd_request *r, struct err *err) {
    int32_t version;
    return reg_api_version(r, &version) ? check(r, version, err) : ERR_OK;
}

// ---- delete -----------------------------------------------------------------------------------------------------------------------------
static enum err_code delete(struct httpd_request *r, int32_t version, struct err *err) {
    bool permanent;
    int32_t *versions;
    size_t n;
    if (!reg_api_flag(r, "permanent", &permanent)) return ERR_OK;
    int code = subjects_delete(reg_api_subjects(r), reg_api_subject(r), version, permanent, r->arena, &versions, &n, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    return version == SUBJECTS_ALL ? reg_api_versions(r, versions, n) : reg_api_reply(r, json_integer(versions[0]));
}

enum err_code reg_delete_subject(struct httpd_request *r, struct err *err) { return delete(r, SUBJECTS_ALL, err); }

enum err_code reg_delete_version(struct httpd_request *r, struct err *err) {
    int32_t version;
    return reg_api_version(r, &version) ? delete(r, version, err) : ERR_OK;
}
