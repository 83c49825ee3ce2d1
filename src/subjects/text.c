// SPDX-License-Identifier: Apache-2.0
// The text of a schema: how it is kept, and what makes two texts the same schema. Pure, any thread.
#include <stdlib.h>

#include "subjects/internal.h"

// {"type": "int"} alone is "int", at every place where a schema stands. Takes v, gives a new reference.
static json_t *simplify(json_t *v, bool *changed) {
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) json_array_set_new(v, i, simplify(json_incref(json_array_get(v, i)), changed));
        return v;
    }
    if (!json_is_object(v)) return v;
    json_t *type = json_object_get(v, "type");
    if (type != NULL && json_object_size(v) == 1) {
        *changed = true;
        json_incref(type);
        json_decref(v);
        return simplify(type, changed);
    }
    static const char *const places[] = {"type", "items", "values"};
    for (size_t i = 0; i < 3; i++) {
        json_t *inner = json_object_get(v, places[i]);
        if (json_is_object(inner) || json_is_array(inner)) json_object_set_new(v, places[i], simplify(json_incref(inner), changed));
    }
    json_t *fields = json_object_get(v, "fields");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        json_t *f = json_array_get(fields, i), *inner = json_object_get(f, "type");
        if (json_is_object(inner) || json_is_array(inner)) json_object_set_new(f, "type", simplify(json_incref(inner), changed));
    }
    return v;
}

static json_t *parse(struct str text, bool *changed, struct err *err) {
    json_t *v = json_parse(text, err);
    if (v != NULL) return simplify(v, changed);
    struct str word = str_trim(text); // a bare word, as some clients send
    for (size_t i = 0; i < word.n; i++)
        if ((word.p[i] | 32) < 'a' || (word.p[i] | 32) > 'z') return NULL;
    *changed = true;
    return word.n == 0 ? NULL : json_of_str(word);
}

// White space outside of strings dropped: numbers keep their spelling.
static const char *squeeze(struct str text, struct arena *a) {
    char *out = arena_alloc(a, text.n + 1), *o = out;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string && c == '\\' && i + 1 < text.n) {
            *o++ = c;
            *o++ = text.p[++i];
            continue;
        }
        if (c == '"') in_string = !in_string;
        if (in_string || (c != ' ' && c != '\n' && c != '\r' && c != '\t')) *o++ = c;
    }
    *o = 0;
    return out;
}

const char *subjects_compact(struct str text, struct arena *a, struct err *err) {
    bool changed = false;
    json_t *v = parse(text, &changed, err);
    if (v == NULL) return NULL;
    const char *out = changed ? json_text(v, JSON_COMPACT, a).p : squeeze(text, a);
    json_decref(v);
    return out;
}

static void put_json(struct str text, struct buf *out) { // keys sorted, so that their order does not count
    json_t *v = text.n == 0 ? NULL : json_parse(text, NULL);
    if (v != NULL) json_write(v, JSON_COMPACT | JSON_SORT_KEYS, out);
    else buf_put_str(out, text);
    json_decref(v);
    buf_put_u8(out, '\n');
}

const char *subjects_identity(const char *text, const char *type, const struct subjects_ref *refs, size_t n_refs, struct str metadata,
                              struct str rule_set, struct arena *a) {
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%s\n", type);
    put_json(str_c(text), &b);
    for (size_t i = 0; i < n_refs; i++) buf_printf(&b, "%s\t%s\t%d\n", refs[i].name, refs[i].subject, refs[i].version);
    put_json(metadata, &b);
    put_json(rule_set, &b);
    const char *out = arena_strndup(a, (const char *)b.p, b.n);
    buf_fini(&b);
    return out;
}
