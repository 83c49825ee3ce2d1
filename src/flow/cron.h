// SPDX-License-Identifier: Apache-2.0
// Schedules: cron expressions in UTC and fixed intervals; the next run as Airflow 3's timetables compute it. Pure functions.
#ifndef FLOW_CRON_H
#define FLOW_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct cron {
    uint64_t minutes;
    uint32_t hours, days, months, weekdays; // bit = value; weekdays: 0 = Sunday
    bool any_day, any_weekday;              // "*": then only the other one counts; with both given either is enough
};

// Five fields (minute hour day month weekday) with *, lists, ranges, steps, names (JAN, MON); 7 = Sunday. ERR_INVALID names the field.
enum err_code cron_parse(struct str text, struct cron *out, struct err *err);
// Ticks in microseconds since 1970 UTC. CRON_NEVER when there is none within 8 years (31 February).
#define CRON_NEVER INT64_MAX
int64_t cron_next(const struct cron *c, int64_t after_us);   // the first tick > after
int64_t cron_prev(const struct cron *c, int64_t until_us);   // the last tick <= until; -CRON_NEVER when none

enum flow_schedule_kind { FLOW_SCHEDULE_NONE, FLOW_SCHEDULE_CRON, FLOW_SCHEDULE_DELTA, FLOW_SCHEDULE_ONCE, FLOW_SCHEDULE_CONTINUOUS };

struct flow_schedule {
    enum flow_schedule_kind kind;
    struct cron cron;
    int64_t delta_us;
    int64_t interval_us;    // width of a run's data interval that ends at the tick; 0 = start equals end
    bool data_interval;     // the older timetables: logical date = start of the interval, run at its end
    bool run_immediately;   // without a start date: begin with the tick that has just been
    int64_t immediate_us;   // ... if it is not older than this; 0 = any age when run_immediately
};

struct flow_restriction {
    int64_t earliest_us, latest_us; // of the DAG; INT64_MIN = none
    bool catchup;
};
struct flow_tick {
    int64_t run_after_us, logical_us, interval_start_us, interval_end_us;
};
// The next scheduled run. last_us: run_after of the newest scheduled run, INT64_MIN = none. False = there will be none.
bool flow_schedule_next(const struct flow_schedule *s, const struct flow_restriction *r, int64_t last_us, int64_t now_us, struct flow_tick *out);

// "2026-11-21T02:30:00.123456+00:00" (microseconds left out when zero), as Python's isoformat.
void flow_iso(int64_t us, char out[40]);

#endif
