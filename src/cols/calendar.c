// SPDX-License-Identifier: Apache-2.0
// Dates, times, instants and decimals to text and back. Pure, any thread. The day arithmetic is Howard Hinnant's ("chrono-compatible
// low-level date algorithms"): eras of 400 years that begin on 1 March.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cols/cols.h"

#define US_DAY INT64_C(86400000000)
#define US_SEC INT64_C(1000000)

int64_t cols_days_of(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

void cols_civil_of(int64_t days, int64_t *year, unsigned *month, unsigned *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int64_t)yoe + era * 400 + (*month <= 2);
}

static void date_text(int64_t days, struct buf *out) {
    int64_t y;
    unsigned m, d;
    cols_civil_of(days, &y, &m, &d);
    if (y < 1) buf_printf(out, "%04lld-%02u-%02u BC", (long long)(1 - y), m, d);
    else buf_printf(out, "%04lld-%02u-%02u", (long long)y, m, d);
}

void cols_date_text(int32_t days, struct buf *out) { date_text(days, out); }

void cols_time_text(int64_t us, struct buf *out) {
    int64_t s = us / US_SEC, frac = us % US_SEC;
    buf_printf(out, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    if (frac == 0) return;
    char digits[8];
    snprintf(digits, sizeof digits, "%06d", (int)frac);
    size_t n = 6;
    while (digits[n - 1] == '0') n--;
    buf_put_u8(out, '.');
    buf_put(out, digits, n);
}

void cols_timestamp_text(int64_t us, bool tz, bool iso, struct buf *out) {
    int64_t days = us / US_DAY, rest = us % US_DAY;
    if (rest < 0) days--, rest += US_DAY;
    date_text(days, out);
    buf_put_u8(out, iso ? 'T' : ' ');
    cols_time_text(rest, out);
    if (tz) buf_puts(out, iso ? "Z" : "+00");
}

void cols_double_text(double v, struct buf *out) {
    if (isnan(v)) return buf_puts(out, "NaN");
    if (isinf(v)) return buf_puts(out, v < 0 ? "-Infinity" : "Infinity");
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf_puts(out, text);
}

void cols_decimal_text(const void *value16, unsigned scale, struct buf *out) {
    __int128 v;
    memcpy(&v, value16, 16);
    unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    char digits[48];
    size_t at = sizeof digits;
    unsigned n = 0;
    do {
        digits[--at] = (char)('0' + (int)(u % 10));
        u /= 10;
        if (++n == scale) digits[--at] = '.';
    } while (u != 0 || n <= scale);
    if (v < 0) buf_put_u8(out, '-');
    buf_put(out, digits + at, sizeof digits - at);
}

// ---- parsing ------------------------------------------------------------------------------------------------------------------
// Takes exactly n digits.
static bool take_digits(struct str *s, size_t n, unsigned *out) {
    if (s->n < n) return false;
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') return false;
        v = v * 10 + (unsigned)(s->p[i] - '0');
    }
    s->p += n, s->n -= n;
    *out = v;
    return true;
}

static bool take_char(struct str *s, char c) {
    if (s->n == 0 || s->p[0] != c) return false;
    s->p++, s->n--;
    return true;
}

static bool take_date(struct str *s, int64_t *days) {
    static const uint8_t length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned y, m, d;
    if (!take_digits(s, 4, &y) || !take_char(s, '-') || !take_digits(s, 2, &m) || !take_char(s, '-') || !take_digits(s, 2, &d)) return false;
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if (m < 1 || m > 12 || d < 1 || d > length[m - 1] + (unsigned)(m == 2 && leap)) return false;
    *days = cols_days_of(y, m, d);
    return true;
}

static bool take_time(struct str *s, int64_t *us) { // hh:mm[:ss[.f{1,9}]]
    unsigned h, m, sec = 0;
    if (!take_digits(s, 2, &h) || !take_char(s, ':') || !take_digits(s, 2, &m)) return false;
    int64_t frac = 0, unit = US_SEC;
    if (take_char(s, ':')) {
        if (!take_digits(s, 2, &sec)) return false;
        if (take_char(s, '.')) {
            unsigned digit, n = 0;
            for (; take_digits(s, 1, &digit); n++) {
                unit /= 10; // digits past the sixth are cut off
                frac += (int64_t)digit * unit;
            }
            if (n == 0 || n > 9) return false;
        }
    }
    if (h > 23 || m > 59 || sec > 59) return false;
    *us = ((int64_t)h * 3600 + m * 60 + sec) * US_SEC + frac;
    return true;
}

static bool take_zone(struct str *s, int64_t *us) { // Z, +hh, +hhmm, +hh:mm
    *us = 0;
    if (take_char(s, 'Z') || take_char(s, 'z')) return true;
    bool minus = take_char(s, '-');
    if (!minus && !take_char(s, '+')) return false;
    unsigned h, m = 0;
    if (!take_digits(s, 2, &h)) return false;
    bool colon = take_char(s, ':');
    if ((colon || s->n > 0) && !take_digits(s, 2, &m)) return false;
    if (h > 15 || m > 59) return false;
    *us = ((int64_t)h * 60 + m) * 60 * US_SEC * (minus ? -1 : 1);
    return true;
}

bool cols_date_parse(struct str s, int32_t *days) {
    int64_t d;
    if (!take_date(&s, &d) || s.n != 0) return false;
    *days = (int32_t)d;
    return true;
}

bool cols_time_parse(struct str s, int64_t *us) { return take_time(&s, us) && s.n == 0; }

bool cols_timestamp_parse(struct str s, int64_t *us, bool *tz) {
    int64_t days, time = 0, zone = 0;
    bool has_zone = false;
    if (!take_date(&s, &days)) return false;
    if (take_char(&s, 'T') || take_char(&s, ' ')) {
        if (!take_time(&s, &time)) return false;
        if (s.n > 0) {
            if (!take_zone(&s, &zone) || s.n > 0) return false;
            has_zone = true;
        }
    }
    if (s.n > 0) return false;
    *us = days * US_DAY + time - zone;
    if (tz != NULL) *tz = has_zone;
    return true;
}

bool cols_decimal_parse(struct str s, unsigned precision, unsigned scale, void *value16) {
    bool minus = take_char(&s, '-');
    if (!minus) take_char(&s, '+');
    unsigned __int128 v = 0;
    unsigned digits = 0, seen = 0, fraction = 0;
    bool point = false;
    for (; s.n > 0; s.p++, s.n--) {
        if (s.p[0] == '.' && !point) {
            point = true;
            continue;
        }
        if (s.p[0] < '0' || s.p[0] > '9') return false;
        unsigned d = (unsigned)(s.p[0] - '0');
        seen++;
        if (point && fraction == scale) {
            if (d != 0) return false; // digits would be lost
            continue;
        }
        fraction += point;
        if (v != 0 || d != 0) digits++;
        if (digits > precision) return false;
        v = v * 10 + d;
    }
    if (seen == 0) return false;
    for (; fraction < scale; fraction++) {
        if (v != 0 && ++digits > precision) return false;
        v *= 10;
    }
    if (minus) v = -v;
    memcpy(value16, &v, 16);
    return true;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool cols_uuid_parse(struct str s, uint8_t out[16]) {
    if (s.n != 36) return false;
    for (size_t i = 0, n = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s.p[i] != '-') return false;
            continue;
        }
        int a = hex_value(s.p[i]), b = hex_value(s.p[i + 1]);
        if (a < 0 || b < 0) return false;
        out[n++] = (uint8_t)(a << 4 | b);
        i++;
    }
    return true;
}
