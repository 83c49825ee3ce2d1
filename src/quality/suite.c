// SPDX-License-Identifier: Apache-2.0
// Reads Great Expectations suites: {"name", "expectations": [{"type", "kwargs", "meta", "severity"}], "suite_parameters"} of 1.x and
// {"expectation_suite_name", "expectations": [{"expectation_type", "kwargs"}], "evaluation_parameters"} of 0.18.
// Pure; any thread. The suite owns its JSON and is read-only afterwards, but its counts are jansson's: one thread at a time.
#include "quality/internal.h"

const char *quality_type_of(const json_t *e) {
    const char *type = json_get_cstr(e, "type", NULL);
    return type != NULL ? type : json_get_cstr(e, "expectation_type", "");
}

const char *quality_severity_of(const json_t *e) {
    const char *s = json_get_cstr(e, "severity", NULL);
    if (s == NULL)
        s = json_get_cstr(json_object_get(e, "meta"), "severity", NULL);
    return s != NULL ? s : "critical";
}

static enum err_code check_expectation(const json_t *e, size_t i, struct err *err) {
    static const char *const severities[] = {"critical", "warning", "info"};
    const char *type = quality_type_of(e), *severity = quality_severity_of(e);
    if (!json_is_object(e) || type[0] == 0)
        return err_set(err, ERR_INVALID, "expectation %zu has no \"type\"", i + 1);
    const json_t *kwargs = json_object_get(e, "kwargs");
    if (kwargs != NULL && !json_is_object(kwargs))
        return err_set(err, ERR_INVALID, "expectation %zu (%.80s): \"kwargs\" is not an object", i + 1, type);
    for (size_t k = 0; k < sizeof severities / sizeof severities[0]; k++)
        if (str_eqc(str_c(severity), severities[k]))
            return ERR_OK;
    return err_set(err, ERR_INVALID, "expectation %zu (%.80s): severity is critical, warning or info, not \"%.40s\"", i + 1, type, severity);
}

struct quality_suite *quality_suite_parse(struct str text, struct err *err) {
    if (text.n > QUALITY_SUITE_MAX) {
        err_set(err, ERR_TOO_LARGE, "the suite has more than %d bytes", QUALITY_SUITE_MAX);
        return NULL;
    }
    struct err parse = {0};
    json_t *json = json_parse(text, &parse);
    if (json == NULL) { // the place only: the parser's message quotes the file, which may be none of the caller's business
        err_set(err, parse.code, "the suite is not JSON: byte %d", parse.position);
        return NULL;
    }
    struct quality_suite *s = MEM_NEW(struct quality_suite);
    s->json = json;
    s->name = json_get_cstr(json, "name", json_get_cstr(json, "expectation_suite_name", "default"));
    s->parameters = json_object_get(json, "suite_parameters");
    if (s->parameters == NULL)
        s->parameters = json_object_get(json, "evaluation_parameters");
    const json_t *list = json_object_get(json, "expectations");
    enum err_code code = ERR_OK;
    if (!json_is_array(list))
        code = err_set(err, ERR_INVALID, "this is not an expectation suite: it has no list \"expectations\"");
    else if (json_array_size(list) > QUALITY_EXPECTATIONS_MAX)
        code = err_set(err, ERR_TOO_LARGE, "the suite has more than %d expectations", QUALITY_EXPECTATIONS_MAX);
    for (size_t i = 0; code == ERR_OK && i < json_array_size(list); i++) {
        code = check_expectation(json_array_get(list, i), i, err);
        vec_add(&s->expectations, json_array_get(list, i));
    }
    if (code != ERR_OK) {
        quality_suite_free(s);
        return NULL;
    }
    return s;
}

void quality_suite_free(struct quality_suite *s) {
    if (s == NULL)
        return;
    vec_fini(&s->expectations);
    json_decref(s->json);
    mem_free(s);
}

const char *quality_suite_name(const struct quality_suite *s) { return s->name; }
size_t quality_suite_size(const struct quality_suite *s) { return s->expectations.n; }
