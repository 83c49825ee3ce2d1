// SPDX-License-Identifier: Apache-2.0
// Groups over cluster.h: each type has its own calls of the protocol; here they become one shape. One thread; memory is the cluster's.
#include "client/groups.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

// ---- which groups there are -----------------------------------------------------------------------------------------------

static int by_id(const void *a, const void *b) { return str_cmp(((const struct group_row *)a)->id, ((const struct group_row *)b)->id); }

typedef VEC(struct group_row) group_rows;

static enum err_code list_of(struct cluster *c, int32_t node, const struct kafka_list_groups_request *req, group_rows *rows, struct err *err) {
    const struct kafka_list_groups_response *res;
    if (cluster_call(c, node, KAFKA_API_LIST_GROUPS, req, &res, err) != ERR_OK) return err->code;
    if (cluster_error(res->error_code, (struct str){0}, err, "groups of node %d", node) != ERR_OK) return err->code;
    for (int32_t i = 0; i < res->groups.n; i++) {
        const struct kafka_list_groups_response_groups *g = &res->groups.p[i];
        vec_add(rows, ((struct group_row){g->group_id, g->group_type.n > 0 ? g->group_type : STR("Classic"), g->protocol_type, g->group_state, node}));
    }
    return ERR_OK;
}

enum err_code groups_list(struct cluster *c, const struct str *states, int32_t n_states, const struct str *types, int32_t n_types, struct group_row **out,
                          size_t *n, struct err *err) {
    const struct kafka_metadata_response *nodes = cluster_nodes(c);
    struct kafka_list_groups_request req;
    kafka_msg_init(&kafka_list_groups_request_m, &req);
    req.states_filter.p = (struct str *)(uintptr_t)states;
    req.states_filter.n = n_states;
    req.types_filter.p = (struct str *)(uintptr_t)types;
    req.types_filter.n = n_types;
    group_rows rows = {0};
    enum err_code code = ERR_OK;
    for (int32_t i = 0; i < nodes->brokers.n && code == ERR_OK; i++) code = list_of(c, nodes->brokers.p[i].node_id, &req, &rows, err);
    *n = rows.n;
    *out = ARENA_ARRAY(cluster_memory(c), struct group_row, rows.n);
    if (rows.n > 0) memcpy(*out, rows.p, rows.n * sizeof *rows.p);
    if (rows.n > 0) qsort(*out, rows.n, sizeof **out, by_id);
    vec_fini(&rows);
    return code;
}

// ---- one group --------------------------------------------------------------------------------------------------------------

typedef VEC(struct group_part) group_parts;

static void add_parts(group_parts *v, struct str topic, const int32_t *p, int32_t n) {
    for (int32_t i = 0; i < n; i++) vec_add(v, ((struct group_part){topic, p[i]}));
}

static void keep_parts(struct cluster *c, group_parts *v, struct group_member_row *m) {
    m->n_parts = v->n;
    m->parts = ARENA_ARRAY(cluster_memory(c), struct group_part, v->n);
    if (v->n > 0) memcpy(m->parts, v->p, v->n * sizeof *v->p);
    vec_fini(v);
}

// What the assignor of a classic consumer wrote; other kinds of members have bytes that only they understand.
static void classic_parts(struct cluster *c, struct str assignment, struct group_member_row *m) {
    struct kafka_consumer_protocol_assignment a;
    struct rd r = rd_of(assignment.p, assignment.n);
    group_parts parts = {0};
    int version = (int16_t)rd_be16(&r);
    if (version > kafka_consumer_protocol_assignment_m.max) version = kafka_consumer_protocol_assignment_m.max;
    kafka_msg_init(&kafka_consumer_protocol_assignment_m, &a);
    bool ok = !r.failed && version >= 0 && kafka_msg_decode(&kafka_consumer_protocol_assignment_m, version, &r, cluster_memory(c), &a, NULL) == ERR_OK;
    for (int32_t i = 0; ok && i < a.assigned_partitions.n; i++)
        add_parts(&parts, a.assigned_partitions.p[i].topic, a.assigned_partitions.p[i].partitions.p, a.assigned_partitions.p[i].partitions.n);
    keep_parts(c, &parts, m);
}

