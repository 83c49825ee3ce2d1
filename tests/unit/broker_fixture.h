// SPDX-License-Identifier: Apache-2.0
// A broker in a temporary folder with two loops and two workers, for tests. Calls block until answered.
#ifndef UNIT_BROKER_FIXTURE_H
#define UNIT_BROKER_FIXTURE_H

#include "broker/broker.h"
#include "broker/groups.h"

struct fixture {
    struct sys *sys;
    char *dir;
    struct loop *loops[2];
    struct pool *pool;
    struct broker *broker;
    int initial_delay_ms; // group.initial.rebalance.delay.ms of the next open
    const char *protocols; // group.coordinator.rebalance.protocols of the next open; NULL = Kafka's default
    bool descriptions; // those of streams groups are kept, after the next open
    const char *share_lock_ms; // group.share.record.lock.duration.ms of the next open; NULL = 30000
};

static inline struct broker *fixture_try_open(struct fixture *f, struct err *err) {
    const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}, {"group.min.session.timeout.ms", "50"},
                                               {"transaction.abort.timed.out.transaction.cleanup.interval.ms", "20"},
                                              {"group.share.min.record.lock.duration.ms", "1000"}, {"group.share.record.lock.duration.ms", f->share_lock_ms == NULL ? "30000" : f->share_lock_ms},
                                              {"share.coordinator.snapshot.update.records.per.snapshot", "3"}, {"group.share.max.share.sessions", "8"}, {"group.share.max.size", "8"},
                                               {"group.streams.initial.rebalance.delay.ms", "0"},
                                               {"group.coordinator.rebalance.protocols", f->protocols == NULL ? "classic,consumer,streams" : f->protocols},
                                               {"offsets.topic.segment.bytes", "65536"}, {"log.cleaner.backoff.ms", "0"},
                                              // the last: only with `descriptions`
                                              {"group.streams.topology.description.plugin.class", "org.apache.kafka.server.streams.InMemoryTopologyDescriptionPlugin"}};
    struct broker_config c = {.dir = f->dir, .node_id = 1, .default_partitions = 4, .auto_create_topics = true, .max_partitions = 10000};
    c.produce_bytes_max = 1 << 20;
    c.group_initial_rebalance_delay_ms = f->initial_delay_ms;
    c.configs = configs;
    c.n_configs = sizeof configs / sizeof configs[0] - (f->descriptions ? 0 : 1);
    return broker_open(f->sys, &c, f->loops, 2, f->pool, err);
}

static inline void fixture_open(struct fixture *f) {
    struct err err = {0};
    f->broker = fixture_try_open(f, &err);
    if (f->broker == NULL) fail_msg("%s", err.msg);
}

// Not clean: as after a crash of the process, the clean mark is gone.
static inline void fixture_close(struct fixture *f, bool clean) {
    broker_close(f->broker);
    f->broker = NULL;
    char *mark = mem_printf("%s/clean", f->dir);
    assert_true(sys_exists(f->sys, mark));
    if (!clean) assert_int_equal(sys_unlink(f->sys, mark, NULL), ERR_OK);
    mem_free(mark);
}

static inline void fixture_restart(struct fixture *f, bool clean) {
    fixture_close(f, clean);
    fixture_open(f);
}

static inline int fixture_setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    uint8_t id[16];
    char text[37];
    f->sys = sys_real();
    sys_uuid(f->sys, id);
    sys_uuid_text(id, text);
    f->dir = mem_printf("/tmp/millrace-broker-%s", text);
    f->pool = pool_new("test", 2, 100);
    for (int i = 0; i < 2; i++) {
        f->loops[i] = loop_new(f->sys, i == 0 ? "loop0" : "loop1", &err);
        if (f->loops[i] == NULL) return -1;
        loop_start(f->loops[i]);
    }
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state) {
    struct fixture *f = *state;
    if (f->broker != NULL) fixture_close(f, true);
    for (int i = 0; i < 2; i++) {
        loop_stop(f->loops[i]);
        loop_free(f->loops[i]);
    }
    pool_free(f->pool);
    int rc = sys_remove_tree(f->sys, f->dir, NULL) == ERR_OK ? 0 : -1;
    mem_free(f->dir);
    mem_free(f);
    return rc;
}

static inline int64_t fixture_now_ms(const struct fixture *f) { return sys_now_us(f->sys) / 1000; }

struct fixture_put {
    struct fixture *f;
    struct broker_produce produce;
    struct loop_event event;
};
static inline void fixture_put_done(struct broker_produce *p) { loop_event_set(&((struct fixture_put *)p->arg)->event); }
static inline void fixture_put_start(void *arg) {
    struct fixture_put *x = arg;
    x->produce.back = loop_current();
    broker_produce(x->f->broker, &x->produce);
}

static inline struct broker_produce fixture_produce(struct fixture *f, const char *topic, int32_t partition, struct str batches, bool durable) {
    struct fixture_put x = {.f = f};
    x.produce = (struct broker_produce){.topic = topic, .partition = partition, .batches = batches, .wait_durable = durable};
    x.produce.done = fixture_put_done;
    x.produce.arg = &x;
    loop_event_init(&x.event);
    loop_post(f->loops[0], fixture_put_start, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    return x.produce;
}

#endif
