// SPDX-License-Identifier: Apache-2.0
// Quotas of users, client ids and addresses: which are set, what is used of them, and how long a client is to be silent (KIP-13, 124, 546, 599,
// 612). Kafka's order of the most specific: user and client id, user, client id; at each place a name before the default.
//
// The quotas are in the broker's store; their use is in memory and forgotten at the end. One mutex, held for look-ups and sums only.
// quotas_active is the only cost while none is set.
#ifndef KAFKA_QUOTA_H
#define KAFKA_QUOTA_H

#include <stdatomic.h>

#include "base/map.h"
#include "broker/broker.h"

struct store;

enum quota_key { QUOTA_PRODUCE, QUOTA_FETCH, QUOTA_REQUEST, QUOTA_MUTATION, QUOTA_CONNECTION, QUOTA_KEYS };
extern const char *const quota_names[QUOTA_KEYS]; // "producer_byte_rate", ...

struct quota_part {
    bool set;
    struct str name; // p NULL = the default
};
struct quota_entity {
    struct quota_part user, client, ip;
};
struct quota_op {
    struct str key;
    double value;
    bool remove;
};

struct quotas {
    struct broker *broker;
    struct store *store;
    atomic_bool active, ip_active; // some quota of users or client ids; of addresses
    struct sys_mutex change;       // one change of the store at a time
    struct sys_mutex mutex;        // guards the rest
    struct map limits;             // encoded entity -> struct limit
    struct map sensors;            // key and whom it counts for -> struct sensor
    int samples, window_ms, mutation_samples, mutation_window_ms;
};

void quotas_init(struct quotas *q, struct broker *b, struct store *store); // store NULL = none can be set
void quotas_fini(struct quotas *q);
static inline bool quotas_active(const struct quotas *q) { return atomic_load_explicit(&q->active, memory_order_relaxed); }

// Counts `value` (bytes, percent of a processor's second) and tells for how many milliseconds the client must be silent; 0 = none.
int64_t quotas_record(struct quotas *q, enum quota_key key, struct str user, struct str client, double value, int64_t now_us);
// Counts bytes of a fetch unless they would pass the quota: then nothing is counted and the fetch must be answered empty.
int64_t quotas_record_fetch(struct quotas *q, struct str user, struct str client, double bytes, int64_t now_us);
int64_t quotas_fetch_max(struct quotas *q, struct str user, struct str client); // most bytes of one fetch; INT64_MAX = any
// Topic changes: a bucket of tokens. strict: false and *throttle_ms when the bucket is empty; else true, and *throttle_ms when it is now.
bool quotas_mutate(struct quotas *q, struct str user, struct str client, double changes, bool strict, int64_t now_us, int64_t *throttle_ms);
int64_t quotas_connection(struct quotas *q, struct str ip, int64_t now_us); // one more from there: milliseconds too early

// [block] ERR_INVALID as Kafka says it. Durable on return.
enum err_code quotas_alter(struct quotas *q, const struct quota_entity *e, const struct quota_op *ops, size_t n, bool validate_only, struct err *err);
// Every entity with its values (NaN = not set); the strings live until fn returns.
void quotas_each(struct quotas *q, void (*fn)(void *arg, const struct quota_entity *e, const double values[QUOTA_KEYS]), void *arg);

// A rate over samples, as Kafka's SampledStat: what it counts, in the last `samples` windows.
struct quota_rate {
    int n, at, window_ms;
    struct {
        int64_t start_us;
        double total;
    } *samples;
};
void quota_rate_init(struct quota_rate *r, int samples, int window_ms, int64_t now_us);
void quota_rate_fini(struct quota_rate *r);
void quota_rate_record(struct quota_rate *r, double value, int64_t now_us);
double quota_rate_value(struct quota_rate *r, int64_t now_us, double *elapsed_ms); // per second
int64_t quota_rate_throttle(struct quota_rate *r, double limit, int64_t now_us);   // milliseconds until it is back at the limit

#endif
