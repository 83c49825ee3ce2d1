// SPDX-License-Identifier: Apache-2.0
// A typed growing array: VEC(struct x) v = {0}; *vec_push(&v) = ...; v.p[i]; v.n; vec_fini(&v).
// Owner frees; growth aborts on no memory, so bound what comes from outside before pushing.
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stddef.h>

#include "base/mem.h"

#define VEC(type)      \
    struct {           \
        type *p;       \
        size_t n, cap; \
    }

void *vec_grow_(void *p, size_t *cap, size_t need, size_t size) __attribute__((returns_nonnull));

#define vec_reserve(v, total) \
    ((v)->cap >= (size_t)(total) ? (void)0 : (void)((v)->p = vec_grow_((v)->p, &(v)->cap, (size_t)(total), sizeof *(v)->p)))
// Address of a new last element, not cleared.
#define vec_push(v) (vec_reserve((v), (v)->n + 1), &(v)->p[(v)->n++])
#define vec_add(v, value) ((void)(*vec_push(v) = (value)))
#define vec_last(v) (&(v)->p[(v)->n - 1])
#define vec_remove(v, i) \
    ((void)(memmove(&(v)->p[i], &(v)->p[(i) + 1], ((v)->n - (size_t)(i) - 1) * sizeof *(v)->p), (v)->n--))
#define vec_fini(v) (mem_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)

#endif
