// SPDX-License-Identifier: Apache-2.0
// Acknowledgements: of ShareAcknowledge, and those that ride on a ShareFetch. Each partition's are all taken or all refused, and are answered
// when they are durable.
#include "base/metrics.h"
#include "broker/share_inside.h"

struct share_acks {
    struct share *share;
    size_t left;
    loop_fn *fn;
    void *arg;
};
struct ack_part {
    struct share_acks *all;
    struct share_response_part *out;
};

static void one_ended(struct share_acks *all) {
    if (--all->left > 0) return;
    loop_post(all->share->loop, all->fn, all->arg);
    mem_free(all);
}

static void stored(void *arg, int error, const char *message) {
    struct ack_part *x = arg;
    x->out->ack_error = error;
    x->out->ack_message = error == 0 ? NULL : message;
    one_ended(x->all);
    mem_free(x);
}

static void refuse(struct share_response_part *out, int error, const char *message) {
    out->ack_error = error;
    out->ack_message = message;
}

static bool has_renew(const struct share_request_part *in) {
    for (size_t i = 0; i < in->n_acks; i++)
        for (size_t k = 0; k < in->acks[i].n_types; k++)
            if (in->acks[i].types[k] == SHARE_RENEW) return true;
    return false;
}

static void count_acks(const struct share_request_part *in) {
    static const char *const names[] = {"gap", "accept", "release", "reject", "renew"};
    for (size_t i = 0; i < in->n_acks; i++) {
        const struct share_ack *a = &in->acks[i];
        int64_t each = a->n_types == 1 ? a->last - a->first + 1 : 1;
        for (size_t k = 0; k < a->n_types;) {
            size_t same = k;
            while (same < a->n_types && a->types[same] == a->types[k]) same++;
            metric_add(M_SHARE_ACKNOWLEDGEMENTS, names[(int)a->types[k]], each * (int64_t)(same - k));
            k = same;
        }
    }
}

static bool is_topic(const struct share *s, const uint8_t id[16]) {
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    bool there = broker_topic_get_id(s->broker, id, &a, &info);
    arena_fini(&a);
    return there;
}

static void acknowledge_part(struct share_acks *all, const char *group, uint64_t owner, bool is_renew, const struct share_request_part *in,
                             struct share_response_part *out) {
    struct share *s = all->share;
    struct share_part *p = share_part_find(s, group, in->topic_id, in->partition);
    if (p == NULL || p->leaving) {
        refuse(out, is_topic(s, in->topic_id) ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_UNKNOWN_TOPIC_ID, NULL);
        return;
    }
    if (has_renew(in) && (!is_renew || !share_config_of(s, group).renew)) {
        const char *disabled = "Renew acknowledgements are disabled for the group.", *silent = "Renew acknowledgements need a request that says so.";
        refuse(out, is_renew ? KAFKA_INVALID_RECORD_STATE : KAFKA_INVALID_REQUEST, is_renew ? disabled : silent);
        return;
    }
    share_ranges ranges = {0};
    uint64_t change = 0;
    const char *why = NULL;
    int error = share_runs_acknowledge(&p->runs, owner, sys_mono_us(s->broker->sys), in->acks, in->n_acks, &ranges, &change, &why);
    if (error != 0) refuse(out, error, why);
    else count_acks(in);
    if (change != 0) {
        struct ack_part *x = MEM_NEW(struct ack_part);
        *x = (struct ack_part){all, out};
        all->left++;
        share_part_store(p, change, &ranges, stored, x);
    }
    vec_fini(&ranges);
}

void share_acks_start(struct share *s, const char *group, const char *member, bool is_renew, const struct share_request_part *parts, size_t n,
                      struct share_response_part *out, loop_fn *fn, void *arg) {
    struct share_acks *all = MEM_NEW(struct share_acks);
    *all = (struct share_acks){.share = s, .left = 1, .fn = fn, .arg = arg};
    uint64_t owner = share_owner(member);
    for (size_t i = 0; i < n; i++)
        if (parts[i].n_acks > 0) acknowledge_part(all, group, owner, is_renew, &parts[i], &out[i]);
    one_ended(all);
}

// ---- ShareAcknowledge -----------------------------------------------------------------------------------------------

static void session_ended(void *arg, int error, const char *message) {
    struct share_acknowledge *a = arg;
    (void)error;
    (void)message;
    coordinator_answer(&a->call, 0, "");
}

static void acks_ended(void *arg) {
    struct share_acknowledge *a = arg;
    struct share *s = a->call.self_[0];
    struct share_session *x = a->session_epoch == SHARE_SESSION_FINAL ? share_session_find(s, a->group_id, a->member_id) : NULL;
    if (x != NULL) share_session_end(s, x, session_ended, a);
    else coordinator_answer(&a->call, 0, "");
}

static void acknowledge_on_loop(void *arg) {
    struct share_acknowledge *a = arg;
    struct share *s = a->call.self_[0];
    struct share_session *x = NULL;
    int error = s->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : share_session_acknowledge(s, a, &x);
    if (error != 0) {
        coordinator_answer(&a->call, error, "");
        return;
    }
    a->lock_ms = (int32_t)(share_config_of(s, a->group_id).limits.lock_us / 1000);
    share_acks_start(s, a->group_id, a->member_id, a->is_renew, a->parts, a->n_parts, a->out, acks_ended, a);
}

void share_acknowledge(struct broker *b, struct share_acknowledge *a) {
    a->call.self_[0] = b->share;
    a->call.error = 0;
    a->call.message[0] = '\0';
    a->out = ARENA_ARRAY(a->call.arena, struct share_response_part, a->n_parts + 1);
    for (size_t i = 0; i < a->n_parts; i++) {
        memcpy(a->out[i].topic_id, a->parts[i].topic_id, 16);
        a->out[i].partition = a->parts[i].partition;
    }
    loop_post(b->share->loop, acknowledge_on_loop, a);
}
