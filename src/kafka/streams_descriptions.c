// SPDX-License-Identifier: Apache-2.0
// StreamsGroupTopologyDescriptionUpdate (KIP-1331), and the description in StreamsGroupDescribe. The broker keeps it as bytes: the description
// as it is on the wire. Both messages spell it alike, in structures of their own; so what was encoded by one is decoded by the other. On a
// request's loop, in its arena; nothing here is durable, the broker's answer is.
#include "base/log.h"
#include "base/map.h"
#include "kafka/streams_descriptions.h"

enum { SOURCE = 1, PROCESSOR = 2, SINK = 3 }; // types of nodes

typedef struct kafka_streams_group_topology_description_update_request_topology_description pushed;

static const struct kafka_message pushed_m = {"TopologyDescription", 0, 0, 0, 0,
                                              &kafka_streams_group_topology_description_update_request_topology_description_s};
static const struct kafka_message described_m = {"TopologyDescription", 1, 1, 0, 0,
                                                 &kafka_streams_group_describe_response_groups_topology_description_s};

// Names, each once, in their order. Not of a description that is much too long anyway.
static void make_unique(const struct kafka_req *q, struct str *p, int32_t *n) {
    struct map seen;
    int32_t kept = 0;
    if (*n < 2 || q->frame_n > (size_t)STREAMS_DESCRIPTION_MAX * 2) return;
    map_init(&seen);
    for (int32_t i = 0; i < *n; i++)
        if (map_get(&seen, p[i]) == NULL) {
            map_put(&seen, p[i], p);
            p[kept++] = p[i];
        }
    *n = kept;
    map_fini(&seen);
}

// Of a node only what its type has is kept. An unknown type is a fault.
#define CLEAN_NODE(q, x, fault)                                                                              \
    do {                                                                                                     \
        if ((x)->node_type != SOURCE) (x)->source_topics.n = 0;                                              \
        if ((x)->node_type != PROCESSOR) (x)->stores.n = 0;                                                  \
        if ((x)->node_type != SINK) (x)->sink_topic = (struct str){NULL, 0};                                 \
        make_unique((q), (x)->source_topics.p, &(x)->source_topics.n);                                       \
        make_unique((q), (x)->stores.p, &(x)->stores.n);                                                     \
        make_unique((q), (x)->successors.p, &(x)->successors.n);                                             \
        if (*(fault) == NULL && ((x)->node_type < SOURCE || (x)->node_type > SINK))                          \
            *(fault) = arena_printf(&(q)->arena, "Unknown topology node type: %d", (x)->node_type);          \
    } while (0)

static const char *clean(struct kafka_req *q, pushed *d) {
    const char *fault = NULL;
    for (int32_t i = 0; i < d->subtopologies.n; i++)
        for (int32_t k = 0; k < d->subtopologies.p[i].nodes.n; k++) CLEAN_NODE(q, &d->subtopologies.p[i].nodes.p[k], &fault);
    for (int32_t i = 0; i < d->global_stores.n; i++) {
        CLEAN_NODE(q, &d->global_stores.p[i].source, &fault);
        CLEAN_NODE(q, &d->global_stores.p[i].processor, &fault);
        if (fault == NULL && (d->global_stores.p[i].source.node_type != SOURCE || d->global_stores.p[i].processor.node_type != PROCESSOR))
            fault = "Global store must be composed of a source and a processor node.";
    }
    return fault;
}

static void updated(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct kafka_streams_group_topology_description_update_response *res = q->res;
    res->error_code = (int16_t)call->error;
    if (call->error != 0 && call->message[0] != '\0') res->error_message = arena_str(&q->arena, str_c(call->message));
    kafka_req_done(q);
}

void kafka_do_streams_group_topology_description_update(struct kafka_req *q) {
    struct kafka_streams_group_topology_description_update_request *req = q->msg;
    struct streams_description *d = ARENA_NEW(&q->arena, struct streams_description);
    struct kafka_out out;
    d->call = (struct group_call){.done = updated, .back = kafka_req_loop(q), .arena = &q->arena, .arg = q};
    d->group_id = kafka_req_name(q, req->group_id);
    d->member_id = kafka_req_name(q, req->member_id);
    d->topology_epoch = req->topology_epoch;
    d->fault = clean(q, &req->topology_description);
    kafka_out_init(&out, STREAMS_DESCRIPTION_MAX);
    out.splice_min = SIZE_MAX;
    kafka_msg_encode(&pushed_m, 0, &req->topology_description, &out);
    // One that is too long is told by its length alone.
    d->description = out.buf.failed ? (struct str){NULL, q->frame_n > STREAMS_DESCRIPTION_MAX ? q->frame_n : STREAMS_DESCRIPTION_MAX + 1}
                                    : arena_str(&q->arena, buf_str(&out.buf));
    kafka_out_fini(&out);
    group_streams_description(kafka_req_broker(q), d);
}

void kafka_fill_description(struct kafka_req *q, const struct streams_describe *d, struct kafka_streams_group_describe_response_groups *g) {
    g->topology_description_status = (int8_t)d->description_status;
    if (d->description_status != STREAMS_DESCRIPTION_AVAILABLE) return;
    struct err err = {0};
    struct rd r = rd_of(d->description.p, d->description.n);
    g->topology_description = ARENA_NEW(&q->arena, struct kafka_streams_group_describe_response_groups_topology_description);
    kafka_msg_init(&described_m, g->topology_description);
    if (kafka_msg_decode(&described_m, 1, &r, &q->arena, g->topology_description, &err) == ERR_OK) return;
    log_warn("kafka", "a stored topology description cannot be read", "group", d->group_id, "error", err.msg, NULL);
    g->topology_description = NULL;
    g->topology_description_status = STREAMS_DESCRIPTION_ERROR;
}
