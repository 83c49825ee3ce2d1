// SPDX-License-Identifier: Apache-2.0
// The door: the table of routes, Confluent's form of errors, parameters.
#include "registry/door.h"

#include "registry/api.h"

struct registry_door {
    struct httpd *httpd;
};

static const struct httpd_route routes[] = {
    {"GET", "/", reg_root, NULL},
    {"GET", "/schemas", reg_schemas, NULL},
    {"GET", "/schemas/types", reg_types, NULL},
    {"GET", "/schemas/ids/{id}", reg_by_id, NULL},
    {"GET", "/schemas/ids/{id}/schema", reg_id_schema, NULL},
    {"GET", "/schemas/ids/{id}/subjects", reg_id_subjects, NULL},
    {"GET", "/schemas/ids/{id}/versions", reg_id_versions, NULL},
    {"*", "/schemas/guids/{rest*}", reg_not_supported, NULL},
    {"GET", "/subjects", reg_subjects, NULL},
    {"GET", "/subjects/", reg_subjects, NULL},
    {"POST", "/subjects/{subject}", reg_lookup, NULL},
    {"DELETE", "/subjects/{subject}", reg_delete_subject, NULL},
    {"GET", "/subjects/{subject}/versions", reg_versions, NULL},
    {"POST", "/subjects/{subject}/versions", reg_register, NULL},
    {"GET", "/subjects/{subject}/metadata", reg_metadata, NULL},
    {"GET", "/subjects/{subject}/versions/{version}", reg_version, NULL},
    {"DELETE", "/subjects/{subject}/versions/{version}", reg_delete_version, NULL},
    {"GET", "/subjects/{subject}/versions/{version}/schema", reg_version_schema, NULL},
    {"GET", "/subjects/{subject}/versions/{version}/referencedby", reg_referenced_by, NULL},
    {"POST", "/subjects/{subject}/versions/{version}/tags", reg_not_supported, NULL},
    {"POST", "/compatibility/subjects/{subject}/versions", reg_check_all, NULL},
    {"POST", "/compatibility/subjects/{subject}/versions/{version}", reg_check_version, NULL},
    {"GET", "/config", reg_get_config, "global"},
    {"GET", "/config/", reg_get_config, "global"},
    {"PUT", "/config", reg_put_config, "global"},
    {"PUT", "/config/", reg_put_config, "global"},
    {"DELETE", "/config", reg_delete_config, "global"},
    {"GET", "/config/{subject}", reg_get_config, NULL},
    {"PUT", "/config/{subject}", reg_put_config, NULL},
    {"DELETE", "/config/{subject}", reg_delete_config, NULL},
    {"GET", "/mode", reg_get_mode, "global"},
    {"GET", "/mode/", reg_get_mode, "global"},
    {"PUT", "/mode", reg_put_mode, "global"},
    {"PUT", "/mode/", reg_put_mode, "global"},
    {"DELETE", "/mode", reg_delete_mode, "global"},
    {"GET", "/mode/{subject}", reg_get_mode, NULL},
    {"PUT", "/mode/{subject}", reg_put_mode, NULL},
    {"DELETE", "/mode/{subject}", reg_delete_mode, NULL},
    {"GET", "/contexts", reg_contexts, NULL},
    {"DELETE", "/contexts/{rest*}", reg_not_supported, NULL},
    {"GET", "/v1/metadata/id", reg_meta_id, NULL},
    {"GET", "/v1/metadata/version", reg_meta_version, NULL},
    {"*", "/v1/metadata/{rest*}", reg_not_supported, NULL},
    {"GET", "/associations/resources/{rest*}", reg_no_associations, NULL}, // newer clients ask before each new topic
    {"*", "/associations", reg_not_supported, NULL},
    {"*", "/associations/{rest*}", reg_not_supported, NULL},
    {"*", "/exporters", reg_not_supported, NULL},
    {"*", "/exporters/{rest*}", reg_not_supported, NULL},
    {"*", "/dek-registry/{rest*}", reg_not_supported, NULL},
    {"*", "/catalog/{rest*}", reg_not_supported, NULL},
};

