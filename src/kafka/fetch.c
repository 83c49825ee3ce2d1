// SPDX-License-Identifier: Apache-2.0
// Fetch (long poll; sessions are in fetch_session.c) and ListOffsets.
//
// A fetch reads every partition once: what is in memory here, from the first partition on that needs the disk on a worker. When that is less
// than min_bytes it waits on all of them, re-reads those that woke it, and answers at min_bytes, at max_wait, or when the connection closes.
// Partitions of one Produce become durable one by one: a fetch that waited and has enough gives those that are being synced a moment more, so
// that what was produced together is read together, as from Kafka (its waiting fetches are looked at after all of a request was appended).
// While a worker reads, everything of the fetch is the worker's: no wait is set and only the timer may note that time is up.
// Record bytes are sent from where the log has them. Whole batches are answered, the one that holds the offset first (KIP-74: at least one
// batch, whatever the maxima say).
#include <assert.h>

#include "base/metrics.h"
#include "kafka/fetch_session.h"
#include "kafka/throttle.h"

enum { READ_COMMITTED = 1 };         // isolation level
enum { COPY_MAX = 8 << 10 }; // so little is copied, not kept in the log's memory
enum { TOGETHER_US = 2000 }; // the moment for what else is being synced

struct fetch_part {
    struct broker_wait wait;
    struct fetching *all;
    const char *topic; // NULL = unknown id
    const struct kafka_fetch_request_topics_partitions *req;
    struct kafka_fetch_response_responses_partitions *res;
    struct log_view view;
    int64_t seen; // high watermark at the last read
    bool due;     // to be read
    bool waiting;
};
struct fetching {
    struct kafka_req *q;
    struct fetch_part *parts;
    size_t n, next; // next: where the reading is
    size_t bytes, max_bytes, counted;
    struct loop_timer timer;
    bool committed; // the isolation level
    bool failed, timed, reading, over; // over: answer with what is there
    bool held;                         // has enough and waits for what is being synced
    size_t syncing;                    // the part it waits for; those before it are not looked at again
};

static int fetch_error(const struct fetching *all, const struct fetch_part *p) {
    if (p->topic == NULL) return KAFKA_UNKNOWN_TOPIC_ID;
    (void)all;
    return kafka_check_leader_epoch(p->req->current_leader_epoch);
}

// What a part of the answer has, in one piece or as pieces for the encoder.
static void show_records(struct fetch_part *p) {
    struct log_view *v = &p->view;
    p->res->records = STR(""); // never null: librdkafka takes null for a parse error
    if (v->n == 0) return;
    if (v->n <= COPY_MAX) {
        char *copy = arena_alloc(&p->all->q->arena, v->n);
        p->res->records = str_n(copy, v->n);
        for (size_t i = 0; i < v->pieces.n; copy += v->pieces.p[i++].bytes.n) memcpy(copy, v->pieces.p[i].bytes.p, v->pieces.p[i].bytes.n);
        log_view_release(v);
        return;
    }
    p->res->records = v->pieces.p[0].bytes;
    if (v->pieces.n == 1) return;
    struct kafka_req *q = p->all->q;
    struct str *pieces = ARENA_ARRAY(&q->arena, struct str, v->pieces.n);
    for (size_t i = 0; i < v->pieces.n; i++) pieces[i] = v->pieces.p[i].bytes;
    p->res->records.n = v->n;
    kafka_out_gather(&q->out, pieces[0].p, pieces, v->pieces.n);
}

static void show_aborted(struct fetching *all, struct kafka_fetch_response_responses_partitions *res, const struct broker_aborted *aborted, size_t n) {
    res->aborted_transactions.n = all->committed ? (int32_t)n : -1;
    if (n == 0) return;
    res->aborted_transactions.p =
        KAFKA_ELEMENTS(&all->q->arena, kafka_fetch_response_responses_partitions_aborted_transactions, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        res->aborted_transactions.p[i].producer_id = aborted[i].producer_id;
        res->aborted_transactions.p[i].first_offset = aborted[i].first;
    }
}

