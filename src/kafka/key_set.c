// SPDX-License-Identifier: Apache-2.0
// See key_set.h. Owner of what is fetched: the listener, under its mutex; the times are atomic, one worker at a time refreshes.
#include "kafka/key_set.h"

#include "base/log.h"

enum { TIMEOUT_S = 5, TEXT_MAX = 4 << 20, UNKNOWN_EVERY_US = 10000000 };

static struct jwks *fetch(struct listener *k, struct err *err) {
    struct arena a = {0};
    struct str text;
    struct jwks *j = NULL;
    if (k->keys.fetch(k->keys.url, TIMEOUT_S, TEXT_MAX, k->keys.stop, &a, &text, err) == ERR_OK) j = jwks_parse(text, err);
    if (j != NULL && jwks_count(j) == 0) {
        jwks_free(j);
        j = NULL;
        err_set(err, ERR_CONFIG, "it has no RSA or EC key");
    }
    arena_fini(&a);
    return j;
}

static void fetched(struct listener *k, struct sys *s, bool ok) {
    struct key_set *x = &k->keys;
    int64_t wait_ms = x->retry_ms, now = sys_mono_us(s);
    x->failures = ok ? 0 : x->failures + 1;
    for (int i = 1; i < x->failures && wait_ms < x->retry_max_ms; i++) wait_ms *= 2;
    if (wait_ms > x->retry_max_ms) wait_ms = x->retry_max_ms;
    if (ok) wait_ms = x->refresh_ms;
    atomic_store(&x->due_us, now + wait_ms * 1000);
}

enum err_code key_set_open(struct listener *k, struct sys *s, struct err *err) {
    if (k->keys.fetch == NULL)
        return err_set(err, ERR_CONFIG, "sasl.oauthbearer.jwks.endpoint.url of listener %s: only files (file:///etc/keys.json) here", k->name);
    k->jwks = fetch(k, err);
    if (k->jwks == NULL) {
        err_wrap(err, "sasl.oauthbearer.jwks.endpoint.url of listener %s: %s", k->name, k->keys.url);
        return err->code = ERR_CONFIG;
    }
    fetched(k, s, true);
    return ERR_OK;
}

bool key_sets_due(const struct listeners *l, int64_t now_us) {
    for (size_t i = 0; i < l->n; i++)
        if (l->p[i].keys.url != NULL && atomic_load(&l->p[i].keys.due_us) <= now_us) return true;
    return false;
}

static void refresh(struct listener *k, struct sys *s) {
    struct err err = {0};
    struct jwks *new = fetch(k, &err), *old = new;
    if (new == NULL && atomic_load(k->keys.stop)) return;
    if (new == NULL) {
        log_error("kafka", "a key set cannot be fetched, the old one stays in force", "listener", k->name, "url", k->keys.url, "error", err.msg, NULL);
    } else {
        sys_mutex_lock(&k->mutex);
        old = k->jwks;
        k->jwks = new;
        sys_mutex_unlock(&k->mutex);
    }
    jwks_free(old);
    fetched(k, s, new != NULL);
}

void key_sets_refresh(struct listeners *l, struct sys *s) {
    for (size_t i = 0; i < l->n && !atomic_load(&l->closing); i++)
        if (l->p[i].keys.url != NULL && atomic_load(&l->p[i].keys.due_us) <= sys_mono_us(s)) refresh(&l->p[i], s);
}

void key_set_lacks(struct listener *k, struct sys *s) {
    int64_t now = sys_mono_us(s), last = atomic_load(&k->keys.lacked_us);
    if (k->keys.url == NULL || (last != 0 && now - last < UNKNOWN_EVERY_US)) return;
    if (!atomic_compare_exchange_strong(&k->keys.lacked_us, &last, now)) return; // another loop was there
    if (atomic_load(&k->keys.due_us) > now) atomic_store(&k->keys.due_us, now);
}
