// SPDX-License-Identifier: Apache-2.0
// YAML from libyaml's events, with a stack of our own: depth, nodes and aliases are bounded before anything is built. An alias gives
// a copy, counted by its nodes, so that "billion laughs" ends early; an anchor is known only when its node is complete, so
// that no value contains itself.
#include "codec/yaml.h"

#include <string.h>
#include <yaml.h>

#include "base/map.h"

struct level {
    json_t *value;     // array or object, owned
    json_t *key;       // object: the key that waits for its value (a string, owned)
    struct str anchor; // in the arena; n = 0: none
    bool merge;        // the waiting key is <<
    json_t *merged;    // object: what << brought, put under the own keys at the end; owned
};

struct loader {
    yaml_parser_t parser;
    struct level stack[YAML_DEPTH_MAX];
    size_t depth, nodes;
    json_t *root; // the document's value, owned
    struct map anchors; // name -> json_t, owned
    struct arena arena;
    struct err *err;
};

static bool fail(struct loader *l, enum err_code code, yaml_mark_t at, const char *what) {
    err_set(l->err, code, "YAML, line %zu, column %zu: %s", at.line + 1, at.column + 1, what);
    if (l->err != NULL) l->err->position = (int)at.index + 1;
    return false;
}

// ---- plain scalars ----------------------------------------------------------------------------------------------------------
static bool one_of(struct str s, const char *const *words) {
    for (; *words != NULL; words++)
        if (str_eqc(s, *words)) return true;
    return false;
}

static bool digits_ok(struct str s, int base) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
        if (d >= base) return false;
    }
    return s.n > 0;
}

static bool based_integer(struct str s, int64_t *out) { // 0x1F, 0o17
    if (s.n < 3 || s.p[0] != '0' || (s.p[1] != 'x' && s.p[1] != 'o')) return false;
    int base = s.p[1] == 'x' ? 16 : 8;
    struct str d = {s.p + 2, s.n - 2};
    if (!digits_ok(d, base) || d.n > 15) return false;
    int64_t v = 0;
    for (size_t i = 0; i < d.n; i++) {
        char c = d.p[i];
        v = v * base + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    *out = v;
    return true;
}

// [-+]? ( . digits | digits ( . digits* )? ) ( [eE] [-+]? digits )?
static bool looks_real(struct str s) {
    size_t i = 0, digits = 0;
    if (i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) digits++;
    if (digits == 0) return false;
    if (i == s.n) return true;
    if (s.p[i] != 'e' && s.p[i] != 'E') return false;
    if (++i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
    return digits_ok((struct str){s.p + i, s.n - i}, 10);
}

static json_t *plain_value(struct str s) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL}, *const falses[] = {"false", "False", "FALSE", NULL};
    int64_t i;
    double d;
    if (one_of(s, nulls)) return json_null();
    if (one_of(s, trues)) return json_true();
    if (one_of(s, falses)) return json_false();
    if (str_to_i64(s, &i) || based_integer(s, &i)) return json_integer(i);
    if (looks_real(s) && str_to_double(s, &d)) {
        json_t *v = json_real(d); // NULL when infinite
        if (v != NULL) return v;
    }
    return json_of_str(s);
}

static json_t *scalar_value(const yaml_event_t *e) {
    struct str s = str_n(e->data.scalar.value, e->data.scalar.length);
    const char *tag = (const char *)e->data.scalar.tag;
    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return json_of_str(s);
    if (tag != NULL && (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0)) return json_of_str(s);
    return plain_value(s);
}

// ---- composing --------------------------------------------------------------------------------------------------------------
static size_t count_nodes(const json_t *v, size_t limit) {
    size_t n = 1;
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v) && n < limit; i++) n += count_nodes(json_array_get(v, i), limit - n);
    } else if (json_is_object(v)) {
        for (void *it = json_object_iter((json_t *)(uintptr_t)v); it != NULL && n < limit; it = json_object_iter_next((json_t *)(uintptr_t)v, it))
            n += 1 + count_nodes(json_object_iter_value(it), limit - n);
    }
    return n;
}