// False: the disk is needed, and may_block is not set.
static bool read_part(struct fetching *all, struct fetch_part *p, bool may_block) {
    struct kafka_fetch_response_responses_partitions *res = p->res;
    struct err err = {0};
    struct broker_offsets offsets = {-1, -1, -1, -1};
    struct broker_aborted *aborted = NULL;
    size_t n_aborted = 0;
    all->bytes -= p->view.n;
    log_view_release(&p->view);
    int error = fetch_error(all, p);
    size_t room = all->bytes < all->max_bytes ? all->max_bytes - all->bytes : 0;
    size_t want = p->req->partition_max_bytes < 0 ? 0 : (size_t)p->req->partition_max_bytes;
    if (want > room) want = room;
    if (error == 0) {
        struct broker *b = kafka_req_broker(all->q);
        enum err_code code;
        if (room == 0 && all->bytes > 0) code = broker_offsets(b, p->topic, p->req->partition, &offsets, &err);
        else if (all->committed)
            code = broker_read_committed(b, p->topic, p->req->partition, p->req->fetch_offset, want, may_block, &p->view, &offsets, &all->q->arena,
                                         &aborted, &n_aborted, &err);
        else code = broker_read_view(b, p->topic, p->req->partition, p->req->fetch_offset, want, may_block, &p->view, &offsets, &err);
        if (code == ERR_BUSY && !may_block) return false;
        if (code != ERR_OK) error = err_info(code)->kafka;
    }
    if (all->bytes > 0 && p->view.n > room) { // only the first to have one gets a batch larger than the room: clients size their buffers by max_bytes
        log_view_release(&p->view);
        n_aborted = 0;
    }
    all->bytes += p->view.n;
    all->failed |= error != 0;
    p->seen = all->committed ? offsets.stable : offsets.high_watermark;
    p->due = false;
    res->partition_index = p->req->partition;
    res->error_code = (int16_t)error;
    res->high_watermark = error == 0 ? offsets.high_watermark : -1;
    res->last_stable_offset = error == 0 ? offsets.stable : -1;
    show_aborted(all, res, aborted, n_aborted);
    res->log_start_offset = error == 0 ? offsets.start : -1;
    return true;
}

// The parts that are due, from `next` on. False: the disk is needed for `next`.
static bool read_parts(struct fetching *all, bool may_block) {
    for (; all->next < all->n; all->next++)
        if (all->parts[all->next].due && !read_part(all, &all->parts[all->next], may_block)) return false;
    return true;
}

static void release_fetch(struct kafka_req *q) {
    struct fetching *all = q->state;
    for (size_t i = 0; i < all->n; i++) log_view_release(&all->parts[i].view);
    kafka_req_home(q)->fetch_bytes -= all->counted;
}

static void stop_waiting(struct fetching *all) {
    for (size_t i = 0; i < all->n; i++) {
        if (all->parts[i].waiting) broker_wait_remove(kafka_req_broker(all->q), &all->parts[i].wait);
        all->parts[i].waiting = false;
    }
}

static void answer_fetch(struct fetching *all) {
    if (all->timed) stop_waiting(all);
    if (all->timed) loop_timer_cancel(kafka_req_loop(all->q), &all->timer);
    if (all->timed) metric_add(M_KAFKA_PURGATORY, "Fetch", -1);
    for (size_t i = 0; i < all->n; i++) {
        show_records(&all->parts[i]);
        all->counted += all->parts[i].view.held;
    }
    kafka_req_home(all->q)->fetch_bytes += all->counted; // until it has been sent
    if (!throttle_fetch(all->q)) fetch_session_end(kafka_req_door(all->q)->sessions, all->q->msg, all->q->version, all->q->res);
    kafka_req_done(all->q);
}

static void finish_fetch(struct kafka_req *q) { // time is up, or the connection closes
    struct fetching *all = q->state;
    all->over = true;
    if (!all->reading) answer_fetch(all);
}

static void fetch_timeout(void *arg) { finish_fetch(arg); }

static void partition_moved(struct broker_wait *w);

static void wait_on(struct fetching *all, struct fetch_part *p) {
    p->wait = (struct broker_wait){.fn = partition_moved, .arg = p, .back = kafka_req_loop(all->q), .committed = all->committed};
    p->waiting = true;
    broker_wait_add(kafka_req_broker(all->q), p->topic, p->req->partition, p->seen, &p->wait);
}

static bool enough(const struct fetching *all) {
    const struct kafka_fetch_request *req = all->q->msg;
    if (all->failed || all->over || req->min_bytes <= 0 || req->max_wait_ms <= 0 || all->n == 0) return true;
    return all->bytes >= (size_t)req->min_bytes || all->bytes >= all->max_bytes;
}

// Every part is looked at once, however many of them move: what was produced together is being synced together.
static bool more_comes(struct fetching *all) {
    if (!all->timed || all->failed || all->over || all->bytes >= all->max_bytes) return false;
    for (; all->syncing < all->n; all->syncing++) {
        const struct fetch_part *p = &all->parts[all->syncing];
        if (p->waiting && broker_wait_soon(&p->wait)) return true;
    }
    return false;
}

