// SPDX-License-Identifier: Apache-2.0
// Any bytes as records of the topic _schemas (lines: key, tab, value; no tab: a tombstone): the registry starts, and everything it lists
// can be got.
#include <assert.h>

#include "subjects/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum err_code append(void *self, const struct subjects_record *records, size_t n, int64_t *last, struct err *err) {
    (void)self, (void)records, (void)n, (void)last;
    return err_set(err, ERR_IO, "read only");
}

static enum err_code read_lines(void *self, int64_t *next, bool *reset, subjects_record_fn *fn, void *arg, struct err *err) {
    struct str rest = *(const struct str *)self, line;
    (void)reset, (void)err;
    for (bool first = *next == 0; first && rest.n > 0;) {
        struct subjects_record r;
        str_cut(rest, '\n', &line, &rest);
        r.value_null = !str_cut(line, '\t', &r.key, &r.value);
        fn(arg, &r);
        ++*next;
    }
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str text = str_n(data, n);
    struct subjects_store store = {.self = &text, .append = append, .read = read_lines};
    struct err err;
    struct arena a;
    arena_init(&a);
    struct subjects *s = subjects_open_store(&store, &err);
    assert(s != NULL);
    struct subjects_schema *all, one;
    size_t many = subjects_all(s, NULL, true, false, &a, &all);
    for (size_t i = 0; i < many; i++) {
        assert(subjects_get(s, all[i].subject, all[i].version, true, &a, &one, &err) == SUBJECTS_OK && one.id == all[i].id);
        assert(subjects_get_id(s, all[i].id, &a, &one, &err) == SUBJECTS_OK);
        struct subjects_new in = {.text = STR("\"int\"")};
        bool ok;
        const char **messages;
        size_t n_messages;
        subjects_check(s, all[i].subject, SUBJECTS_ALL, &in, &a, &ok, &messages, &n_messages, &err);
    }
    subjects_close(s);
    arena_fini(&a);
    return 0;
}