static bool add_nodes(struct loader *l, size_t n, yaml_mark_t at) {
    l->nodes += n;
    if (l->nodes <= YAML_NODES_MAX) return true;
    return fail(l, ERR_TOO_LARGE, at, "too many values (an alias counts as all that it stands for)");
}

static void remember(struct loader *l, struct str anchor, json_t *v) {
    if (anchor.n == 0) return;
    json_t *old = map_put(&l->anchors, anchor, json_incref(v));
    json_decref(old);
}

static bool merge(struct loader *l, json_t *into, const json_t *from, yaml_mark_t at) {
    if (json_is_array(from)) {
        for (size_t i = 0; i < json_array_size(from); i++)
            if (!merge(l, into, json_array_get(from, i), at)) return false;
        return true;
    }
    if (!json_is_object(from)) return fail(l, ERR_PARSE, at, "<< wants a mapping or a list of mappings");
    json_object_update_missing(into, (json_t *)(uintptr_t)from);
    return true;
}

// Puts a finished value where it belongs; takes v.
static bool place(struct loader *l, json_t *v, bool plain, yaml_mark_t at) {
    if (l->depth == 0) {
        json_decref(l->root);
        l->root = v;
        return true;
    }
    struct level *top = &l->stack[l->depth - 1];
    if (json_is_array(top->value)) return json_array_append_new(top->value, v), true;
    if (top->key == NULL) { // v is a key
        if (json_is_array(v) || json_is_object(v)) {
            json_decref(v);
            return fail(l, ERR_PARSE, at, "a key must be a plain value, not a list or mapping");
        }
        top->merge = plain && json_is_string(v) && strcmp(json_string_value(v), "<<") == 0;
        if (!json_is_string(v)) { // 1: x, true: y
            char *text = json_dumps(v, JSON_ENCODE_ANY);
            json_decref(v);
            v = json_string(text);
            free(text);
        }
        top->key = v;
        return true;
    }
    bool ok = true;
    const char *key = json_string_value(top->key);
    if (top->merge) {
        if (top->merged == NULL) top->merged = json_object();
        ok = merge(l, top->merged, v, at);
    } else if (json_object_get(top->value, key) != NULL) { // one of the two would silently be lost
        ok = fail(l, ERR_PARSE, at, "a key is there twice in one mapping");
    } else if (memchr(key, 0, json_string_length(top->key)) != NULL) {
        ok = fail(l, ERR_PARSE, at, "a key contains a NUL character");
    } else {
        json_object_set(top->value, key, v);
    }
    json_decref(v);
    json_decref(top->key);
    top->key = NULL;
    return ok;
}

static struct str anchor_of(struct loader *l, const yaml_char_t *anchor) {
    return anchor == NULL ? (struct str){NULL, 0} : arena_str(&l->arena, str_c((const char *)anchor));
}

static bool on_alias(struct loader *l, const yaml_event_t *e) {
    json_t *v = map_getc(&l->anchors, (const char *)e->data.alias.anchor);
    if (v == NULL) return fail(l, ERR_PARSE, e->start_mark, "an alias without its anchor before it");
    if (!add_nodes(l, count_nodes(v, YAML_NODES_MAX + 1), e->start_mark)) return false;
    return place(l, json_deep_copy(v), false, e->start_mark);
}

static bool on_scalar(struct loader *l, const yaml_event_t *e) {
    json_t *v = scalar_value(e);
    remember(l, anchor_of(l, e->data.scalar.anchor), v);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && l->depth > 0 && json_is_object(l->stack[l->depth - 1].value) && l->stack[l->depth - 1].key == NULL && !json_is_string(v)) {
        json_decref(v); // a key is its own text: 007, 1.10, yes
        v = json_of_str(str_n(e->data.scalar.value, e->data.scalar.length));
    }
    return place(l, v, plain, e->start_mark);
}

static bool open_level(struct loader *l, json_t *value, const yaml_char_t *anchor, yaml_mark_t at) {
    if (l->depth == YAML_DEPTH_MAX) {
        json_decref(value);
        return fail(l, ERR_TOO_LARGE, at, "nested too deep");
    }
    l->stack[l->depth++] = (struct level){.value = value, .anchor = anchor_of(l, anchor)};
    return true;
}

