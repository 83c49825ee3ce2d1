// SPDX-License-Identifier: Apache-2.0
// Fetch sessions (KIP-227): a client names its partitions once, then only what changes; the answers tell only partitions with news.
//
// One cache for the door, shared by its loops, under one mutex that is held while a request's list is put together or its answer thinned out. A
// request that is under way holds nothing of it: at its end the session is looked up again. Bounds: max.incremental.fetch.session.cache.slots
// sessions, FETCH_SESSION_PARTS partitions over all of them; a fetch that finds no room is answered without a session.
#ifndef KAFKA_FETCH_SESSION_H
#define KAFKA_FETCH_SESSION_H

#include "kafka/conn.h"

enum { FETCH_SESSION_PARTS = 1000000, FETCH_SESSION_STALE_US = 120 * 1000000 };

struct fetch_sessions;
struct fetch_sessions *fetch_sessions_new(struct sys *s, int64_t slots);
void fetch_sessions_free(struct fetch_sessions *all);
size_t fetch_sessions_count(struct fetch_sessions *all);
size_t fetch_sessions_parts(struct fetch_sessions *all); // partitions of all sessions

// Before the reading: in an incremental fetch req->topics becomes the session's whole list (from the arena). Returns a Kafka error code.
int fetch_session_begin(struct fetch_sessions *all, struct kafka_fetch_request *req, int version, struct arena *a);
// After it: thins the answer out, sets its session id, and makes a session when a full fetch asked for one. Error code into res.
void fetch_session_end(struct fetch_sessions *all, const struct kafka_fetch_request *req, int version, struct kafka_fetch_response *res);

#endif
