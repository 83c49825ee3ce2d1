// SPDX-License-Identifier: Apache-2.0
// Inside the door: connections, requests under way, and what a handler gets. Everything here runs on the connection's loop.
//
// A request owns its bytes (`frame`), its arena, the decoded message `msg` and the response `res`; all live until the response has been sent.
// A handler fills `res` (already at its defaults) and calls kafka_req_done once, now or later. A closed connection waits for its requests.
#ifndef KAFKA_CONN_H
#define KAFKA_CONN_H

#include <stdatomic.h>

#include "broker/broker.h"
#include "kafka/door.h"
#include "kafka/messages.h"

enum {
    CONN_PIPELINE_MAX = 64,              // Produce requests of one connection under way at once
    CONN_PIPELINE_BYTES = 32 << 20,      // and their bytes
    CONN_SCRATCH = 64 << 10,             // bytes read at once into the loop's scratch
    CONN_FRAME_STEP = 4 << 20,           // a frame's memory is taken in steps as the bytes come in
    CONN_READ_ROUND = 8 << 20,           // bytes read from one connection before others get their turn
    CONN_LOOP_BYTES = 512 << 20,         // frames of all connections of one loop that are not yet answered; above it reading stops
    CONN_FETCH_BYTES = 256 << 20,        // fetched bytes not yet sent, of one loop; above it fetches get CONN_FETCH_MIN each
    CONN_FETCH_MIN = 1 << 20,
    CONN_SLOW_US = 5 * 1000000,          // while others wait for frame memory, a request that has taken longer must have come
    CONN_SLOW_RATE = 64 << 10,           // at this rate, in bytes a second: else it is closed
    CONN_STALL_US = 60 * 1000000,        // without a byte in the middle of a request: closed
    CONN_LOGIN_US = 30 * 1000000,        // from connecting to being known (TLS handshake and SASL): closed
    CONN_TLS_PIECE = 256 << 10,          // bytes encrypted at once for one connection
    CONN_TLS_OUT_MAX = 1 << 20,          // encrypted bytes not yet taken by the socket; above it nothing is read
    CONN_API_KEYS = 96,                  // keys and versions below these are counted one by one
    CONN_API_VERSIONS = 24,
};

struct conn;
struct conn_auth;
struct gate_state;
struct kafka_req;
struct listener;
struct listeners;
struct admission;
struct fetch_sessions;
struct telemetry;
struct quotas;
struct security;

struct kafka_handler {
    int16_t key, min, max; // versions advertised
    void (*fn)(struct kafka_req *q);
    bool pipelined; // may start while earlier requests of the same kind are under way
};
extern const struct kafka_handler kafka_handlers[];
extern const size_t kafka_handlers_n;

struct kafka_req {
    struct kafka_req *next; // of the connection, in order
    struct conn *conn;
    const struct kafka_handler *h;
    const struct kafka_api *api;
    struct kafka_request_header header;
    int version; // of the response's body: differs from the header's only for ApiVersions (KIP-511)
    struct arena arena;
    uint8_t *frame;
    size_t frame_n;
    void *msg, *res;
    void (*cancel)(struct kafka_req *q); // set by a handler that waits: called when the connection closes; must end in kafka_req_done
    void (*release)(struct kafka_req *q); // frees what the response's splices point to
    void *state;                         // the handler's own, in the arena
    loop_fn *work, *work_done;
    int64_t start_us;
    int64_t busy_us, busy_from_us; // time that its handler took of the loop; counted while quotas are set
    int64_t throttle_ms;           // what a handler found the client must wait
    struct kafka_out out;
    size_t sent; // bytes of the response already taken by the socket
    bool done, no_reply;
    struct gate_state *gate; // what authorization has to do on the way out (gate.h)
    bool authorizer;         // there is one
    bool bare;        // SASL without Kafka's framing: only the token goes back
    bool close_after; // the connection is closed when the response has been sent
};

// For handlers that answer for partitions.
enum { KAFKA_TOPIC_OPERATIONS = 3576 };   // read, write, create, delete, alter, describe, describe and alter configs
enum { KAFKA_CLUSTER_OPERATIONS = 8096 }; // all that Kafka knows of a cluster but "any" and "all"
int kafka_check_leader_epoch(int32_t current); // what the client believes it is; 0, UNKNOWN_LEADER_EPOCH, FENCED_LEADER_EPOCH

