// SPDX-License-Identifier: Apache-2.0
// Allocation that aborts on no memory, and arenas: a list of blocks, newest first, each twice the one before.
#include "base/mem.h"

#include <assert.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

static void *checked(void *p, size_t n) {
    if (p == NULL) {
        fprintf(stderr, "millrace: out of memory (asked for %zu bytes)\n", n);
        abort();
    }
    return p;
}

void *mem_alloc(size_t n) { return checked(malloc(n == 0 ? 1 : n), n); }
void *mem_zalloc(size_t n) { return checked(calloc(1, n == 0 ? 1 : n), n); }
void *mem_realloc(void *p, size_t n) { return checked(realloc(p, n == 0 ? 1 : n), n); }
void mem_free(void *p) { free(p); }

void mem_keep_freed(size_t bytes) {
    int n = bytes > (size_t)INT32_MAX ? INT32_MAX : (int)bytes;
    mallopt(M_TRIM_THRESHOLD, n);
    mallopt(M_MMAP_THRESHOLD, n);
}

char *mem_strndup(const char *s, size_t n) {
    char *p = mem_alloc(n + 1);
    if (n > 0) memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *mem_strdup(const char *s) { return mem_strndup(s, strlen(s)); }

char *mem_printf(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    char *p = mem_alloc((size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void *vec_grow_(void *p, size_t *cap, size_t need, size_t size) {
    size_t c = *cap == 0 ? 8 : *cap;
    while (c < need) c *= 2;
    assert(c <= SIZE_MAX / size);
    *cap = c;
    return mem_realloc(p, c * size);
}

enum { BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    _Alignas(16) char data[];
};

void arena_init(struct arena *a) { *a = (struct arena){0}; }

static struct arena_block *block_new(size_t size) {
    struct arena_block *b = mem_alloc(sizeof *b + size);
    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

void *arena_alloc(struct arena *a, size_t n) {
    assert(n < (size_t)1 << 40);
    n = n == 0 ? 16 : (n + 15) & ~(size_t)15;
    struct arena_block *b = a->head;
    if (b == NULL || b->size - b->used < n) {
        size_t size = b == NULL ? BLOCK_MIN : b->size * 2;
        if (size > BLOCK_MAX) size = BLOCK_MAX;
        if (size < n) size = n;
        b = block_new(size);
        b->next = a->head;
        a->head = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n) { return memset(arena_alloc(a, n), 0, n); }

void arena_reset(struct arena *a) {
    if (a->head == NULL) return;
    struct arena_block *keep = a->head;
    for (struct arena_block *b = keep->next, *next; b != NULL; b = next) {
        next = b->next;
        mem_free(b);
    }
    keep->next = NULL;
    keep->used = 0;
    a->used = 0;
    if (keep->size > BLOCK_MAX) {
        mem_free(keep);
        a->head = NULL;
    }
}

void arena_fini(struct arena *a) {
    for (struct arena_block *b = a->head, *next; b != NULL; b = next) {
        next = b->next;
        mem_free(b);
    }
    *a = (struct arena){0};
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
    char *p = arena_alloc(a, n + 1);
    if (n > 0) memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *arena_strdup(struct arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

struct str arena_str(struct arena *a, struct str s) { return (struct str){arena_strndup(a, s.p, s.n), s.n}; }

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