static void wait_or_answer(struct fetching *all) {
    struct kafka_req *q = all->q;
    if (enough(all) && more_comes(all)) {
        if (!all->held) loop_timer_set(kafka_req_loop(q), &all->timer, TOGETHER_US, fetch_timeout, q);
        all->held = true;
        return;
    }
    if (enough(all)) {
        answer_fetch(all);
        return;
    }
    if (!all->timed) {
        const struct kafka_fetch_request *req = q->msg;
        all->timed = true;
        metric_add(M_KAFKA_PURGATORY, "Fetch", 1);
        q->cancel = finish_fetch;
        loop_timer_set(kafka_req_loop(q), &all->timer, (int64_t)req->max_wait_ms * 1000, fetch_timeout, q);
    }
    for (size_t i = 0; i < all->n; i++)
        if (!all->parts[i].waiting) wait_on(all, &all->parts[i]);
}

static void read_on_worker(void *arg) { (void)read_parts(((struct kafka_req *)arg)->state, true); }

static void worker_has_read(void *arg) {
    struct fetching *all = ((struct kafka_req *)arg)->state;
    all->reading = false;
    wait_or_answer(all);
}

static void read_due(struct fetching *all) {
    if (read_parts(all, false)) {
        wait_or_answer(all);
        return;
    }
    stop_waiting(all);
    all->reading = true;
    if (kafka_req_submit_read(all->q, read_on_worker, worker_has_read)) return;
    all->reading = false;
    for (; all->next < all->n; all->next++) { // more wait for the disk than there may be connections: the client tries again
        struct fetch_part *p = &all->parts[all->next];
        p->res->partition_index = p->req->partition;
        if (p->due) p->res->error_code = KAFKA_REQUEST_TIMED_OUT;
    }
    all->over = true;
    wait_or_answer(all);
}

static void partition_moved(struct broker_wait *w) {
    struct fetch_part *p = w->arg;
    p->waiting = false;
    p->due = true;
    p->all->next = (size_t)(p - p->all->parts);
    read_due(p->all);
}

static void collect_parts(struct fetching *all, const struct kafka_fetch_request *req, struct kafka_fetch_response *res) {
    struct kafka_req *q = all->q;
    for (int32_t t = 0; t < req->topics.n; t++) all->n += (size_t)req->topics.p[t].partitions.n;
    all->parts = ARENA_ARRAY(&q->arena, struct fetch_part, all->n);
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_fetch_response_responses, req->topics.n);
    res->responses.n = req->topics.n;
    size_t at = 0;
    for (int32_t t = 0; t < req->topics.n; t++) {
        const struct kafka_fetch_request_topics *topic = &req->topics.p[t];
        struct kafka_fetch_response_responses *out = &res->responses.p[t];
        struct broker_topic_info info;
        const char *name = NULL;
        if (q->version < 13) name = kafka_req_name(q, topic->topic);
        else if (broker_topic_get_id(kafka_req_broker(q), topic->topic_id.b, &q->arena, &info)) name = info.name;
        out->topic = topic->topic;
        out->topic_id = topic->topic_id;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_fetch_response_responses_partitions, topic->partitions.n);
        out->partitions.n = topic->partitions.n;
        for (int32_t i = 0; i < topic->partitions.n; i++, at++) {
            struct fetch_part *p = &all->parts[at];
            *p = (struct fetch_part){.all = all, .topic = name, .req = &topic->partitions.p[i], .res = &out->partitions.p[i]};
            p->due = true;
            p->res->aborted_transactions.n = all->committed ? 0 : -1;
        }
    }
}

void kafka_do_fetch(struct kafka_req *q) {
    const struct kafka_fetch_request *req = q->msg;
    struct kafka_fetch_response *res = q->res;
    res->error_code = (int16_t)fetch_session_begin(kafka_req_door(q)->sessions, q->msg, q->version, &q->arena);
    if (res->error_code != 0) {
        kafka_req_done(q);
        return;
    }
    struct fetching *all = ARENA_NEW(&q->arena, struct fetching);
    all->q = q;
    all->committed = req->isolation_level == READ_COMMITTED;
    all->max_bytes = kafka_req_door(q)->fetch_max;
    size_t most = req->max_bytes < 0 ? 0 : (size_t)req->max_bytes; // 0: the first batch alone
    if (most < all->max_bytes) all->max_bytes = most;
    if (kafka_req_home(q)->fetch_bytes > CONN_FETCH_BYTES && all->max_bytes > CONN_FETCH_MIN) all->max_bytes = CONN_FETCH_MIN;
    q->state = all;
    all->max_bytes = throttle_fetch_max(q, all->max_bytes);
    q->release = release_fetch;
    collect_parts(all, req, res);
    read_due(all);
}