// ---- answers ------------------------------------------------------------------------------------------------------------------------
enum err_code reg_api_reply(struct httpd_request *r, json_t *j) {
    httpd_reply_json(r, 200, j);
    r->content_type = API_CONTENT_TYPE;
    return ERR_OK;
}

enum err_code reg_api_fault(struct httpd_request *r, int code, const char *msg) {
    httpd_reply_json(r, code < 1000 ? code : code / 100, json_pack("{s:i, s:o}", "error_code", code, "message", json_of_str(str_c(msg))));
    r->content_type = API_CONTENT_TYPE;
    return ERR_OK;
}

// Errors of httpd itself, and of parameters.
static void format_error(struct httpd_request *r, int status, const struct err *err) {
    reg_api_fault(r, status, status == 404 && r->route == NULL ? "HTTP 404 Not Found" : err->msg);
}

enum err_code reg_api_versions(struct httpd_request *r, const int32_t *versions, size_t n) {
    size_t from, to;
    if (!reg_api_page(r, n, &from, &to)) return ERR_OK;
    json_t *list = json_array();
    for (size_t i = from; i < to; i++) json_array_append_new(list, json_integer(versions[i]));
    return reg_api_reply(r, list);
}

enum err_code reg_api_schema_text(struct httpd_request *r, const struct subjects_schema *v) { return httpd_reply(r, 200, API_CONTENT_TYPE, v->text); }

json_t *reg_api_schema_json(const struct subjects_schema *v, bool with_subject) {
    json_t *j = json_object();
    if (with_subject) {
        json_object_set_new(j, "subject", json_of_str(str_c(v->subject)));
        json_object_set_new(j, "version", json_integer(v->version));
        json_object_set_new(j, "id", json_integer(v->id));
    }
    if (strcmp(v->type, "AVRO") != 0) json_object_set_new(j, "schemaType", json_string(v->type));
    if (v->n_refs > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < v->n_refs; i++)
            json_array_append_new(list, json_pack("{s:o, s:o, s:i}", "name", json_of_str(str_c(v->refs[i].name)), "subject",
                                                  json_of_str(str_c(v->refs[i].subject)), "version", (int)v->refs[i].version));
        json_object_set_new(j, "references", list);
    }
    if (v->metadata.n > 0) json_object_set_new(j, "metadata", json_parse(v->metadata, NULL));
    if (v->rule_set.n > 0) json_object_set_new(j, "ruleSet", json_parse(v->rule_set, NULL));
    json_object_set_new(j, "schema", json_of_str(v->text));
    if (v->deleted) json_object_set_new(j, "deleted", json_true());
    return j;
}

// ---- parameters ---------------------------------------------------------------------------------------------------------------------
const char *reg_api_subject(struct httpd_request *r) {
    const char *s = httpd_param(r, "subject");
    return strncmp(s, ":.:", 3) == 0 ? s + 3 : s;
}

bool reg_api_version(struct httpd_request *r, int32_t *version) {
    const char *text = httpd_param(r, "version");
    int64_t v;
    *version = SUBJECTS_LATEST;
    if (strcmp(text, "latest") == 0 || strcmp(text, "-1") == 0) return true;
    if (str_to_i64(str_c(text), &v) && v >= 1 && v <= INT32_MAX) {
        *version = (int32_t)v;
        return true;
    }
    reg_api_fault(
        r, SUBJECTS_BAD_VERSION,
        arena_printf(r->arena,
                     "The specified version '%.60s' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"",
                     text));
    return false;
}

bool reg_api_id(struct httpd_request *r, int32_t *id) {
    int64_t v;
    if (str_to_i64(str_c(httpd_param(r, "id")), &v) && v >= 0 && v <= INT32_MAX) {
        *id = (int32_t)v;
        return true;
    }
    reg_api_fault(r, 404, "HTTP 404 Not Found");
    return false;
}

bool reg_api_flag(struct httpd_request *r, const char *name, bool *out) {
    struct err err;
    *out = false;
    if (httpd_query_bool(r, name, out, &err) >= 0) return true;
    reg_api_fault(r, 400, err.msg);
    return false;
}

