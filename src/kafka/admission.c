// SPDX-License-Identifier: Apache-2.0
// See admission.h.
#include "kafka/admission.h"

#include "broker/dynamic.h"

enum { FULL_WAIT_MS = 100, UNLIMITED = 2147483647 };

struct address_count {
    int64_t n;
};

static void read_configs(struct admission *a) {
    struct broker *b = a->door->broker;
    uint64_t version = broker_config_version(b);
    if (a->overrides != NULL && version == a->version) return;
    a->version = version;
    a->max = broker_config_i64(b, "max.connections", UNLIMITED);
    a->max_per_ip = broker_config_i64(b, "max.connections.per.ip", UNLIMITED);
    a->rate_max = broker_config_i64(b, "max.connection.creation.rate", UNLIMITED);
    mem_free(a->overrides);
    a->overrides = mem_strdup(broker_config_text(b, "max.connections.per.ip.overrides"));
}

void admission_init(struct admission *a, struct kafka_door *d) {
    *a = (struct admission){.door = d};
    sys_mutex_init(&a->mutex);
    map_init(&a->addresses);
    quota_rate_init(&a->rate, d->quotas->samples, d->quotas->window_ms, sys_mono_us(loop_sys(d->loops[0]->loop)));
}

void admission_fini(struct admission *a) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&a->addresses, &it)) != NULL;) mem_free(e->value);
    map_fini(&a->addresses);
    sys_mutex_fini(&a->mutex);
    quota_rate_fini(&a->rate);
    mem_free(a->overrides);
}

int64_t admission_wait_ms(struct admission *a) {
    read_configs(a);
    if (a->max < UNLIMITED && atomic_load(&a->door->connections) >= a->max) return FULL_WAIT_MS;
    if (a->rate_max >= UNLIMITED) return 0;
    return quota_rate_throttle(&a->rate, a->rate_max < 1 ? 1 : (double)a->rate_max, sys_mono_us(loop_sys(a->door->loops[0]->loop)));
}

static int64_t most_from(const struct admission *a, const char *host) {
    struct str rest = str_c(a->overrides), item, name, number;
    int64_t n;
    while (rest.n > 0) {
        str_cut(rest, ',', &item, &rest);
        item = str_trim(item);
        size_t colon = item.n; // the last one: an IPv6 address has more
        while (colon > 0 && item.p[colon - 1] != ':') colon--;
        if (colon == 0) continue;
        name = str_n(item.p, colon - 1);
        number = str_n(item.p + colon, item.n - colon);
        if (str_eqc(name, host) && str_to_i64(number, &n)) return n;
    }
    return a->max_per_ip;
}

const char *admission_take(struct admission *a, const char *host) {
    int64_t now = sys_mono_us(loop_sys(a->door->loops[0]->loop)), most = most_from(a, host);
    const char *reason = NULL;
    if (quotas_connection(a->door->quotas, str_c(host), now) > 0) return "too many new connections from the address";
    sys_mutex_lock(&a->mutex);
    struct address_count *c = map_getc(&a->addresses, host);
    if ((c == NULL ? 0 : c->n) >= most) {
        reason = "too many connections from the address";
    } else {
        if (c == NULL) {
            c = MEM_NEW(struct address_count);
            map_put(&a->addresses, str_c(host), c);
        }
        c->n++;
        quota_rate_record(&a->rate, 1, now);
    }
    sys_mutex_unlock(&a->mutex);
    return reason;
}

void admission_give(struct admission *a, const char *host) {
    sys_mutex_lock(&a->mutex);
    struct address_count *c = map_getc(&a->addresses, host);
    if (c != NULL && --c->n == 0) {
        map_remove(&a->addresses, str_c(host));
        mem_free(c);
    }
    sys_mutex_unlock(&a->mutex);
}
