// SPDX-License-Identifier: Apache-2.0
// The description of a streams group's topology (KIP-1331), as StreamsGroupDescribe tells it, as rows. Blocking, the cluster's thread and memory.
#include "client/groups.h"

typedef struct kafka_streams_group_describe_response_groups_topology_description topology;
typedef VEC(struct group_node_row) node_rows;

static const char *const types[] = {"", "source", "processor", "sink"};
enum { N_TYPES = sizeof types / sizeof types[0] };

static struct str joined(struct arena *a, const struct str *p, int32_t n) {
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int32_t i = 0; i < n; i++) {
        if (i > 0) buf_puts(&b, ", ");
        buf_put_str(&b, p[i]);
    }
    struct str s = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

// The three kinds of nodes are of types of their own with the same fields.
#define ADD_NODE(a, rows, of, x)                                                                                                            \
    vec_add((rows), ((struct group_node_row){(of), (x)->name, str_c(types[(x)->node_type > 0 && (x)->node_type < N_TYPES ? (x)->node_type : 0]), \
                                             (x)->sink_topic.p != NULL ? (x)->sink_topic : joined((a), (x)->source_topics.p, (x)->source_topics.n), \
                                             joined((a), (x)->stores.p, (x)->stores.n), joined((a), (x)->successors.p, (x)->successors.n)}))

static void add_rows(struct arena *a, const topology *t, node_rows *rows) {
    for (int32_t i = 0; i < t->subtopologies.n; i++)
        for (int32_t k = 0; k < t->subtopologies.p[i].nodes.n; k++)
            ADD_NODE(a, rows, t->subtopologies.p[i].subtopology_id, &t->subtopologies.p[i].nodes.p[k]);
    for (int32_t i = 0; i < t->global_stores.n; i++) {
        ADD_NODE(a, rows, STR("global"), &t->global_stores.p[i].source);
        ADD_NODE(a, rows, STR("global"), &t->global_stores.p[i].processor);
    }
}

enum err_code groups_topology(struct cluster *c, const struct group_detail *g, struct group_node_row **out, size_t *n, struct err *err) {
    enum { NOT_REQUESTED, NOT_STORED, FAILED };
    struct kafka_streams_group_describe_request req;
    const struct kafka_streams_group_describe_response *res;
    struct str id = g->row.id;
    node_rows rows = {0};
    *n = 0;
    if (!str_ieq(g->row.type, STR("streams"))) return err_set(err, ERR_INVALID, "group '" STR_FMT "' is not a streams group", STR_ARG(id));
    kafka_msg_init(&kafka_streams_group_describe_request_m, &req);
    req.group_ids.p = &id;
    req.group_ids.n = 1;
    req.include_topology_description = true;
    if (cluster_call(c, g->row.coordinator, KAFKA_API_STREAMS_GROUP_DESCRIBE, &req, &res, err) != ERR_OK) return err->code;
    if (res->groups.n != 1) return err_set(err, ERR_PARSE, "the answer has %d groups", res->groups.n);
    const struct kafka_streams_group_describe_response_groups *d = &res->groups.p[0];
    if (cluster_error(d->error_code, d->error_message, err, "group '" STR_FMT "'", STR_ARG(id)) != ERR_OK) return err->code;
    if (d->topology_description == NULL) {
        const char *why = d->topology_description_status == NOT_REQUESTED ? "its brokers do not keep any (Kafka before 4.4)"
                          : d->topology_description_status == FAILED      ? "the broker could not read it"
                                                                          : "none is stored";
        return err_set(err, ERR_NOT_FOUND, "no topology description of group '" STR_FMT "': %s", STR_ARG(id), why);
    }
    add_rows(cluster_memory(c), d->topology_description, &rows);
    *out = ARENA_ARRAY(cluster_memory(c), struct group_node_row, rows.n + 1);
    if (rows.n > 0) memcpy(*out, rows.p, rows.n * sizeof *rows.p);
    *n = rows.n;
    vec_fini(&rows);
    return ERR_OK;
}