static bool close_level(struct loader *l, yaml_mark_t at) {
    struct level top = l->stack[--l->depth];
    if (top.merged != NULL) json_object_update_missing(top.value, top.merged);
    json_decref(top.merged);
    remember(l, top.anchor, top.value);
    return place(l, top.value, false, at);
}

static bool on_event(struct loader *l, const yaml_event_t *e) {
    switch (e->type) {
    case YAML_ALIAS_EVENT: return on_alias(l, e);
    case YAML_SCALAR_EVENT: return add_nodes(l, 1, e->start_mark) && on_scalar(l, e);
    case YAML_SEQUENCE_START_EVENT:
        return add_nodes(l, 1, e->start_mark) && open_level(l, json_array(), e->data.sequence_start.anchor, e->start_mark);
    case YAML_MAPPING_START_EVENT:
        return add_nodes(l, 1, e->start_mark) && open_level(l, json_object(), e->data.mapping_start.anchor, e->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return close_level(l, e->start_mark);
    default: return true;
    }
}

static void forget_anchors(struct loader *l) {
    struct map_entry *m;
    for (size_t it = 0; (m = map_next(&l->anchors, &it)) != NULL;) json_decref(m->value);
    map_fini(&l->anchors);
    map_init(&l->anchors);
}

static bool parser_failed(struct loader *l) {
    const yaml_parser_t *p = &l->parser;
    struct buf what;
    buf_init(&what, 900);
    buf_printf(&what, "%s", p->problem == NULL ? "not readable" : p->problem);
    if (p->context != NULL) buf_printf(&what, " (%s)", p->context);
    yaml_mark_t at = p->problem_mark;
    if (p->error == YAML_READER_ERROR) at.index = p->problem_offset;
    fail(l, ERR_PARSE, at, buf_cstr(&what));
    buf_fini(&what);
    return false;
}

// Reads documents into `all` (borrowed) or, when it is NULL, the first into l->root.
static bool load(struct loader *l, json_t *all) {
    for (;;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&l->parser, &e)) return parser_failed(l);
        yaml_event_type_t type = e.type;
        bool ok = on_event(l, &e);
        yaml_event_delete(&e);
        if (!ok) return false;
        if (type == YAML_STREAM_END_EVENT || type == YAML_NO_EVENT) return true;
        if (type != YAML_DOCUMENT_END_EVENT) continue;
        forget_anchors(l);
        if (all == NULL) return true;
        json_array_append_new(all, l->root == NULL ? json_null() : l->root);
        l->root = NULL;
    }
}

static json_t *parse(struct str text, bool every, struct err *err) {
    if (text.n > YAML_TEXT_MAX) {
        err_set(err, ERR_TOO_LARGE, "YAML text of %zu bytes; the maximum is %d", text.n, YAML_TEXT_MAX);
        return NULL;
    }
    struct loader *l = MEM_NEW(struct loader);
    l->err = err;
    map_init(&l->anchors);
    arena_init(&l->arena);
    json_t *all = every ? json_array() : NULL;
    bool ok = yaml_parser_initialize(&l->parser) != 0;
    if (ok) {
        yaml_parser_set_input_string(&l->parser, (const unsigned char *)(text.n == 0 ? "" : text.p), text.n);
        ok = load(l, all);
        yaml_parser_delete(&l->parser);
    } else {
        err_set(err, ERR_NO_MEMORY, "libyaml has no memory");
    }
    while (l->depth > 0) {
        l->depth--;
        json_decref(l->stack[l->depth].value);
        json_decref(l->stack[l->depth].key);
        json_decref(l->stack[l->depth].merged);
    }
    json_t *v = every ? all : l->root == NULL ? json_null() : l->root;
    if (every) json_decref(l->root);
    forget_anchors(l);
    map_fini(&l->anchors);
    arena_fini(&l->arena);
    mem_free(l);
    if (ok) return v;
    json_decref(v);
    return NULL;
}

json_t *yaml_parse(struct str text, struct err *err) { return parse(text, false, err); }
json_t *yaml_parse_all(struct str text, struct err *err) { return parse(text, true, err); }