// What a handler may use.
struct kafka_door *kafka_req_door(struct kafka_req *q);
struct door_loop *kafka_req_home(struct kafka_req *q);
struct broker *kafka_req_broker(struct kafka_req *q);
const struct kafka_config *kafka_req_config(const struct kafka_req *q);
struct loop *kafka_req_loop(struct kafka_req *q);
const char *kafka_req_peer(struct kafka_req *q); // "127.0.0.1:50312"
uint64_t kafka_req_connection(struct kafka_req *q); // its number: when it closes, share_connection_closed hears of it
const char *kafka_req_host(const struct kafka_req *q); // the same without the port, "127.0.0.1", "::1"
const char *kafka_req_principal(const struct kafka_req *q); // "User:alice", "User:ANONYMOUS"
// What clients of this listener are told to connect to.
const char *kafka_req_advertised_host(const struct kafka_req *q);
int kafka_req_advertised_port(const struct kafka_req *q);
const char *kafka_req_listener_name(const struct kafka_req *q);
struct listener *kafka_req_listener(const struct kafka_req *q);
struct security *kafka_req_security(const struct kafka_req *q);
struct conn_auth *kafka_req_auth(struct kafka_req *q);
void kafka_req_set_software(struct kafka_req *q, struct str name, struct str version); // of the client, as ApiVersions said
const char *kafka_req_software(const struct kafka_req *q, bool version);               // "" = not said
void kafka_req_close_after(struct kafka_req *q); // when its response has been sent
void kafka_req_done(struct kafka_req *q); // q may be gone when it returns
// A name as a C string in the request's arena; NULL stays NULL. One with a NUL byte inside becomes "", which is no name of anything.
const char *kafka_req_name(struct kafka_req *q, struct str name);
// Blocking work: work(q) on the broker's pool, then done(q) on the loop. False = queue full.
bool kafka_req_submit(struct kafka_req *q, loop_fn *work, loop_fn *done);
bool kafka_req_submit_read(struct kafka_req *q, loop_fn *work, loop_fn *done); // the same on the threads that read records from the disk
// The request cannot be answered: logs the reason and closes the connection. Counts as done.
void kafka_req_reject(struct kafka_req *q, const char *reason);
// For those who gather an answer step by step (group after group, which a request may name as often as it likes): true = what has been gathered
// is more than any answer may have, and the request was rejected.
bool kafka_req_overgrown(struct kafka_req *q);

// ---- between door.c and conn.c ------------------------------------------------------------------------------------------
struct door_loop {
    struct kafka_door *door;
    struct loop *loop;
    struct conn *conns;  // all open or draining
    struct conn *dirty;  // have answers to send at the end of the round
    struct conn *hungry; // stopped reading for want of frame memory
    bool flush_posted, closing, freed; // freed: frame memory came back, the hungry may try again
    size_t n_conns, frame_bytes, fetch_bytes;
    _Atomic uint64_t requests[CONN_API_KEYS][CONN_API_VERSIONS]; // answered, by API key and version; read by any thread
    struct loop_timer sweep, slow;
    struct kafka_req *spare; // kept with their warm memory
    size_t n_spare;
    struct loop_event closed; // set when closing and no connection is left
    uint8_t scratch[CONN_SCRATCH];
    uint8_t cipher[CONN_SCRATCH]; // received, not yet decrypted
};

struct kafka_door {
    struct kafka_config config;
    struct broker *broker;
    struct listeners *listeners;
    struct security *security;
    struct quotas *quotas;
    struct fetch_sessions *sessions;
    struct telemetry *telemetry;
    struct admission *admission;
    bool has_authorizer; // the one branch of kafka_may
    size_t n_loops, next_loop;
    size_t fetch_max; // fetch.max.bytes: of one answer
    struct door_loop **loops;
    atomic_int connections;
    atomic_uint_fast64_t last_number; // of connections that were given one
    struct loop_event listener_closed;
    struct loop_timer reload; // on the first loop: looks whether certificates have changed
    struct loop_timer keys; // likewise: looks whether key sets are due
    atomic_bool reloading, fetching;
};

void conn_open(struct door_loop *dl, struct listener *l, struct sys_sock *sock, const char *peer); // takes the socket
void conn_close(struct conn *c, const char *reason);                           // NULL = the peer closed, nothing to log
void conn_close_quiet(struct door_loop *dl); // those with no request under way; at the end, before conn_close_all
void conn_close_all(struct door_loop *dl);
void conn_sweep(struct door_loop *dl); // closes the idle ones

bool kafka_produce_transactional(const struct kafka_produce_request *req); // one of its batches is of a transaction

// One function per API, by family: produce.c fetch.c meta.c topics.c configs.c groups.c.
#define KAFKA_HANDLER(api, min, max, name, pipelined) void kafka_do_##name(struct kafka_req *q);
#include "kafka/handlers.def"
#undef KAFKA_HANDLER

#endif
