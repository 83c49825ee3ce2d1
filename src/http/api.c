// SPDX-License-Identifier: Apache-2.0
// Structs to JSON and back by tables of fields; times; paging. The request's thread only; results in its arena.
#include "http/api.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 1000 };

// ---- time -----------------------------------------------------------------------------------------------------------------------

// Days since 1970-01-01 of a proleptic Gregorian date, and back (Howard Hinnant, "chrono-compatible low-level date algorithms").
static int64_t days_of(int64_t y, int64_t m, int64_t d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static void date_of(int64_t days, int64_t *y, int64_t *m, int64_t *d) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = yoe + era * 400 + (*m <= 2);
}

void api_time_text(int64_t us, char out[40]) {
    int64_t s = us / 1000000, y, m, d;
    if (us % 1000000 < 0) s--;
    int64_t days = s / 86400, micros = us - s * 1000000;
    if (s % 86400 < 0) days--;
    int64_t of_day = s - days * 86400;
    date_of(days, &y, &m, &d);
    int n =
        snprintf(out, 40, "%04d-%02d-%02dT%02d:%02d:%02d", (int)y, (int)m, (int)d, (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60));
    if (micros != 0) n += snprintf(out + n, 40 - (size_t)n, ".%06d", (int)micros);
    snprintf(out + n, 40 - (size_t)n, "Z");
}

static bool digits(const char **p, const char *end, int n, int64_t *out) {
    *out = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (*p >= end || **p < '0' || **p > '9') return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool one_char(const char **p, const char *end, char c) { return *p < end && **p == c ? (++*p, true) : false; }

static bool parse_offset(const char **p, const char *end, int64_t *seconds) {
    int64_t h, m = 0;
    *seconds = 0;
    if (one_char(p, end, 'Z') || one_char(p, end, 'z')) return *p == end;
    bool minus = *p < end && **p == '-';
    if (!one_char(p, end, '+') && !one_char(p, end, '-')) return false;
    if (!digits(p, end, 2, &h)) return false;
    if (*p < end && (one_char(p, end, ':'), !digits(p, end, 2, &m))) return false;
    *seconds = (h * 3600 + m * 60) * (minus ? -1 : 1);
    return *p == end && h < 24 && m < 60;
}

bool api_time_parse(struct str s, int64_t *us) {
    const char *p = s.p, *end = s.p + s.n;
    int64_t y, mo, d, h, mi, sec = 0, micros = 0, offset;
    if (!digits(&p, end, 4, &y) || !one_char(&p, end, '-') || !digits(&p, end, 2, &mo) || !one_char(&p, end, '-') || !digits(&p, end, 2, &d))
        return false;
    if (!one_char(&p, end, 'T') && !one_char(&p, end, 't') && !one_char(&p, end, ' ')) return false;
    if (!digits(&p, end, 2, &h) || !one_char(&p, end, ':') || !digits(&p, end, 2, &mi)) return false;
    if (one_char(&p, end, ':') && !digits(&p, end, 2, &sec)) return false;
    if (one_char(&p, end, '.')) {
        int64_t scale = 100000;
        const char *from = p;
        for (; p < end && *p >= '0' && *p <= '9'; p++, scale /= 10) micros += (*p - '0') * scale;
        if (p == from || p - from > 9) return false;
    }
    if (!parse_offset(&p, end, &offset) || y < 1 || mo < 1 || mo > 12 || d < 1 || h > 23 || mi > 59 || sec > 59) return false;
    int64_t days = days_of(y, mo, d), back_y, back_m, back_d;
    date_of(days, &back_y, &back_m, &back_d);
    if (back_m != mo || back_d != d) return false; // 31 April
    *us = (days * 86400 + h * 3600 + mi * 60 + sec - offset) * 1000000 + micros;
    return true;
}

json_t *api_time(int64_t us) {
    char text[40];
    if (us == FLOW_NO_TIME) return json_null();
    api_time_text(us, text);
    return json_string(text);
}

// ---- out ------------------------------------------------------------------------------------------------------------------------

static json_t *string_or_null(const char *s) { return s == NULL ? json_null() : json_of_str(str_c(s)); }

static json_t *json_or_null(const char *text) {
    json_t *j = text == NULL ? NULL : json_parse(str_c(text), NULL);
    return j == NULL ? json_null() : j;
}

static json_t *field_value(const struct api_field *f, const void *from) {
    const char *p = (const char *)from + f->at;
    switch (f->kind) {
    case API_STR: return string_or_null(*(const char *const *)p);
    case API_TIME: return api_time(*(const int64_t *)p);
    case API_INT: return json_integer(*(const int *)p);
    case API_I64: return json_integer(*(const int64_t *)p);
    case API_BOOL: return json_boolean(*(const bool *)p);
    case API_DURATION: return *(const int64_t *)p == FLOW_NO_TIME ? json_null() : json_real((double)*(const int64_t *)p / 1e6);
    case API_DOUBLE: return json_real(*(const double *)p);
    case API_JSON: return json_or_null(*(const char *const *)p);
    case API_NULL: return json_null();
    case API_CONST: return json_string(f->text);
    case API_FALSE: return json_false();
    }
    assert(false && "kind of field");
    return NULL;
}

json_t *api_object(const struct api_field *fields, size_t n, const void *from) {
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++) json_object_set_new(o, fields[i].name, field_value(&fields[i], from));
    return o;
}

json_t *api_strings(const char *const *p, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_of_str(str_c(p[i])));
    return list;
}

enum err_code api_reply_list(struct httpd_request *r, const char *name, json_t *rows, int64_t total) {
    return httpd_reply_json(r, 200, json_pack("{s:o, s:I}", name, rows, "total_entries", (json_int_t)total));
}

