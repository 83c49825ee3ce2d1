// SPDX-License-Identifier: Apache-2.0
// Features at the door: told by ApiVersions, changed by UpdateFeatures, and what is refused while one is off.
#ifndef KAFKA_FEATURES_H
#define KAFKA_FEATURES_H

#include "kafka/conn.h"

void kafka_put_features(struct kafka_req *q, struct kafka_api_versions_response *res);

// APIs with smaller keys need no feature: the ones that carry records are not asked.
enum { KAFKA_FEATURES_FROM = KAFKA_API_CONSUMER_GROUP_HEARTBEAT };
// Whether the features are on without which Kafka answers this API UNSUPPORTED_VERSION. False = answered so.
bool kafka_features_enter(struct kafka_req *q);

#endif
