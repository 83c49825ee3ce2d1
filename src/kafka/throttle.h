// SPDX-License-Identifier: Apache-2.0
// What quotas do to requests. On the connection's loop, and only while a quota of users or client ids is set (quotas_active).
#ifndef KAFKA_THROTTLE_H
#define KAFKA_THROTTLE_H

#include "kafka/conn.h"
#include "kafka/quota.h"

struct quotas *kafka_req_quotas(struct kafka_req *q);

// The answer is complete: counts what the request took, sets throttle_time_ms in it. Returns for how many
// milliseconds nothing is to be read from the connection after the answer was sent (KIP-219).
int64_t throttle_answer(struct kafka_req *q);
// A handler is about to make or delete so many partitions. False: the quota is used up, and the answer is THROTTLING_QUOTA_EXCEEDED.
// `strict`: the version of the request knows that error; older ones are let through and told to wait.
bool throttle_mutation(struct kafka_req *q, int64_t partitions, bool strict);
bool throttle_fetch(struct kafka_req *q); // the fetched bytes would pass the quota: the answer was emptied
size_t throttle_fetch_max(struct kafka_req *q, size_t max_bytes); // most bytes that one fetch may have

#endif