enum err_code api_no_content(struct httpd_request *r) { return httpd_reply(r, 204, NULL, STR("")); }

// ---- queries ----------------------------------------------------------------------------------------------------------------------

enum err_code api_query_i64(struct httpd_request *r, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err) {
    if (httpd_query_i64(r, name, min, max, out, NULL) >= 0) return ERR_OK;
    return err_set(err, ERR_DATA, "query.%s: must be a whole number from %" PRId64 " to %" PRId64, name, min, max);
}

enum err_code api_query_bool(struct httpd_request *r, const char *name, bool *out, struct err *err) {
    if (httpd_query_bool(r, name, out, NULL) >= 0) return ERR_OK;
    return err_set(err, ERR_DATA, "query.%s: must be true or false", name);
}

enum err_code api_query_time(struct httpd_request *r, const char *name, int64_t *out, struct err *err) {
    const char *text = httpd_query(r, name);
    if (text == NULL || api_time_parse(str_c(text), out)) return ERR_OK;
    return err_set(err, ERR_DATA, "query.%s: must be a time with a time zone, like 2026-01-31T12:00:00Z", name);
}

enum err_code api_page(struct httpd_request *r, struct flow_page *page, struct err *err) {
    *page = (struct flow_page){.limit = LIMIT_DEFAULT};
    enum err_code code = api_query_i64(r, "limit", 0, INT64_MAX, &page->limit, err);
    if (code == ERR_OK) code = api_query_i64(r, "offset", 0, INT64_MAX, &page->offset, err);
    if (code != ERR_OK) return code;
    if (page->limit == 0 || page->limit > LIMIT_MAX) page->limit = LIMIT_MAX;
    const char *order[2];
    size_t n = httpd_query_all(r, "order_by", order, 2);
    if (n > 1) return err_set(err, ERR_NOT_SUPPORTED, "ordering by more than one field is not supported");
    if (n == 1) page->order_by = order[0];
    return ERR_OK;
}

const char *api_pattern(struct httpd_request *r, const char *name) {
    const char *text = httpd_query(r, name);
    if (text == NULL || strcmp(text, "~") == 0) return NULL;
    return arena_printf(r->arena, "%%%s%%", text);
}

// ---- bodies -----------------------------------------------------------------------------------------------------------------------

static const char *copy_json(struct httpd_request *r, const json_t *v) { return json_text(v, JSON_COMPACT | JSON_ENCODE_ANY, r->arena).p; }

static const char *copy_string(struct httpd_request *r, const json_t *v) {
    return arena_strndup(r->arena, json_string_value(v), json_string_length(v));
}

// NULL = stored; else what the value must be.
static const char *store(struct httpd_request *r, enum api_in kind, const json_t *v, void *to) {
    switch (kind) {
    case API_IN_STR:
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)) return "must be a string";
        *(const char **)to = copy_string(r, v);
        return NULL;
    case API_IN_INT:
        if (!json_is_integer(v) || json_integer_value(v) > INT32_MAX || json_integer_value(v) < INT32_MIN) return "must be a whole number";
        *(int *)to = (int)json_integer_value(v);
        return NULL;
    case API_IN_BOOL:
        if (!json_is_boolean(v)) return "must be true or false";
        *(bool *)to = json_is_true(v);
        return NULL;
    case API_IN_TIME:
        if (!json_is_string(v) || !api_time_parse(json_str(v), to)) return "must be a time with a time zone, like 2026-01-31T12:00:00Z";
        return NULL;
    case API_IN_OBJECT:
        if (!json_is_object(v)) return "must be an object";
        *(const char **)to = copy_json(r, v);
        return NULL;
    case API_IN_ANY: *(const char **)to = copy_json(r, v); return NULL;
    case API_IN_STRS: {
        struct api_strs *list = to;
        if (!json_is_array(v)) return "must be a list of strings";
        list->p = ARENA_ARRAY(r->arena, const char *, json_array_size(v) + 1);
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (!json_is_string(json_array_get(v, i))) return "must be a list of strings";
            list->p[list->n++] = copy_string(r, json_array_get(v, i));
        }
        return NULL;
    }
    }
    assert(false && "kind of field");
    return NULL;
}

static enum err_code take_fields(struct httpd_request *r, const json_t *body, const struct api_in_field *fields, size_t n, void *to, uint32_t *given,
                                 struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_object_get(body, fields[i].name);
        bool null = v == NULL || (json_is_null(v) && fields[i].kind != API_IN_ANY);
        if (fields[i].required && null) return err_set(err, ERR_DATA, "body.%s: Field required", fields[i].name);
        if (v != NULL) *given |= 1u << i;
        const char *wrong = null ? NULL : store(r, fields[i].kind, v, (char *)to + fields[i].at);
        if (wrong != NULL) return err_set(err, ERR_DATA, "body.%s: %s", fields[i].name, wrong);
    }
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)body, key, value) {
        (void)value;
        size_t i = 0;
        while (i < n && strcmp(fields[i].name, key) != 0) i++;
        if (i == n) return err_set(err, ERR_DATA, "body.%.60s: Extra inputs are not permitted", key);
    }
    return ERR_OK;
}

enum err_code api_body(struct httpd_request *r, const struct api_in_field *fields, size_t n, void *to, uint32_t *given, struct err *err) {
    uint32_t unused = 0;
    assert(n <= 32);
    if (given == NULL) given = &unused;
    *given = 0;
    json_t *body = httpd_body_json(r, err);
    if (body == NULL) {
        struct err why = *err;
        return err_set(err, ERR_DATA, "body: %s", why.msg);
    }
    enum err_code code = json_is_object(body) ? take_fields(r, body, fields, n, to, given, err) : err_set(err, ERR_DATA, "body: must be an object");
    json_decref(body);
    return code;
}