bool reg_api_page(struct httpd_request *r, size_t n, size_t *from, size_t *to) {
    struct err err;
    int64_t offset = 0, limit = -1;
    if (httpd_query_i64(r, "offset", 0, INT32_MAX, &offset, &err) < 0 || httpd_query_i64(r, "limit", -1, INT32_MAX, &limit, &err) < 0) {
        reg_api_fault(r, 400, err.msg);
        return false;
    }
    *from = (size_t)offset < n ? (size_t)offset : n;
    *to = limit < 0 || (size_t)limit > n - *from ? n : *from + (size_t)limit;
    return true;
}

static struct str member_text(struct httpd_request *r, const json_t *body, const char *key) {
    const json_t *m = json_object_get(body, key);
    return json_is_object(m) ? json_text(m, JSON_COMPACT, r->arena) : (struct str){"", 0};
}

bool reg_api_new(struct httpd_request *r, json_t **body, struct subjects_new *out) {
    struct err err;
    *body = httpd_body_json(r, &err);
    if (*body == NULL || !json_is_object(*body)) {
        reg_api_fault(r, 400, *body == NULL ? err.msg : "the body must be a JSON object with \"schema\"");
        return false;
    }
    const json_t *list = json_object_get(*body, "references");
    size_t n = json_array_size(list);
    struct subjects_ref *refs = ARENA_ARRAY(r->arena, struct subjects_ref, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i);
        refs[i] = (struct subjects_ref){json_get_cstr(one, "name", ""), json_get_cstr(one, "subject", ""), (int32_t)json_get_i64(one, "version", -1)};
    }
    *out = (struct subjects_new){.text = json_get_str(*body, "schema"), .type = json_get_cstr(*body, "schemaType", NULL), .refs = refs, .n_refs = n};
    out->metadata = member_text(r, *body, "metadata");
    out->rule_set = member_text(r, *body, "ruleSet");
    if (out->rule_set.n == 0) out->rule_set = member_text(r, *body, "ruleset");
    int64_t id = json_get_i64(*body, "id", 0), version = json_get_i64(*body, "version", 0);
    out->id = id > 0 && id < INT32_MAX ? (int32_t)id : 0;
    out->version = version > 0 && version < INT32_MAX ? (int32_t)version : 0;
    return true;
}

// ---- guard --------------------------------------------------------------------------------------------------------------------------
// A page in the user's browser must not be able to use the door: its Origin is another than the address it was loaded from.
static enum err_code guard(struct httpd_request *r, struct err *err) {
    const char *origin = httpd_header(r, "Origin"), *host = httpd_header(r, "Host");
    if (origin == NULL) return ERR_OK;
    struct str o = str_c(origin), scheme = STR("http://");
    if (host != NULL && str_starts(o, scheme) && str_eqc(str_n(o.p + scheme.n, o.n - scheme.n), host)) return ERR_OK;
    return err_set(err, ERR_DENIED, "requests of pages from %.60s are refused", origin);
}

// The same where only this machine is served: a name that a page had rebound to 127.0.0.1 shows in Host.
static enum err_code guard_local(struct httpd_request *r, struct err *err) {
    const char *host = httpd_header(r, "Host");
    if (host != NULL && !httpd_is_loopback(str_c(host)))
        return err_set(err, ERR_DENIED, "Host %.60s is not this machine; set registry.listen to an address that others reach", host);
    return guard(r, err);
}

// ---- opening ------------------------------------------------------------------------------------------------------------------------
struct registry_door *registry_door_open(struct subjects *s, const struct registry_config *config, struct err *err) {
    struct httpd_config c = {.name = "registry",
                             .host = config->host,
                             .port = config->port,
                             .routes = routes,
                             .n_routes = sizeof routes / sizeof *routes,
                             .arg = s,
                             .body_max = config->body_max,
                             .connections_max = config->connections_max,
                             .before = httpd_is_loopback(str_c(config->host)) ? guard_local : guard,
                             .format_error = format_error};
    struct httpd *h = httpd_open(&c, err);
    if (h == NULL) return NULL;
    struct registry_door *d = MEM_NEW(struct registry_door);
    d->httpd = h;
    return d;
}

void registry_door_close(struct registry_door *d) {
    if (d == NULL) return;
    httpd_close(d->httpd);
    mem_free(d);
}

int registry_door_port(const struct registry_door *d) { return httpd_port(d->httpd); }
