// SPDX-License-Identifier: Apache-2.0
// Great Expectations' result JSON: counts of map expectations as `_format_map_output` writes them, and the envelope of one result.
#include "quality/internal.h"

static bool mostly_of(struct quality_item *it, double *out) {
    const json_t *v = json_object_get(it->kwargs, "mostly");
    *out = 1;
    if (v == NULL || json_is_null(v))
        return true;
    if (!json_is_number(v)) {
        err_set(&it->err, ERR_INVALID, "mostly: value is not a valid float");
        return false;
    }
    *out = json_number_value(v);
    if (*out > 1 || *out < 0) {
        err_set(&it->err, ERR_INVALID, "mostly: ensure this value is %s", *out > 1 ? "less than or equal to 1" : "greater than or equal to 0");
        return false;
    }
    return true;
}

static json_t *percent(int64_t part, int64_t whole) { return whole == 0 ? json_null() : json_real((double)part * 100.0 / (double)whole); }

void quality_map_result(struct quality_run *r, struct quality_item *it) {
    double mostly;
    if (!mostly_of(it, &mostly))
        return;
    int64_t present = it->elements - it->missing;
    it->success = present == 0 || it->unexpected == 0 || (double)(present - it->unexpected) / (double)present >= mostly;
    if (r->target->format == QUALITY_BOOLEAN_ONLY) {
        it->result = json_object();
        return;
    }
    it->result = json_pack("{s:I, s:I, s:o, s:[]}", "element_count", (json_int_t)it->elements, "unexpected_count", (json_int_t)it->unexpected,
                           "unexpected_percent", percent(it->unexpected, present), "partial_unexpected_list");
    if (it->domain != NULL) {
        json_object_set_new(it->result, "missing_count", json_integer(it->missing));
        json_object_set_new(it->result, "missing_percent", percent(it->missing, it->elements));
        json_object_set_new(it->result, "unexpected_percent_total", percent(it->unexpected, it->elements));
        json_object_set_new(it->result, "unexpected_percent_nonmissing", percent(it->unexpected, present));
    }
    if (r->target->format >= QUALITY_SUMMARY)
        json_object_set_new(it->result, "partial_unexpected_counts", json_array());
    if (r->target->format == QUALITY_COMPLETE)
        json_object_set_new(it->result, "unexpected_list", json_array());
}

static json_t *exception_json(const struct err *e) {
    if (e->code == ERR_OK)
        return json_pack("{s:b, s:n, s:n}", "raised_exception", 0, "exception_message", "exception_traceback");
    return json_pack("{s:b, s:o, s:o}", "raised_exception", 1, "exception_message", json_of_str(str_c(e->msg)), "exception_traceback",
                     json_of_str(str_c(e->msg)));
}

json_t *quality_item_json(struct quality_run *r, struct quality_item *it) {
    const char *type = quality_type_of(it->config);
    json_t *meta = json_object_get(it->config, "meta"), *kwargs = json_deep_copy(it->kwargs);
    json_object_set_new(kwargs, "batch_id", json_of_str(str_c(r->target->name)));
    json_t *config = json_pack("{s:s, s:o, s:o, s:s}", "type", type, "kwargs", kwargs, "meta",
                               json_is_object(meta) ? json_deep_copy(meta) : json_object(), "severity", quality_severity_of(it->config));
    static const char *const kept[] = {"id", "notes", "description"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (json_object_get(it->config, kept[i]) != NULL)
            json_object_set_new(config, kept[i], json_deep_copy(json_object_get(it->config, kept[i])));
    bool raised = it->err.code != ERR_OK;
    return json_pack("{s:b, s:o, s:o, s:{}, s:o}", "success", it->success && !raised, "expectation_config", config, "result",
                     it->result == NULL || raised ? json_object() : json_incref(it->result), "meta", "exception_info", exception_json(&it->err));
}
