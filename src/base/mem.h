// SPDX-License-Identifier: Apache-2.0
// Memory: allocation that cannot fail, and arenas by lifetime (process, connection, request, batch).
//
// mem_* abort the process when the system has no memory left: sizes that come from outside are checked
// against a stated maximum before they get here.
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull)); // NUL-terminated
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), malloc, returns_nonnull));
void mem_free(void *p);
// Memory that was given back stays with the process up to `bytes` per arena. For servers: else each request's buffers of a megabyte are mapped,
// faulted in page by page, cleared and unmapped anew. Before other threads start.
void mem_keep_freed(size_t bytes);
#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))

// An arena hands out memory that is freed all at once. One owner, no locks. Blocks double up to 1 MiB.
struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used; // bytes handed out
};

void arena_init(struct arena *a);
void arena_reset(struct arena *a); // frees all but one block; pointers handed out are dead
void arena_fini(struct arena *a);
void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull)); // 16-byte aligned, not cleared
void *arena_zalloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
char *arena_strdup(struct arena *a, const char *s) __attribute__((returns_nonnull));
char *arena_strndup(struct arena *a, const char *s, size_t n) __attribute__((returns_nonnull)); // NUL-terminated
struct str arena_str(struct arena *a, struct str s);                                            // copy, NUL-terminated
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3), returns_nonnull));
#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (size_t)(n)))

#endif
