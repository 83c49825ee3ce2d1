// SPDX-License-Identifier: Apache-2.0
// Producer ids: handed out from blocks whose upper end is durable (DIR/producer_ids) before the first one of a block is given away,
// so that no id comes twice. Lives on the coordinator's loop; the file is written on the pool.
#include <stdio.h>

#include "broker/internal.h"

enum { BLOCK = 1000 };

struct producer_ids {
    struct broker *broker;
    int64_t next, end;  // [next, end) may be handed out
    int64_t want_end;   // being written
    bool writing;
    enum err_code code; // of the worker
    struct err err;
    struct producer_id_init *first, *last; // waiting for the block; linked through call.self_[0]
};

struct producer_ids *producer_ids_open(struct broker *b, struct err *err) {
    struct producer_ids *ids = MEM_NEW(struct producer_ids);
    ids->broker = b;
    char *path = mem_printf("%s/producer_ids", b->dir);
    if (sys_exists(b->sys, path)) {
        size_t n = 0;
        char *text = sys_read_file(b->sys, path, 64, &n, err);
        int64_t end = -1;
        bool ok = text != NULL && str_to_i64(str_trim(str_n(text, n)), &end) && end >= 0;
        if (text != NULL && !ok) err_set(err, ERR_CORRUPT, "%s: not a number; write the next free producer id into it", path);
        mem_free(text);
        ids->next = ids->end = end;
        if (!ok) {
            mem_free(ids);
            ids = NULL;
        }
    }
    mem_free(path);
    return ids;
}

void producer_ids_free(struct producer_ids *ids) { mem_free(ids); }

static void answer_on_back(void *arg) {
    struct group_call *c = arg;
    c->done(c);
}

static void answer(struct producer_id_init *p, int error, int64_t id, const char *message) {
    p->call.error = error;
    p->producer_id = id;
    p->producer_epoch = id < 0 ? -1 : 0;
    (void)snprintf(p->call.message, sizeof p->call.message, "%.*s", (int)sizeof p->call.message - 1, message);
    loop_post(p->call.back, answer_on_back, &p->call);
}

static void write_block(void *arg) { // on a worker
    struct producer_ids *ids = arg;
    char *path = mem_printf("%s/producer_ids", ids->broker->dir), *text = mem_printf("%lld\n", (long long)ids->want_end);
    ids->code = sys_write_file(ids->broker->sys, path, str_c(text), &ids->err);
    mem_free(text);
    mem_free(path);
}

static void serve(struct producer_ids *ids);

static void block_done(void *arg) {
    struct producer_ids *ids = arg;
    ids->writing = false;
    if (ids->code == ERR_OK) ids->end = ids->want_end;
    while (ids->code != ERR_OK && ids->first != NULL) {
        struct producer_id_init *p = ids->first;
        ids->first = p->call.self_[0];
        answer(p, KAFKA_COORDINATOR_NOT_AVAILABLE, -1, ids->err.msg);
    }
    serve(ids);
}

static void serve(struct producer_ids *ids) {
    while (ids->first != NULL && ids->next < ids->end) {
        struct producer_id_init *p = ids->first;
        ids->first = p->call.self_[0];
        answer(p, 0, ids->next++, "");
    }
    if (ids->first == NULL || ids->writing) return;
    ids->writing = true;
    ids->want_end = ids->end + BLOCK;
    if (pool_submit_then(ids->broker->pool, write_block, ids, ids->broker->loops[0], block_done, &ids->err) == ERR_OK) return;
    ids->code = ERR_BUSY;
    block_done(ids);
}

static void init_on_owner(void *arg) {
    struct producer_id_init *p = arg;
    struct producer_ids *ids = p->call.self_[1];
    p->call.self_[0] = NULL;
    if (ids->first == NULL) ids->first = p;
    else ids->last->call.self_[0] = p;
    ids->last = p;
    serve(ids);
}

void broker_producer_id_init(struct broker *b, struct producer_id_init *p) {
    if (p->transactional_id != NULL) {
        answer(p, KAFKA_UNSUPPORTED_VERSION, -1, "transactions are not supported; leave transactional.id unset");
        return;
    }
    p->call.self_[1] = b->producer_ids;
    loop_post(b->loops[0], init_on_owner, p);
}