// ---- ListOffsets --------------------------------------------------------------------------------------------------------
enum { LATEST = -1, EARLIEST = -2, MAX_TIMESTAMP = -3, EARLIEST_LOCAL = -4, LATEST_TIERED = -5, EARLIEST_PENDING_UPLOAD = -6 };
static const int special_since[] = {0, 0, 0, 7, 8, 9, 11}; // the first version in which -1, -2, … means something

static void list_one(struct kafka_req *q, const char *topic, const struct kafka_list_offsets_request_topics_partitions *req,
                     struct kafka_list_offsets_response_topics_partitions *res) {
    struct err err = {0};
    struct broker_offsets offsets = {-1, -1, -1, -1};
    enum err_code code = broker_offsets(kafka_req_broker(q), topic, req->partition_index, &offsets, &err);
    int64_t offset = -1, found_ms = -1;
    bool committed = ((const struct kafka_list_offsets_request *)q->msg)->isolation_level == READ_COMMITTED;
    int64_t end = committed ? offsets.stable : offsets.high_watermark;
    res->partition_index = req->partition_index;
    res->timestamp = res->offset = res->leader_epoch = -1;
    if (req->timestamp < EARLIEST_PENDING_UPLOAD || (req->timestamp < 0 && q->version < special_since[-req->timestamp])) {
        res->error_code = KAFKA_UNSUPPORTED_VERSION;
        return;
    }
    if (code == ERR_OK && q->version >= 4) res->error_code = (int16_t)kafka_check_leader_epoch(req->current_leader_epoch);
    if (res->error_code != 0) return;
    if (code == ERR_OK) {
        switch (req->timestamp) {
        case LATEST: offset = end; break;
        case EARLIEST:
        case EARLIEST_LOCAL: offset = offsets.start; break;
        case LATEST_TIERED:
        case EARLIEST_PENDING_UPLOAD: break; // nothing is tiered: -1
        default: {
            int64_t at = req->timestamp == MAX_TIMESTAMP ? (int64_t)BROKER_OFFSET_MAX_TIMESTAMP : req->timestamp;
            code = broker_offset_for_time(kafka_req_broker(q), topic, req->partition_index, at, &offset, &found_ms, &err);
        }
        }
    }
    res->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
    if (code != ERR_OK) return;
    if (req->timestamp >= 0 && committed && offset >= end) offset = found_ms = -1; // not yet stable: as if it were not there
    res->offset = offset;
    res->timestamp = found_ms;
    res->leader_epoch = offset >= 0 ? BROKER_LEADER_EPOCH : -1;
}

enum { REPEATS_MAX = 2000 }; // partitions among which a second one of the same number is looked for: it is quadratic

// A partition that is asked for twice is answered once, with an error.
static bool refuse_repeat(struct kafka_list_offsets_response_topics *out, int32_t index) {
    for (int32_t i = 0; i < out->partitions.n && out->partitions.n <= REPEATS_MAX; i++) {
        struct kafka_list_offsets_response_topics_partitions *earlier = &out->partitions.p[i];
        if (earlier->partition_index != index) continue;
        earlier->error_code = KAFKA_INVALID_REQUEST;
        earlier->timestamp = earlier->offset = earlier->leader_epoch = -1;
        return true;
    }
    return false;
}

static void list_all(void *arg) {
    struct kafka_req *q = arg;
    const struct kafka_list_offsets_request *req = q->msg;
    struct kafka_list_offsets_response *res = q->res;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_list_offsets_response_topics, req->topics.n);
    res->topics.n = req->topics.n;
    for (int32_t t = 0; t < req->topics.n; t++) {
        const struct kafka_list_offsets_request_topics *topic = &req->topics.p[t];
        struct kafka_list_offsets_response_topics *out = &res->topics.p[t];
        const char *name = kafka_req_name(q, topic->name);
        out->name = topic->name;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_list_offsets_response_topics_partitions, topic->partitions.n);
        int32_t greatest = -1; // most clients ask in order
        for (int32_t i = 0; i < topic->partitions.n; i++) {
            int32_t index = topic->partitions.p[i].partition_index;
            if (index <= greatest && refuse_repeat(out, index)) continue;
            if (index > greatest) greatest = index;
            list_one(q, name, &topic->partitions.p[i], &out->partitions.p[out->partitions.n++]);
        }
    }
}

static void list_done(void *arg) { kafka_req_done(arg); }

static bool is_search(const struct kafka_list_offsets_request *req) { // by time: reads from the disk
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {
            int64_t at = req->topics.p[t].partitions.p[i].timestamp;
            if (at >= 0 || at == MAX_TIMESTAMP) return true;
        }
    return false;
}

void kafka_do_list_offsets(struct kafka_req *q) {
    if (is_search(q->msg) && kafka_req_submit_read(q, list_all, list_done)) return;
    list_all(q);
    kafka_req_done(q);
}
