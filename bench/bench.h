// SPDX-License-Identifier: Apache-2.0
// What the measuring programs share: clock, samples with percentiles, CPU time of a process, options, one JSON line out.
//
// Header only; one thread unless said. Memory is taken once and returned by exit. A fault prints one line to standard error and ends with 1.
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn, format(printf, 1, 2))) static inline void bench_die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static inline int64_t bench_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void bench_sleep_until(int64_t ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

static inline void *bench_alloc(size_t n) {
    void *p = calloc(1, n);
    if (p == NULL) bench_die("no memory for %zu bytes", n);
    return p;
}

// ---- options: --name=value, in any order -----------------------------------------------------------------------------

struct bench_args {
    int argc;
    char **argv;
};
static inline const char *bench_text(const struct bench_args *a, const char *name, const char *fallback) {
    size_t n = strlen(name);
    for (int i = 1; i < a->argc; i++) {
        const char *s = a->argv[i];
        if (strncmp(s, "--", 2) == 0 && strncmp(s + 2, name, n) == 0 && s[2 + n] == '=') return s + 3 + n;
    }
    return fallback;
}
static inline int64_t bench_number(const struct bench_args *a, const char *name, int64_t fallback) {
    const char *s = bench_text(a, name, NULL);
    char *end = NULL;
    if (s == NULL) return fallback;
    int64_t v = strtoll(s, &end, 10);
    if (*s == '\0' || *end != '\0') bench_die("--%s=%s is not a number", name, s);
    return v;
}

// ---- samples ---------------------------------------------------------------------------------------------------------

struct bench_samples {
    int64_t *ns;
    size_t n, max;
};
static inline void bench_samples_init(struct bench_samples *s, size_t max) {
    *s = (struct bench_samples){bench_alloc((max + 1) * sizeof *s->ns), 0, max};
}
static inline void bench_sample(struct bench_samples *s, int64_t ns) {
    if (s->n < s->max) s->ns[s->n++] = ns;
}
static inline int bench_compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}
// Prints ,"NAME":{"p50":…} in microseconds. The samples are sorted in place.
static inline void bench_print_samples(const char *name, struct bench_samples *s) {
    static const struct {
        const char *name;
        double at;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}, {"max", 1.0}};
    qsort(s->ns, s->n, sizeof *s->ns, bench_compare);
    printf(",\"%s\":{\"n\":%zu", name, s->n);
    for (size_t i = 0; i < sizeof points / sizeof points[0] && s->n > 0; i++) {
        size_t at = (size_t)((double)s->n * points[i].at);
        printf(",\"%s\":%.1f", points[i].name, (double)s->ns[at < s->n ? at : s->n - 1] / 1e3);
    }
    putchar('}');
}

// ---- CPU time ----------------------------------------------------------------------------------------------------------

// User and system seconds of a process so far, from /proc; 0 for pid 0.
static inline double bench_cpu_of(int64_t pid) {
    char path[64], line[1024];
    if (pid <= 0) return 0;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) bench_die("no process %" PRId64, pid);
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    const char *s = strrchr(line, ')'); // the name may hold blanks: fields are counted from behind it
    unsigned long user = 0, kernel = 0;
    if (s == NULL || sscanf(s + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        bench_die("%s cannot be read", path);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}
static inline double bench_cpu_self(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

#endif
