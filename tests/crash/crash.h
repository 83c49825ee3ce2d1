// SPDX-License-Identifier: Apache-2.0
// Crash tests: runs a scenario on the simulated disk with every operation as the last one, for many seeds, and verifies after each reboot.
//
//   static void scenario(struct sys *s, void *state)   opens the room, works, notes in `state` what was acknowledged, closes. It stops at the
//                                                      first error, whatever that is, and never fails the test for an error
//   static void verify(struct sys *s, void *state)     opens the room again and asserts: what was acknowledged is there, nothing is doubled,
//                                                      what was under way is there wholly or not at all; works on; closes
//   static const struct crash_test t = {.seeds = 20, .state_size = sizeof(struct my), .scenario = scenario, .verify = verify};
//   static void test(void **x) { (void)x; crash_try_all(&t); }          and in main: crash_unit_test(test)
//
// For each seed: the scenario runs once to count its operations (and is verified after a power cut at its end); then once per operation N with
// the power cut at N. With .recover (opens and closes only) the recovery is cut at a random operation too, before the verification.
// With .kills the process alone ends at N as well: all that was written is seen again, but not durable (verify should end with a power cut).
// With .faults the N-th operation fails once (error, disk full, failed sync) instead of the power cut, and the power is cut at the end.
// CRASH_FIRST=N begins with another seed, CRASH_SECONDS=N goes on with further seeds for so long in each test (make soak).
// A failure prints the seed, the operation and the kind; CRASH_SEED=5 CRASH_OP=17 CRASH_KIND=cut runs that one again, under a debugger.
#ifndef CRASH_CRASH_H
#define CRASH_CRASH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "sys/sim.h"

struct crash_test {
    int seeds;                                    // 1, 2, ... seeds
    size_t state_size;                            // a zeroed struct of this size is given to each run
    void (*scenario)(struct sys *s, void *state); // see above
    void (*recover)(struct sys *s, void *state);  // may be NULL
    void (*verify)(struct sys *s, void *state);
    void (*state_fini)(void *state); // frees what is inside; may be NULL
    bool kills;                      // also try kill -9 at every operation
    bool faults;                     // also try EIO, ENOSPC and failing syncs at every operation
    uint64_t step;                   // try every step-th operation (0 = every), beginning at one that depends on the seed
};

enum crash_kind { CRASH_CUT, CRASH_KILL, CRASH_EIO, CRASH_ENOSPC, CRASH_FSYNC, CRASH_KINDS };
static const char *const crash_kind_names[CRASH_KINDS] = {"cut", "kill", "eio", "enospc", "fsync"};

static struct {
    bool running;
    uint64_t seed, op;
    enum crash_kind kind;
    uint64_t runs;
} crash_now;

// One run: returns how many operations the scenario took. op 0 = cut at its end.
static inline uint64_t crash_try_one(const struct crash_test *t, uint64_t seed, uint64_t op, enum crash_kind kind) {
    static const enum sys_sim_fault fault_of[CRASH_KINDS] = {
        [CRASH_EIO] = SYS_SIM_EIO, [CRASH_ENOSPC] = SYS_SIM_ENOSPC, [CRASH_FSYNC] = SYS_SIM_FSYNC};
    crash_now.running = true, crash_now.seed = seed, crash_now.op = op, crash_now.kind = kind, crash_now.runs++;
    struct sys *s = sys_sim_new(seed * 1000003 + op);
    void *state = mem_zalloc(t->state_size + 1);
    if (op != 0 && kind <= CRASH_KILL) sys_sim_crash_at(s, op);
    if (op != 0 && kind > CRASH_KILL) sys_sim_fail_at(s, op, fault_of[kind]);
    t->scenario(s, state);
    uint64_t ops = sys_sim_ops(s);
    if (kind == CRASH_KILL) sys_sim_kill(s);
    else sys_sim_reboot(s);
    if (t->recover != NULL && kind == CRASH_CUT && op != 0) {
        sys_sim_crash_at(s, sys_sim_ops(s) + 1 + sys_random_u64(s) % 16);
        t->recover(s, state);
        sys_sim_reboot(s);
    }
    t->verify(s, state);
    if (t->state_fini != NULL) t->state_fini(state);
    mem_free(state);
    sys_sim_free(s);
    crash_now.running = false;
    return ops;
}

static inline uint64_t crash_env(const char *name) {
    const char *v = getenv(name);
    return v == NULL ? 0 : strtoull(v, NULL, 10);
}

static inline void crash_try_all(const struct crash_test *t) {
    uint64_t one = crash_env("CRASH_SEED");
    if (one != 0) {
        const char *name = getenv("CRASH_KIND");
        enum crash_kind kind = CRASH_CUT;
        for (int k = 0; name != NULL && k < CRASH_KINDS; k++)
            if (strcmp(name, crash_kind_names[k]) == 0) kind = (enum crash_kind)k;
        crash_try_one(t, one, crash_env("CRASH_OP"), kind);
        return;
    }
    uint64_t step = t->step == 0 ? 1 : t->step;
    uint64_t first = crash_env("CRASH_FIRST") == 0 ? 1 : crash_env("CRASH_FIRST");
    time_t until = time(NULL) + (time_t)crash_env("CRASH_SECONDS");
    for (uint64_t seed = first; seed < first + (uint64_t)t->seeds || time(NULL) < until; seed++) {
        uint64_t ops = crash_try_one(t, seed, 0, CRASH_CUT);
        assert_true(ops > 0); // else the scenario did nothing and the test proves nothing
        for (int kind = CRASH_CUT; kind < CRASH_KINDS; kind++)
            for (uint64_t op = 1 + seed % step; op <= ops && (kind == CRASH_CUT || (kind == CRASH_KILL ? t->kills : t->faults)); op += step)
                crash_try_one(t, seed, op, (enum crash_kind)kind);
    }
}

// Prints what to run again when a test failed in the middle.
static inline int crash_report(void **state) {
    (void)state;
    if (crash_now.running)
        fprintf(stderr, "# crash test failed: CRASH_SEED=%llu CRASH_OP=%llu CRASH_KIND=%s\n", (unsigned long long)crash_now.seed,
                (unsigned long long)crash_now.op, crash_kind_names[crash_now.kind]);
    crash_now.running = false;
    return 0;
}
#define crash_unit_test(fn) cmocka_unit_test_teardown(fn, crash_report)

#endif
