// SPDX-License-Identifier: Apache-2.0
// Which of the broker's configs must stand in a relation to another: a minimum below its maximum, and what is in force between the two.
//
// Kafka's checks, in its order and words. They are made when the broker opens, over what was given at the start and the defaults; a value that
// breaks one is an error that names both values, where they were given, and what to do. Pure.
#include "broker/configs_table.h"
#include "broker/internal.h"

enum relation { AT_LEAST, AT_MOST, BELOW };

static const struct {
    const char *name;
    enum relation relation;
    const char *other;
} relations[] = {
// Of what a group may set: the broker's own value, and how far groups may go.
#define BOUNDS(kind, what)                                                                          \
    {"group." kind ".max." what, AT_LEAST, "group." kind ".min." what},                           \
        {"group." kind "." what, AT_LEAST, "group." kind ".min." what},                           \
        {"group." kind "." what, AT_MOST, "group." kind ".max." what}
#define GROUP(kind)                                                                                      \
    BOUNDS(kind, "heartbeat.interval.ms"), BOUNDS(kind, "session.timeout.ms"),                           \
        {"group." kind ".heartbeat.interval.ms", BELOW, "group." kind ".session.timeout.ms"}, BOUNDS(kind, "assignment.interval.ms")
#define WITHIN(what)                                                                                     \
    {"group.share.max." what, AT_LEAST, "group.share." what}, {"group.share." what, AT_LEAST, "group.share.min." what}
    GROUP("consumer"),
    GROUP("share"),
    GROUP("streams"),
    {"group.streams.num.standby.replicas", AT_MOST, "group.streams.max.standby.replicas"},
    WITHIN("delivery.count.limit"),
    WITHIN("partition.max.record.locks"),
    WITHIN("record.lock.duration.ms"),
    {"group.share.max.share.sessions", AT_LEAST, "group.share.max.size"},
    {"replica.fetch.wait.max.ms", AT_MOST, "replica.socket.timeout.ms"},
    {"replica.fetch.wait.max.ms", AT_MOST, "replica.lag.time.max.ms"},
    {"connection.failed.authentication.delay.ms", BELOW, "connections.max.idle.ms"},
#undef WITHIN
#undef GROUP
#undef BOUNDS
};

const char *configs_place(const struct broker_config *c, const char *name) {
    for (size_t i = c->n_configs; i-- > 0 && c->places != NULL;)
        if (strcmp(c->configs[i].name, name) == 0) return c->places[i];
    return NULL;
}

static const char *value_of(const topic_kvs *given, const char *name) {
    const char *v = kvs_get(given, name);
    const struct config_row *row = v == NULL ? configs_broker_row(name) : NULL;
    return row == NULL ? v : row->value;
}

enum err_code configs_check_relations(const struct broker_config *c, const topic_kvs *given, struct err *err) {
    static const char *const words[] = {[AT_LEAST] = "greater than or equal to", [AT_MOST] = "less than or equal to", [BELOW] = "less than"};
    for (size_t i = 0; i < sizeof relations / sizeof *relations; i++) {
        const char *name = relations[i].name, *other = relations[i].other, *a = value_of(given, name), *b = value_of(given, other);
        int64_t x, y;
        if (a == NULL || b == NULL || !str_to_i64(str_c(a), &x) || !str_to_i64(str_c(b), &y)) continue; // there is no such config
        if (relations[i].relation == AT_LEAST ? x >= y : relations[i].relation == AT_MOST ? x <= y : x < y) continue;
        const char *at = configs_place(c, name), *other_at = configs_place(c, other);
        bool set = kvs_get(given, name) != NULL, other_set = kvs_get(given, other) != NULL;
        (void)err_set(err, ERR_CONFIG, "%s must be %s %s: they are %s%s and %s%s%s%s; change one of them", name, words[relations[i].relation], other, a,
                      set ? "" : " (the default)", b, other_set ? "" : " (the default)", at != NULL && other_at != NULL ? ", given at " : "",
                      at != NULL && other_at != NULL ? other_at : "");
        if (at != NULL || other_at != NULL) (void)err_wrap(err, "%s", at != NULL ? at : other_at);
        return ERR_CONFIG;
    }
    return ERR_OK;
}
