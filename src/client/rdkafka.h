// SPDX-License-Identifier: Apache-2.0
// Inside the client room: what its files share about librdkafka.
#ifndef CLIENT_RDKAFKA_H
#define CLIENT_RDKAFKA_H

#include <librdkafka/rdkafka.h>

#include "client/kafka.h"

enum err_code client_rd_error(struct err *err, rd_kafka_resp_err_t code, const char *text); // the nearest code of ours
rd_kafka_conf_t *client_rd_conf(const struct client_target *at, const struct client_kv *settings, size_t n, struct err *err);
rd_kafka_t *client_rd_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err); // takes conf
// ERR_UNAVAILABLE: no broker of the list answered within a few seconds. librdkafka by itself would try for ever, or speak of "transport".
enum err_code client_rd_reach(rd_kafka_t *rk, const struct client_target *at, struct err *err);

#endif