static enum err_code describe_classic(struct cluster *c, struct group_detail *g, struct err *err) {
    struct kafka_describe_groups_request req;
    const struct kafka_describe_groups_response *res;
    kafka_msg_init(&kafka_describe_groups_request_m, &req);
    req.groups.p = &g->row.id;
    req.groups.n = 1;
    if (cluster_call(c, g->row.coordinator, KAFKA_API_DESCRIBE_GROUPS, &req, &res, err) != ERR_OK) return err->code;
    if (res->groups.n != 1) return err_set(err, ERR_PARSE, "the answer has %d groups", res->groups.n);
    const struct kafka_describe_groups_response_groups *d = &res->groups.p[0];
    if (cluster_error(d->error_code, d->error_message, err, "group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    g->row.state = d->group_state;
    g->row.protocol_type = d->protocol_type;
    g->assignor = d->protocol_data;
    g->epoch = g->assignment_epoch = -1;
    g->n_members = (size_t)d->members.n;
    g->members = ARENA_ARRAY(cluster_memory(c), struct group_member_row, g->n_members);
    for (size_t i = 0; i < g->n_members; i++) {
        const struct kafka_describe_groups_response_groups_members *m = &d->members.p[i];
        g->members[i] = (struct group_member_row){m->member_id, m->group_instance_id, m->client_id, m->client_host, -1, NULL, 0};
        classic_parts(c, m->member_assignment, &g->members[i]);
    }
    return ERR_OK;
}

// The describe calls of the newer types have the same shape but for what a member is assigned. T: consumer, share, streams.
#define DESCRIBE_NEW(T, API, ASSIGNOR, INSTANCE, PARTS)                                                                                                 \
    static enum err_code describe_##T(struct cluster *c, struct group_detail *g, struct err *err) {                                                     \
        struct kafka_##T##_group_describe_request req;                                                                                                  \
        const struct kafka_##T##_group_describe_response *res;                                                                                          \
        kafka_msg_init(&kafka_##T##_group_describe_request_m, &req);                                                                                    \
        req.group_ids.p = &g->row.id;                                                                                                                   \
        req.group_ids.n = 1;                                                                                                                            \
        if (cluster_call(c, g->row.coordinator, API, &req, &res, err) != ERR_OK) return err->code;                                                      \
        if (res->groups.n != 1) return err_set(err, ERR_PARSE, "the answer has %d groups", res->groups.n);                                              \
        const struct kafka_##T##_group_describe_response_groups *d = &res->groups.p[0];                                                                 \
        if (cluster_error(d->error_code, d->error_message, err, "group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;             \
        g->row.state = d->group_state;                                                                                                                  \
        g->assignor = ASSIGNOR;                                                                                                                         \
        g->epoch = d->group_epoch;                                                                                                                      \
        g->assignment_epoch = d->assignment_epoch;                                                                                                      \
        g->n_members = (size_t)d->members.n;                                                                                                            \
        g->members = ARENA_ARRAY(cluster_memory(c), struct group_member_row, g->n_members);                                                             \
        for (size_t i = 0; i < g->n_members; i++) {                                                                                                     \
            const struct kafka_##T##_group_describe_response_groups_members *m = &d->members.p[i];                                                      \
            g->members[i] = (struct group_member_row){m->member_id, INSTANCE, m->client_id, m->client_host, m->member_epoch, NULL, 0};                  \
            group_parts parts = {0};                                                                                                                    \
            for (int32_t k = 0; k < m->assignment.PARTS.n; k++) put_##T(&parts, &m->assignment.PARTS.p[k]);                                             \
            keep_parts(c, &parts, &g->members[i]);                                                                                                      \
        }                                                                                                                                               \
        return ERR_OK;                                                                                                                                  \
    }

static void put_consumer(group_parts *v, const struct kafka_consumer_group_describe_response_groups_members_assignment_topic_partitions *t) {
    add_parts(v, t->topic_name, t->partitions.p, t->partitions.n);
}
static void put_share(group_parts *v, const struct kafka_share_group_describe_response_groups_members_assignment_topic_partitions *t) {
    add_parts(v, t->topic_name, t->partitions.p, t->partitions.n);
}
static void put_streams(group_parts *v, const struct kafka_streams_group_describe_response_groups_members_assignment_active_tasks *t) {
    add_parts(v, t->subtopology_id, t->partitions.p, t->partitions.n);
}
DESCRIBE_NEW(consumer, KAFKA_API_CONSUMER_GROUP_DESCRIBE, d->assignor_name, m->instance_id, topic_partitions)
DESCRIBE_NEW(share, KAFKA_API_SHARE_GROUP_DESCRIBE, d->assignor_name, ((struct str){NULL, 0}), topic_partitions)
DESCRIBE_NEW(streams, KAFKA_API_STREAMS_GROUP_DESCRIBE, d->assignor_name, m->instance_id, active_tasks)

enum err_code groups_describe(struct cluster *c, struct str id, struct group_detail *out, struct err *err) {
    struct group_row *rows;
    size_t n;
    *out = (struct group_detail){0};
    if (groups_list(c, NULL, 0, NULL, 0, &rows, &n, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < n; i++)
        if (str_eq(rows[i].id, id)) out->row = rows[i];
    if (out->row.id.p == NULL) return err_set(err, ERR_NOT_FOUND, "no group '%.*s'", (int)id.n, id.p);
    if (str_ieq(out->row.type, STR("consumer"))) return describe_consumer(c, out, err);
    if (str_ieq(out->row.type, STR("share"))) return describe_share(c, out, err);
    if (str_ieq(out->row.type, STR("streams"))) return describe_streams(c, out, err);
    return describe_classic(c, out, err);
}

enum err_code groups_delete(struct cluster *c, struct str id, struct err *err) {
    struct kafka_delete_groups_request req;
    const struct kafka_delete_groups_response *res;
    int32_t node;
    if (cluster_find(c, CLUSTER_GROUP, id, &node, err) != ERR_OK) return err->code;
    kafka_msg_init(&kafka_delete_groups_request_m, &req);
    req.groups_names.p = &id;
    req.groups_names.n = 1;
    if (cluster_call(c, node, KAFKA_API_DELETE_GROUPS, &req, &res, err) != ERR_OK) return err->code;
    for (int32_t i = 0; i < res->results.n; i++)
        if (cluster_error(res->results.p[i].error_code, res->results.p[i].error_message, err, "group '%.*s'", (int)id.n, id.p) != ERR_OK) return err->code;
    return ERR_OK;
}

// ---- offsets of logs ----------------------------------------------------------------------------------------------------------

static const struct kafka_metadata_response_topics *topic_in(const struct kafka_metadata_response *md, struct str name) {
    for (int32_t i = 0; i < md->topics.n; i++)
        if (str_eq(md->topics.p[i].name, name)) return &md->topics.p[i];
    return NULL;
}

static int32_t leader_in(const struct kafka_metadata_response *md, struct str name, int32_t partition) {
    const struct kafka_metadata_response_topics *t = topic_in(md, name);
    for (int32_t i = 0; t != NULL && i < t->partitions.n; i++)
        if (t->partitions.p[i].partition_index == partition) return t->partitions.p[i].leader_id;
    return -1;
}

// Asks one leader for all of the queries that it leads. A query is one topic of one partition: simple, and the answer says the names.
static enum err_code ask_leader(struct cluster *c, int32_t leader, const int32_t *leaders, struct offset_query *q, size_t n, struct err *err) {
    struct kafka_list_offsets_request req;
    const struct kafka_list_offsets_response *res;
    kafka_msg_init(&kafka_list_offsets_request_m, &req);
    req.replica_id = -1;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_list_offsets_request_topics, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        if (leaders[i] != leader) continue;
        struct kafka_list_offsets_request_topics *t = &req.topics.p[req.topics.n++];
        t->name = q[i].topic;
        t->partitions.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_list_offsets_request_topics_partitions, 1);
        t->partitions.n = 1;
        t->partitions.p[0].partition_index = q[i].partition;
        t->partitions.p[0].current_leader_epoch = -1;
        t->partitions.p[0].timestamp = q[i].timestamp;
    }
    if (cluster_call(c, leader, KAFKA_API_LIST_OFFSETS, &req, &res, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < n; i++)
        for (int32_t t = 0; leaders[i] == leader && t < res->topics.n; t++)
            for (int32_t p = 0; str_eq(res->topics.p[t].name, q[i].topic) && p < res->topics.p[t].partitions.n; p++) {
                const struct kafka_list_offsets_response_topics_partitions *r = &res->topics.p[t].partitions.p[p];
                if (r->partition_index != q[i].partition) continue;
                q[i].error = r->error_code;
                q[i].offset = r->error_code == 0 ? r->offset : -1;
                q[i].found_ms = r->timestamp;
            }
    return ERR_OK;
}

// Queries for the same partition go one after the other: an answer is found by its name.
enum err_code cluster_list_offsets(struct cluster *c, struct offset_query *q, size_t n, struct err *err) {
    const struct kafka_metadata_response *md, *nodes = cluster_nodes(c);
    if (cluster_topics(c, NULL, -1, &md, err) != ERR_OK) return err->code;
    int32_t *leaders = ARENA_ARRAY(cluster_memory(c), int32_t, n);
    for (size_t i = 0; i < n; i++) {
        leaders[i] = leader_in(md, q[i].topic, q[i].partition);
        q[i].offset = q[i].found_ms = -1;
        q[i].error = leaders[i] < 0 ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
    }
    enum err_code code = ERR_OK;
    for (int32_t i = 0; i < nodes->brokers.n && code == ERR_OK; i++) {
        bool any = false;
        for (size_t k = 0; k < n; k++) any = any || leaders[k] == nodes->brokers.p[i].node_id;
        if (any) code = ask_leader(c, nodes->brokers.p[i].node_id, leaders, q, n, err);
    }
    return code;
}

// ---- offsets of groups ----------------------------------------------------------------------------------------------------------

typedef VEC(struct group_offset_row) offset_rows;

static int by_partition(const void *a, const void *b) {
    const struct group_offset_row *x = a, *y = b;
    int d = str_cmp(x->topic, y->topic);
    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

static void add_row(offset_rows *rows, struct str topic, int32_t partition, int64_t offset, struct str metadata) {
    vec_add(rows, ((struct group_offset_row){
                      .topic = topic, .partition = partition, .offset = offset, .start = -1, .end = -1, .lag = -1, .metadata = metadata}));
}

static enum err_code committed(struct cluster *c, const struct group_detail *g, offset_rows *rows, struct err *err) {
    struct kafka_offset_fetch_request req;
    const struct kafka_offset_fetch_response *res;
    kafka_msg_init(&kafka_offset_fetch_request_m, &req);
    req.group_id = g->row.id; // before version 8
    req.topics.n = -1;
    req.groups.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_offset_fetch_request_groups, 1);
    req.groups.n = 1;
    req.groups.p[0].group_id = g->row.id;
    req.groups.p[0].topics.n = -1;
    req.groups.p[0].member_epoch = -1;
    int code, attempt = 0;
    do {
        if (cluster_call(c, g->row.coordinator, KAFKA_API_OFFSET_FETCH, &req, &res, err) != ERR_OK) return err->code;
        code = res->groups.n > 0 ? res->groups.p[0].error_code : res->error_code;
    } while (cluster_again(c, code, attempt++));
    if (cluster_error(code, (struct str){0}, err, "offsets of group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    for (int32_t t = 0; t < res->topics.n; t++)
        for (int32_t i = 0; i < res->topics.p[t].partitions.n; i++) {
            const struct kafka_offset_fetch_response_topics_partitions *p = &res->topics.p[t].partitions.p[i];
            add_row(rows, res->topics.p[t].name, p->partition_index, p->committed_offset, p->metadata);
        }
    for (int32_t t = 0; res->groups.n > 0 && t < res->groups.p[0].topics.n; t++)
        for (int32_t i = 0; i < res->groups.p[0].topics.p[t].partitions.n; i++) {
            const struct kafka_offset_fetch_response_groups_topics_partitions *p = &res->groups.p[0].topics.p[t].partitions.p[i];
            add_row(rows, res->groups.p[0].topics.p[t].name, p->partition_index, p->committed_offset, p->metadata);
        }
    return ERR_OK;
}

static enum err_code share_offsets(struct cluster *c, const struct group_detail *g, offset_rows *rows, struct err *err) {
    struct kafka_describe_share_group_offsets_request req;
    const struct kafka_describe_share_group_offsets_response *res;
    kafka_msg_init(&kafka_describe_share_group_offsets_request_m, &req);
    req.groups.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_describe_share_group_offsets_request_groups, 1);
    req.groups.n = 1;
    req.groups.p[0].group_id = g->row.id;
    req.groups.p[0].topics.n = -1;
    if (cluster_call(c, g->row.coordinator, KAFKA_API_DESCRIBE_SHARE_GROUP_OFFSETS, &req, &res, err) != ERR_OK) return err->code;
    if (res->groups.n != 1) return err_set(err, ERR_PARSE, "the answer has %d groups", res->groups.n);
    const struct kafka_describe_share_group_offsets_response_groups *d = &res->groups.p[0];
    if (cluster_error(d->error_code, d->error_message, err, "offsets of group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    for (int32_t t = 0; t < d->topics.n; t++)
        for (int32_t i = 0; i < d->topics.p[t].partitions.n; i++)
            if (d->topics.p[t].partitions.p[i].error_code == 0)
                add_row(rows, d->topics.p[t].topic_name, d->topics.p[t].partitions.p[i].partition_index, d->topics.p[t].partitions.p[i].start_offset,
                        (struct str){NULL, 0});
    return ERR_OK;
}

static void add_assigned(const struct group_detail *g, offset_rows *rows) {
    size_t known = rows->n;
    for (size_t m = 0; m < g->n_members; m++)
        for (size_t i = 0; i < g->members[m].n_parts; i++) {
            const struct group_part *p = &g->members[m].parts[i];
            size_t k = 0;
            while (k < known && !(str_eq(rows->p[k].topic, p->topic) && rows->p[k].partition == p->partition)) k++;
            if (k == known) {
                add_row(rows, p->topic, p->partition, -1, (struct str){NULL, 0});
                k = rows->n - 1;
            }
            rows->p[k].member = &g->members[m];
        }
}

enum err_code groups_offsets(struct cluster *c, const struct group_detail *g, struct group_offset_row **out, size_t *n, struct err *err) {
    offset_rows rows = {0};
    bool share = str_ieq(g->row.type, STR("share")), streams = str_ieq(g->row.type, STR("streams"));
    enum err_code code = share ? share_offsets(c, g, &rows, err) : committed(c, g, &rows, err);
    if (code == ERR_OK && !streams) add_assigned(g, &rows); // a streams member has tasks, not partitions
    *n = rows.n;
    *out = ARENA_ARRAY(cluster_memory(c), struct group_offset_row, rows.n);
    if (rows.n > 0) memcpy(*out, rows.p, rows.n * sizeof *rows.p);
    if (rows.n > 0) qsort(*out, rows.n, sizeof **out, by_partition);
    vec_fini(&rows);
    struct offset_query *q = ARENA_ARRAY(cluster_memory(c), struct offset_query, *n);
    static const int64_t ends[] = {-1, -2};
    for (int e = 0; e < 2 && code == ERR_OK && *n > 0; e++) {
        for (size_t i = 0; i < *n; i++) q[i] = (struct offset_query){.topic = (*out)[i].topic, .partition = (*out)[i].partition, .timestamp = ends[e]};
        code = cluster_list_offsets(c, q, *n, err);
        for (size_t i = 0; i < *n && code == ERR_OK; i++) *(e == 0 ? &(*out)[i].end : &(*out)[i].start) = q[i].offset;
    }
    for (size_t i = 0; i < *n; i++) {
        struct group_offset_row *r = &(*out)[i];
        if (r->end >= 0 && r->offset >= 0) r->lag = r->end > r->offset ? r->end - r->offset : 0;
    }
    return code;
}

static enum err_code commit_share(struct cluster *c, const struct group_detail *g, const struct group_offset_row *rows, size_t n, struct err *err) {
    struct kafka_alter_share_group_offsets_request req;
    const struct kafka_alter_share_group_offsets_response *res;
    kafka_msg_init(&kafka_alter_share_group_offsets_request_m, &req);
    req.group_id = g->row.id;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_alter_share_group_offsets_request_topics, (int32_t)n);
    for (size_t i = 0; i < n;) { // rows of one topic stand together
        struct kafka_alter_share_group_offsets_request_topics *t = &req.topics.p[req.topics.n++];
        t->topic_name = rows[i].topic;
        t->partitions.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_alter_share_group_offsets_request_topics_partitions, (int32_t)(n - i));
        for (; i < n && str_eq(rows[i].topic, t->topic_name); i++) {
            t->partitions.p[t->partitions.n].partition_index = rows[i].partition;
            t->partitions.p[t->partitions.n++].start_offset = rows[i].offset;
        }
    }
    if (cluster_call(c, g->row.coordinator, KAFKA_API_ALTER_SHARE_GROUP_OFFSETS, &req, &res, err) != ERR_OK) return err->code;
    if (cluster_error(res->error_code, res->error_message, err, "group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    for (int32_t t = 0; t < res->responses.n; t++)
        for (int32_t i = 0; i < res->responses.p[t].partitions.n; i++)
            if (cluster_error(res->responses.p[t].partitions.p[i].error_code, res->responses.p[t].partitions.p[i].error_message, err, "%.*s-%d",
                              (int)res->responses.p[t].topic_name.n, res->responses.p[t].topic_name.p,
                              res->responses.p[t].partitions.p[i].partition_index) != ERR_OK)
                return err->code;
    return ERR_OK;
}

enum err_code groups_commit(struct cluster *c, const struct group_detail *g, const struct group_offset_row *rows, size_t n, struct err *err) {
    if (str_ieq(g->row.type, STR("share"))) return commit_share(c, g, rows, n, err);
    struct kafka_offset_commit_request req;
    const struct kafka_offset_commit_response *res;
    kafka_msg_init(&kafka_offset_commit_request_m, &req);
    req.group_id = g->row.id;
    req.generation_id_or_member_epoch = -1;
    req.member_id = STR("");
    req.retention_time_ms = -1;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_offset_commit_request_topics, (int32_t)n);
    for (size_t i = 0; i < n;) {
        struct kafka_offset_commit_request_topics *t = &req.topics.p[req.topics.n++];
        t->name = rows[i].topic;
        t->partitions.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_offset_commit_request_topics_partitions, (int32_t)(n - i));
        for (; i < n && str_eq(rows[i].topic, t->name); i++) {
            struct kafka_offset_commit_request_topics_partitions *p = &t->partitions.p[t->partitions.n++];
            p->partition_index = rows[i].partition;
            p->committed_offset = rows[i].offset;
            p->committed_leader_epoch = -1;
            p->committed_metadata = STR("");
        }
    }
    int first, attempt = 0;
    do {
        if (cluster_call(c, g->row.coordinator, KAFKA_API_OFFSET_COMMIT, &req, &res, err) != ERR_OK) return err->code;
        first = res->topics.n > 0 && res->topics.p[0].partitions.n > 0 ? res->topics.p[0].partitions.p[0].error_code : 0;
    } while (cluster_again(c, first, attempt++));
    for (int32_t t = 0; t < res->topics.n; t++)
        for (int32_t i = 0; i < res->topics.p[t].partitions.n; i++)
            if (cluster_error(res->topics.p[t].partitions.p[i].error_code, (struct str){0}, err, "%.*s-%d", (int)res->topics.p[t].name.n,
                              res->topics.p[t].name.p, res->topics.p[t].partitions.p[i].partition_index) != ERR_OK)
                return err->code;
    return ERR_OK;
}

static enum err_code forget_share(struct cluster *c, const struct group_detail *g, struct str topic, struct err *err) {
    struct kafka_delete_share_group_offsets_request req;
    const struct kafka_delete_share_group_offsets_response *res;
    kafka_msg_init(&kafka_delete_share_group_offsets_request_m, &req);
    req.group_id = g->row.id;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_delete_share_group_offsets_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].topic_name = topic;
    if (cluster_call(c, g->row.coordinator, KAFKA_API_DELETE_SHARE_GROUP_OFFSETS, &req, &res, err) != ERR_OK) return err->code;
    if (cluster_error(res->error_code, res->error_message, err, "group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    for (int32_t i = 0; i < res->responses.n; i++)
        if (cluster_error(res->responses.p[i].error_code, res->responses.p[i].error_message, err, "topic '%.*s'", (int)topic.n, topic.p) != ERR_OK)
            return err->code;
    return ERR_OK;
}

enum err_code groups_forget(struct cluster *c, const struct group_detail *g, struct str topic, int32_t partition, struct err *err) {
    if (str_ieq(g->row.type, STR("share"))) return forget_share(c, g, topic, err);
    struct kafka_offset_delete_request req;
    const struct kafka_offset_delete_response *res;
    offset_rows rows = {0};
    if (committed(c, g, &rows, err) != ERR_OK) {
        vec_fini(&rows);
        return err->code;
    }
    kafka_msg_init(&kafka_offset_delete_request_m, &req);
    req.group_id = g->row.id;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_offset_delete_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].name = topic;
    req.topics.p[0].partitions.p = KAFKA_ELEMENTS(cluster_memory(c), kafka_offset_delete_request_topics_partitions, (int32_t)rows.n);
    for (size_t i = 0; i < rows.n; i++)
        if (str_eq(rows.p[i].topic, topic) && (partition < 0 || rows.p[i].partition == partition))
            req.topics.p[0].partitions.p[req.topics.p[0].partitions.n++].partition_index = rows.p[i].partition;
    vec_fini(&rows);
    if (req.topics.p[0].partitions.n == 0)
        return err_set(err, ERR_NOT_FOUND, "group '%.*s' has no offsets of '%.*s'", (int)g->row.id.n, g->row.id.p, (int)topic.n, topic.p);
    if (cluster_call(c, g->row.coordinator, KAFKA_API_OFFSET_DELETE, &req, &res, err) != ERR_OK) return err->code;
    if (cluster_error(res->error_code, (struct str){0}, err, "group '%.*s'", (int)g->row.id.n, g->row.id.p) != ERR_OK) return err->code;
    for (int32_t i = 0; res->topics.n > 0 && i < res->topics.p[0].partitions.n; i++)
        if (cluster_error(res->topics.p[0].partitions.p[i].error_code, (struct str){0}, err, "%.*s-%d", (int)topic.n, topic.p,
                          res->topics.p[0].partitions.p[i].partition_index) != ERR_OK)
            return err->code;
    return ERR_OK;
}
