// SPDX-License-Identifier: Apache-2.0
// Request header and every message's decoder over arbitrary bytes: frames as a client sends them; responses and data messages by the first
// two bytes. What decodes is printed, encoded and decoded again: the second time must give the same.
#include <assert.h>
#include <string.h>

#include "kafka/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kafka_message *m, int version, struct rd *r) {
    struct arena a;
    arena_init(&a);
    void *msg = arena_zalloc(&a, m->body->size), *again = arena_zalloc(&a, m->body->size);
    if (kafka_msg_decode(m, version, r, &a, msg, NULL) == ERR_OK) {
        struct buf text = {0};
        kafka_msg_print(m, version, msg, 1000, &text);
        buf_fini(&text);
        struct kafka_out o;
        kafka_out_init(&o, 64 << 20);
        o.splice_min = SIZE_MAX;
        kafka_msg_encode(m, version, msg, &o);
        struct rd second = rd_of(o.buf.n > 0 ? (const void *)o.buf.p : "", o.buf.n);
        enum err_code code = kafka_msg_decode(m, version, &second, &a, again, NULL);
        if (code != ERR_OK || rd_left(&second) != 0 || !kafka_msg_equal(m, version, msg, again)) __builtin_trap();
        kafka_out_fini(&o);
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rd r = rd_of(data, size);
    struct kafka_request_header h;
    if (kafka_header_decode(&r, &h, NULL) == ERR_OK) {
        const struct kafka_api *api = kafka_api_find(h.api_key);
        if (api != NULL && h.api_version >= api->request->min && h.api_version <= api->request->max) check(api->request, h.api_version, &r);
    }
    if (size < 2) return 0;
    size_t pick = data[0];
    const struct kafka_message *m = pick < kafka_apis_n ? kafka_apis[pick].response : kafka_data_messages[pick % kafka_data_messages_n];
    struct rd body = rd_of(data + 2, size - 2);
    check(m, m->min + data[1] % (m->max - m->min + 1), &body);
    return 0;
}
