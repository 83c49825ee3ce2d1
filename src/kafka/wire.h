// SPDX-License-Identifier: Apache-2.0
// Kafka's messages as data: field tables (messages.c) and the one interpreter that encodes, decodes, prints and makes up messages.
//
// Pure functions over the caller's memory, any thread. Decoded strings, bytes and records borrow from the request's bytes; arrays and nullable
// structs come from the arena. Encoding copies everything except long records fields, which are kept as borrowed segments.
// Source of the rules: Kafka's protocol guide, KIP-482 (flexible versions, tagged fields), KIP-893 (nullable structs).
#ifndef KAFKA_WIRE_H
#define KAFKA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/vec.h"

struct kafka_uuid {
    uint8_t b[16];
};

// n = -1 is null. Elements are the caller's (when encoding) or the arena's (when decoded).
#define KAFKA_ARRAY(type) \
    struct {              \
        type *p;          \
        int32_t n;        \
    }

enum kafka_type {
    KAFKA_BOOL,
    KAFKA_INT8,
    KAFKA_INT16,
    KAFKA_UINT16,
    KAFKA_INT32,
    KAFKA_INT64,
    KAFKA_FLOAT64,
    KAFKA_STRING,  // struct str; p NULL = null (in a field that cannot be null: empty)
    KAFKA_BYTES,   // struct str, likewise
    KAFKA_RECORDS, // struct str, likewise; never copied when decoding, borrowed when encoding
    KAFKA_UUID,
    KAFKA_STRUCT,
};

enum kafka_shape {
    KAFKA_SHAPE_PLAIN,
    KAFKA_SHAPE_ARRAY,
    KAFKA_SHAPE_POINTER, // a struct that may be null
};

#define KAFKA_DEFAULT_NULL (INT64_MIN + 1)

struct kafka_struct;
struct kafka_field {
    const char *name;
    size_t offset; // in the C struct
    uint8_t type, shape;
    int8_t min, max;           // versions in which it is on the wire
    int8_t null_min, null_max; // versions in which it may be null; 127, -1 = none
    int8_t tag;                // -1 = in order. Tagged fields stand behind the others, by tag
    int64_t dflt;              // number, 0 for empty, or KAFKA_DEFAULT_NULL
    const struct kafka_struct *sub;
};
struct kafka_struct {
    const char *name;
    size_t size;
    const struct kafka_field *fields;
    size_t n;
};
struct kafka_message {
    const char *name;     // "ProduceRequest"
    int8_t min, max;      // versions
    int8_t flexible;      // first flexible version; 127 = none
    int8_t header_flexible; // first version whose header carries tagged fields; 127 = none
    const struct kafka_struct *body;
};
struct kafka_api {
    int16_t key;
    const char *name; // "Produce"
    const struct kafka_message *request, *response;
};
extern const struct kafka_api kafka_apis[];
extern const size_t kafka_apis_n;
extern const struct kafka_message *const kafka_data_messages[]; // consumer protocol, control records
extern const size_t kafka_data_messages_n;

const struct kafka_api *kafka_api_find(int key); // NULL = unknown
const char *kafka_error_name(int code);          // "UNKNOWN_TOPIC_OR_PARTITION"; "?" = unknown
const char *kafka_error_text(int code);          // Kafka's own message

// ---- headers --------------------------------------------------------------------------------------------------------
struct kafka_request_header {
    int16_t api_key, api_version;
    int32_t correlation_id;
    struct str client_id; // borrowed; p NULL = null
};
// Reads the header; of an unknown API or version only its first three fields. ERR_PARSE.
enum err_code kafka_header_decode(struct rd *r, struct kafka_request_header *out, struct err *err);

// ---- messages ---------------------------------------------------------------------------------------------------------
// What is encoded: the bytes of `buf` with the splices put in at their places.
struct kafka_splice {
    size_t at; // position in buf
    struct str bytes;
};
struct kafka_gather { // records that lie in pieces
    const void *token;
    const struct str *pieces;
    size_t n;
};
struct kafka_out {
    struct buf buf;
    VEC(struct kafka_splice) splices;
    VEC(struct kafka_gather) gathers;
    size_t gathered;   // so many of them were encoded
    size_t splice_min; // records at least this long are borrowed; SIZE_MAX = copy all
    size_t spliced;    // bytes of all splices
};
enum { KAFKA_SPLICE_MIN = 2048 };
void kafka_out_init(struct kafka_out *o, size_t max); // max bytes of buf
void kafka_out_fini(struct kafka_out *o);
void kafka_out_clear(struct kafka_out *o); // keeps the memory
// Before encoding: the records field whose bytes begin at `token` stands for these pieces; its length is the sum of theirs. Told in the order in
// which the fields are encoded. The pieces (and their array) are borrowed.
void kafka_out_gather(struct kafka_out *o, const void *token, const struct str *pieces, size_t n);
// A response or request frame: begin leaves room for the size and writes the header; end fills the size in. ERR_TOO_LARGE.
void kafka_frame_begin_response(struct kafka_out *o, const struct kafka_message *m, int version, int32_t correlation_id);
void kafka_frame_begin_request(struct kafka_out *o, const struct kafka_api *api, int version, int32_t correlation_id, struct str client_id);
enum err_code kafka_frame_end(struct kafka_out *o, struct err *err);

// The most arena memory that one decoded message may take (arrays of a hostile request).
enum { KAFKA_DECODE_MAX = 32 << 20 };

void kafka_msg_init(const struct kafka_message *m, void *msg); // all fields at their defaults
// Fields that the version does not have are set to their defaults. Unknown tagged fields are skipped. ERR_PARSE, ERR_TOO_LARGE.
enum err_code kafka_msg_decode(const struct kafka_message *m, int version, struct rd *r, struct arena *a, void *msg, struct err *err);
void kafka_msg_encode(const struct kafka_message *m, int version, const void *msg, struct kafka_out *o); // o->buf.failed = too large
void kafka_struct_init(const struct kafka_struct *s, void *p);
void *kafka_struct_array(struct arena *a, const struct kafka_struct *s, int32_t n) __attribute__((returns_nonnull)); // at their defaults
// Elements of an array field: res->topics.p = KAFKA_ELEMENTS(&arena, kafka_metadata_response_topics, n)
#define KAFKA_ELEMENTS(a, type, n) ((struct type *)kafka_struct_array((a), &type##_s, (n)))
// For logs: {"acks": -1, "topic_data": [...]}; records as their length. Stops at max bytes.
void kafka_msg_print(const struct kafka_message *m, int version, const void *msg, size_t max, struct buf *out);
// For tests. `seed` is the state of the generator, not 0.
void kafka_msg_random(const struct kafka_message *m, int version, uint64_t *seed, struct arena *a, void *msg);
bool kafka_msg_equal(const struct kafka_message *m, int version, const void *a, const void *b); // over the version's fields

#endif
