// SPDX-License-Identifier: Apache-2.0
// What this machine can do at all, so that every figure stands beside its limit: fdatasync of the disk, memcpy, CRC-32C, loopback.
//
//   limits_bench --dir=FOLDER [--seconds=1]        the folder must lie on the disk that is to be measured
//
// One JSON line. One thread, and for the loopback a second that reads.
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "../bench/bench.h"
#include "codec/crc32c.h"

enum { PAGE = 4096, MIB = 1 << 20, SYNCS_MAX = 20000 };

static int open_file(const char *dir) {
    char path[1024];
    snprintf(path, sizeof path, "%s/limits.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) bench_die("cannot make %s", path);
    unlink(path);
    return fd;
}

// Writes of n bytes, each followed by fdatasync: at the end of the file, or over what is there.
static void sync_each(const char *name, const char *dir, size_t n, bool overwrite, double seconds) {
    struct bench_samples s;
    bench_samples_init(&s, SYNCS_MAX);
    char *block = bench_alloc(n);
    memset(block, 'x', n);
    int fd = open_file(dir);
    if (overwrite) {
        for (int i = 0; i < 256; i++)
            if (pwrite(fd, block, n, (off_t)n * i) != (ssize_t)n) bench_die("write failed");
        fsync(fd);
    }
    int64_t end = bench_ns() + (int64_t)(seconds * 1e9);
    for (int64_t i = 0; bench_ns() < end && i < SYNCS_MAX; i++) {
        int64_t from = bench_ns();
        if (pwrite(fd, block, n, (off_t)n * (overwrite ? i % 256 : i)) != (ssize_t)n || fdatasync(fd) != 0) bench_die("write or sync failed");
        bench_sample(&s, bench_ns() - from);
    }
    close(fd);
    free(block);
    bench_print_samples(name, &s);
    free(s.ns);
}

static void write_through(const char *dir, size_t total) {
    char *block = bench_alloc(MIB);
    memset(block, 'x', MIB);
    int fd = open_file(dir);
    int64_t from = bench_ns();
    for (size_t at = 0; at < total; at += MIB)
        if (pwrite(fd, block, MIB, (off_t)at) != MIB) bench_die("write failed");
    if (fdatasync(fd) != 0) bench_die("sync failed");
    printf(",\"write_synced_mb_per_s\":%.0f", (double)total / 1e6 / ((double)(bench_ns() - from) / 1e9));
    close(fd);
    free(block);
}

static void memory(double seconds) {
    size_t n = (size_t)64 * MIB;
    char *a = bench_alloc(n), *b = bench_alloc(n);
    memset(a, 1, n);
    memset(b, 2, n);
    int64_t from = bench_ns(), end = from + (int64_t)(seconds * 1e9);
    double bytes = 0;
    uint32_t crc = 0;
    while (bench_ns() < end) {
        memcpy(b, a, n);
        a[0] = b[n / 2]; // the copies depend on each other, so none is left out
        bytes += (double)n;
    }
    printf(",\"memcpy_gb_per_s\":%.1f", bytes / (double)(bench_ns() - from));
    from = bench_ns();
    end = from + (int64_t)(seconds * 1e9);
    bytes = 0;
    while (bench_ns() < end) {
        crc = crc32c(crc, a, MIB);
        bytes += MIB;
    }
    printf(",\"crc32c_gb_per_s\":%.1f", bytes / (double)(bench_ns() - from));
    if (crc == 0) fputc('\n', stderr); // its value is wanted, or the compiler may skip it
    free(a);
    free(b);
}

static void *drain(void *arg) {
    int fd = *(int *)arg;
    char *block = bench_alloc(MIB);
    while (read(fd, block, MIB) > 0) {
    }
    free(block);
    return NULL;
}

static void loopback(double seconds) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&a, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &size) != 0 || connect(to, (struct sockaddr *)&a, size) != 0)
        bench_die("no loopback connection");
    int from_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    pthread_t reader;
    if (from_fd < 0 || pthread_create(&reader, NULL, drain, &from_fd) != 0) bench_die("no reader");
    char *block = bench_alloc(MIB);
    double bytes = 0;
    int64_t from = bench_ns(), end = from + (int64_t)(seconds * 1e9);
    while (bench_ns() < end) {
        ssize_t n = write(to, block, MIB);
        if (n <= 0) bench_die("loopback write failed");
        bytes += (double)n;
    }
    shutdown(to, SHUT_WR);
    pthread_join(reader, NULL);
    printf(",\"loopback_mb_per_s\":%.0f", bytes / 1e6 / ((double)(bench_ns() - from) / 1e9));
    close(to);
    close(from_fd);
    close(listener);
    free(block);
}

int main(int argc, char **argv) {
    struct bench_args args = {argc, argv};
    const char *dir = bench_text(&args, "dir", ".");
    double seconds = (double)bench_number(&args, "seconds", 1);
    printf("{\"mode\":\"limits\"");
    sync_each("append_sync_us", dir, PAGE, false, seconds);
    sync_each("overwrite_sync_us", dir, PAGE, true, seconds);
    sync_each("mib_sync_us", dir, MIB, false, seconds);
    write_through(dir, (size_t)256 * MIB);
    memory(seconds / 2);
    loopback(seconds);
    puts("}");
    return 0;
}
