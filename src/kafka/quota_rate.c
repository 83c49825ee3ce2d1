// SPDX-License-Identifier: Apache-2.0
// A rate over a few windows of time, and how long to wait until it is within a limit: Kafka's formulas (KIP-13), so that the same traffic is
// throttled for the same time. The caller's lock.
#include <math.h>

#include "kafka/quota.h"

enum { SAMPLES_MAX = 1000 };

void quota_rate_init(struct quota_rate *r, int samples, int window_ms, int64_t now_us) {
    *r = (struct quota_rate){.n = samples < 1 ? 1 : samples > SAMPLES_MAX ? SAMPLES_MAX : samples, .window_ms = window_ms < 1 ? 1 : window_ms};
    r->samples = mem_zalloc((size_t)r->n * sizeof *r->samples);
    for (int i = 0; i < r->n; i++) r->samples[i].start_us = now_us;
}

void quota_rate_fini(struct quota_rate *r) { mem_free(r->samples); }

static void forget_old(struct quota_rate *r, int64_t now_us) {
    int64_t span = (int64_t)r->n * r->window_ms * 1000;
    for (int i = 0; i < r->n; i++) {
        if (now_us - r->samples[i].start_us < span) continue;
        r->samples[i].start_us = now_us;
        r->samples[i].total = 0;
    }
}

void quota_rate_record(struct quota_rate *r, double value, int64_t now_us) {
    if (now_us - r->samples[r->at].start_us >= (int64_t)r->window_ms * 1000) {
        r->at = (r->at + 1) % r->n;
        r->samples[r->at].start_us = now_us;
        r->samples[r->at].total = 0;
    }
    r->samples[r->at].total += value;
}

double quota_rate_value(struct quota_rate *r, int64_t now_us, double *elapsed_ms) {
    double total = 0;
    int64_t oldest = now_us;
    forget_old(r, now_us);
    for (int i = 0; i < r->n; i++) {
        total += r->samples[i].total;
        if (r->samples[i].start_us < oldest) oldest = r->samples[i].start_us;
    }
    // A young rate is taken over all windows but one, so that the first burst is not seen as a flood.
    int64_t elapsed = (now_us - oldest) / 1000, full = elapsed / r->window_ms;
    if (full < r->n - 1) elapsed += (r->n - 1 - full) * r->window_ms;
    if (elapsed < r->window_ms) elapsed = r->window_ms;
    *elapsed_ms = (double)elapsed;
    return total / ((double)elapsed / 1000);
}

int64_t quota_rate_throttle(struct quota_rate *r, double limit, int64_t now_us) {
    double elapsed, rate = quota_rate_value(r, now_us, &elapsed);
    if (rate <= limit) return 0;
    double ms = (rate - limit) / limit * elapsed;
    return ms > INT32_MAX ? INT32_MAX : (int64_t)llround(ms);
}
