// SPDX-License-Identifier: Apache-2.0
// Cron expressions and Airflow 3's timetables (airflow/timetables/trigger.py and interval.py are the rule). Pure, no memory, any thread.
#include "flow/cron.h"

#include <stdio.h>
#include <string.h>

static const int64_t MINUTE = 60 * 1000000LL, DAY = 86400 * 1000000LL;
#define NONE INT64_MIN

// Days since 1970 to the civil date (proleptic Gregorian).
static void civil_from_days(int64_t z, int64_t *y, int *m, int *d) {
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = yoe + era * 400 + (*m <= 2);
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// ---- parsing -------------------------------------------------------------------------------------------------------------
struct field {
    const char *name;
    int min, max;
    const char *names; // three letters each, in order from `first`
    int first;
};
static const struct field fields[5] = {
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of the month", 1, 31, NULL, 0},
    {"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 1},
    {"day of the week", 0, 7, "SUNMONTUEWEDTHUFRISAT", 0},
};

static bool parse_value(const struct field *f, struct str s, int *out) {
    int64_t v;
    if (str_to_i64(s, &v)) {
        if (v < f->min || v > f->max) return false;
        *out = (int)v;
        return true;
    }
    if (f->names == NULL || s.n != 3) return false;
    for (int i = 0; f->names[i] != '\0'; i += 3)
        if (str_ieq(s, str_n(f->names + i, 3))) {
            *out = f->first + i / 3;
            return true;
        }
    return false;
}

// One item of a list: *, n, a-b, each with an optional /step.
static bool parse_item(const struct field *f, struct str item, uint64_t *bits) {
    struct str range, step;
    int64_t by = 1;
    int lo, hi;
    bool stepped = str_cut(item, '/', &range, &step);
    if (stepped && (!str_to_i64(step, &by) || by < 1 || by > f->max)) return false;
    if (str_eqc(range, "*")) {
        lo = f->min;
        hi = f->max == 7 ? 6 : f->max;
    } else {
        struct str a, b;
        bool ranged = str_cut(range, '-', &a, &b);
        if (!parse_value(f, a, &lo)) return false;
        hi = stepped ? f->max : lo;
        if (ranged && !parse_value(f, b, &hi)) return false;
        if (hi < lo) return false;
    }
    for (int v = lo; v <= hi; v += (int)by) *bits |= 1ULL << (f->max == 7 && v == 7 ? 0 : v);
    return true;
}

enum err_code cron_parse(struct str text, struct cron *out, struct err *err) {
    uint64_t bits[5] = {0};
    bool any[5] = {false};
    struct str rest = str_trim(text);
    for (int i = 0; i < 5; i++) {
        struct str word, tail;
        rest = str_trim(rest);
        if (rest.n == 0) return err_set(err, ERR_INVALID, "cron expression '" STR_FMT "': 5 fields are needed, there are %d", STR_ARG(text), i);
        str_cut(rest, ' ', &word, &tail);
        rest = tail;
        any[i] = word.p[0] == '*';
        for (struct str item, more; word.n > 0; word = more) {
            bool last = !str_cut(word, ',', &item, &more);
            if (!parse_item(&fields[i], item, &bits[i]))
                return err_set(err, ERR_INVALID, "cron expression '" STR_FMT "': '" STR_FMT "' is not a %s", STR_ARG(text), STR_ARG(item),
                               fields[i].name);
            if (last) break;
        }
        if (bits[i] == 0) return err_set(err, ERR_INVALID, "cron expression '" STR_FMT "': the %s matches nothing", STR_ARG(text), fields[i].name);
    }
    if (str_trim(rest).n > 0) return err_set(err, ERR_INVALID, "cron expression '" STR_FMT "': only 5 fields are supported", STR_ARG(text));
    *out = (struct cron){bits[0], (uint32_t)bits[1], (uint32_t)bits[2], (uint32_t)bits[3], (uint32_t)bits[4], any[2], any[4]};
    return ERR_OK;
}

// ---- ticks ---------------------------------------------------------------------------------------------------------------
static bool day_fits(const struct cron *c, int64_t day) {
    int64_t y;
    int m, d, w = (int)(((day + 4) % 7 + 7) % 7);
    civil_from_days(day, &y, &m, &d);
    if ((c->months >> m & 1) == 0) return false;
    bool dom = (c->days >> d & 1) != 0, dow = (c->weekdays >> w & 1) != 0;
    if (c->any_day || c->any_weekday) return dom && dow;
    return dom || dow;
}

enum { SEARCH_DAYS = 366 * 8 };

static int64_t first_in_day(const struct cron *c, int from) { // minute of the day >= from, or -1
    for (int m = from; m < 1440; m++) {
        if ((c->hours >> (m / 60) & 1) == 0) m = m / 60 * 60 + 59;
        else if (c->minutes >> (m % 60) & 1) return m;
    }
    return -1;
}

static int64_t last_in_day(const struct cron *c, int until) {
    for (int m = until; m >= 0; m--) {
        if ((c->hours >> (m / 60) & 1) == 0) m = m / 60 * 60;
        else if (c->minutes >> (m % 60) & 1) return m;
    }
    return -1;
}

int64_t cron_next(const struct cron *c, int64_t after_us) {
    int64_t minute = floor_div(after_us, MINUTE) + 1, day = floor_div(minute, 1440);
    int from = (int)(minute - day * 1440);
    for (int i = 0; i < SEARCH_DAYS; i++, day++, from = 0) {
        if (!day_fits(c, day)) continue;
        int64_t m = first_in_day(c, from);
        if (m >= 0) return (day * 1440 + m) * MINUTE;
    }
    return CRON_NEVER;
}

int64_t cron_prev(const struct cron *c, int64_t until_us) {
    int64_t minute = floor_div(until_us, MINUTE), day = floor_div(minute, 1440);
    int until = (int)(minute - day * 1440);
    for (int i = 0; i < SEARCH_DAYS; i++, day--, until = 1439) {
        if (!day_fits(c, day)) continue;
        int64_t m = last_in_day(c, until);
        if (m >= 0) return (day * 1440 + m) * MINUTE;
    }
    return -CRON_NEVER;
}

// ---- timetables ----------------------------------------------------------------------------------------------------------
static int64_t get_next(const struct flow_schedule *s, int64_t t) { return s->kind == FLOW_SCHEDULE_CRON ? cron_next(&s->cron, t) : t + s->delta_us; }
static int64_t align_prev(const struct flow_schedule *s, int64_t t) { return s->kind == FLOW_SCHEDULE_CRON ? cron_prev(&s->cron, t) : t; }
static int64_t align_next(const struct flow_schedule *s, int64_t t) { return s->kind == FLOW_SCHEDULE_CRON ? cron_next(&s->cron, t - 1) : t; }

static int64_t first_run(const struct flow_schedule *s, int64_t now) {
    int64_t past = align_prev(s, now);
    if (s->kind == FLOW_SCHEDULE_DELTA) return past;
    int64_t next = align_next(s, now);
    if (!s->run_immediately) return next;
    if (s->immediate_us < 0) { // Airflow's None: a tenth of the distance, at least five minutes
        int64_t tenth = (next - past) / 10;
        return now - past <= (tenth > 5 * MINUTE ? tenth : 5 * MINUTE) ? past : next;
    }
    return s->immediate_us == 0 || now - past <= s->immediate_us ? past : next;
}

static int64_t max2(int64_t a, int64_t b) { return a > b ? a : b; }

// CronTriggerTimetable, DeltaTriggerTimetable.
static int64_t next_trigger(const struct flow_schedule *s, const struct flow_restriction *r, int64_t last, int64_t now) {
    if (r->catchup) {
        if (last != NONE) return get_next(s, last);
        return r->earliest_us == NONE ? first_run(s, now) : align_next(s, r->earliest_us);
    }
    // A fixed interval has no grid: counted from the last run, or from now.
    int64_t t = s->kind == FLOW_SCHEDULE_CRON || last == NONE ? align_prev(s, now) : NONE;
    if (last != NONE) t = max2(t, get_next(s, last));
    else if (r->earliest_us == NONE) t = max2(t, first_run(s, now));
    if (r->earliest_us != NONE) t = max2(t, align_next(s, r->earliest_us));
    return t;
}

// CronDataIntervalTimetable, DeltaDataIntervalTimetable: returns the interval's start; `last` is the last interval's end.
static int64_t next_interval(const struct flow_schedule *s, const struct flow_restriction *r, int64_t last, int64_t now) {
    int64_t earliest = r->earliest_us;
    if (!r->catchup) { // the newest interval that is over
        int64_t end = align_prev(s, now);
        int64_t start = s->kind == FLOW_SCHEDULE_CRON ? cron_prev(&s->cron, end - 1) : end - s->delta_us;
        earliest = earliest == NONE ? start : max2(earliest, start);
    }
    if (last != NONE) return earliest == NONE ? last : max2(last, align_next(s, earliest));
    return earliest == NONE ? NONE : align_next(s, earliest);
}

bool flow_schedule_next(const struct flow_schedule *s, const struct flow_restriction *r, int64_t last_us, int64_t now_us, struct flow_tick *out) {
    if (s->kind == FLOW_SCHEDULE_NONE) return false;
    if (s->kind == FLOW_SCHEDULE_ONCE || s->kind == FLOW_SCHEDULE_CONTINUOUS) {
        if (s->kind == FLOW_SCHEDULE_ONCE && last_us != NONE) return false;
        int64_t t = r->earliest_us != NONE && (s->kind == FLOW_SCHEDULE_ONCE || r->earliest_us > now_us) ? r->earliest_us : now_us;
        *out = (struct flow_tick){t, t, t, t};
        return r->latest_us == NONE || t <= r->latest_us;
    }
    if (s->data_interval) {
        int64_t start = next_interval(s, r, last_us, now_us);
        if (start == NONE || start == CRON_NEVER || start == -CRON_NEVER) return false;
        int64_t end = get_next(s, start);
        if (end == CRON_NEVER || (r->latest_us != NONE && start > r->latest_us)) return false;
        *out = (struct flow_tick){end, start, start, end};
        return true;
    }
    int64_t t = next_trigger(s, r, last_us, now_us);
    if (t == NONE || t == CRON_NEVER || t == -CRON_NEVER || (r->latest_us != NONE && t > r->latest_us)) return false;
    *out = (struct flow_tick){t, t, t - s->interval_us, t};
    return true;
}

void flow_iso(int64_t us, char out[40]) {
    int64_t day = floor_div(us, DAY), rest = us - day * DAY, y;
    int m, d;
    civil_from_days(day, &y, &m, &d);
    int sec = (int)(rest / 1000000), frac = (int)(rest % 1000000);
    int n = snprintf(out, 40, "%04d-%02d-%02dT%02d:%02d:%02d", (int)y, m, d, sec / 3600, sec / 60 % 60, sec % 60);
    if (frac != 0) n += snprintf(out + n, (size_t)(40 - n), ".%06d", frac);
    snprintf(out + n, (size_t)(40 - n), "+00:00");
}
