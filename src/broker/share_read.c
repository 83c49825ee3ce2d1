// SPDX-License-Identifier: Apache-2.0
// Reading the log for share fetches. What is in memory is read on the loop; when the disk is needed a worker reads, and the fetch looks again
// when it has. A fetch may be over by then: it is found by its id.
#include "base/metrics.h"
#include "broker/share_inside.h"

struct share_read {
    struct share *share;
    struct share_read_ask ask;
    char *topic;
    int32_t partition;
    int64_t offset;
    // the result
    enum err_code code;
    struct err err;
    struct log_view view;
    struct broker_offsets offsets;
    struct arena arena;
    struct broker_aborted *aborted;
    size_t n_aborted;
};

void share_wait_clear(struct share_wait *w) {
    buf_fini(&w->data);
    buf_init(&w->data, 0);
    vec_fini(&w->aborted);
    w->read = false;
}

static void read_log(struct share_read *r, bool may_block) {
    struct broker *b = r->share->broker;
    r->err = (struct err){0};
    if (r->ask.committed)
        r->code = broker_read_committed(b, r->topic, r->partition, r->offset, r->ask.bytes, may_block, &r->view, &r->offsets, &r->arena, &r->aborted,
                                        &r->n_aborted, &r->err);
    else r->code = broker_read_view(b, r->topic, r->partition, r->offset, r->ask.bytes, may_block, &r->view, &r->offsets, &r->err);
}

static void take(struct share_wait *w, struct share_read *r) {
    share_wait_clear(w);
    for (size_t i = 0; i < r->view.pieces.n; i++) buf_put_str(&w->data, r->view.pieces.p[i].bytes);
    for (size_t i = 0; i < r->n_aborted; i++) vec_add(&w->aborted, r->aborted[i]);
    w->fetch_offset = r->offset;
    w->seen = r->ask.committed ? r->offsets.stable : r->offsets.high_watermark;
    w->read = r->code == ERR_OK;
}

static void read_free(struct share_read *r) {
    log_view_release(&r->view);
    arena_fini(&r->arena);
    mem_free(r->topic);
    mem_free(r);
}

static void work(void *arg) { read_log(arg, true); }

static void work_done(void *arg) {
    struct share_read *r = arg;
    struct share *s = r->share;
    struct share_wait *w = share_fetch_wait(r->share, r->ask.fetch, r->ask.index);
    if (w != NULL && w->reading == r) {
        w->reading = NULL;
        if (r->code == ERR_OK) take(w, r);
        share_fetching_wake(w->fetching); // an error is met again there
    }
    read_free(r);
    s->reads--;
    share_check_stopped(s);
}

int share_read(struct share *s, struct share_wait *w, const struct share_read_ask *ask) {
    struct share_part *p = w->part;
    struct share_read *r = MEM_NEW(struct share_read);
    metric_add(M_SHARE_READS, NULL, 1);
    *r = (struct share_read){.share = s, .ask = *ask, .topic = mem_strdup(p->topic), .partition = p->partition};
    arena_init(&r->arena);
    r->code = ERR_OFFSET_RANGE;
    for (int tries = 0; tries < 2 && r->code == ERR_OFFSET_RANGE; tries++) {
        r->offset = share_runs_next_fetch(&p->runs);
        read_log(r, false);
        if (r->code == ERR_OFFSET_RANGE) share_part_log_start(p, r->offsets.start); // records were removed from the log
    }
    if (r->code == ERR_BUSY && broker_submit_read(s->broker, work, r, s->loop, work_done, &r->err) == ERR_OK) {
        w->reading = r;
        s->reads++;
        return 0;
    }
    int error = 0;
    if (r->code == ERR_OK) take(w, r);
    else if (r->code == ERR_NO_TOPIC) error = KAFKA_UNKNOWN_TOPIC_ID;
    else if (r->code != ERR_OFFSET_RANGE && r->code != ERR_BUSY) error = err_info(r->code)->kafka;
    read_free(r);
    return error;
}
