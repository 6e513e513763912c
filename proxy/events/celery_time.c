/* ISO 8601, extended format, as PostgreSQL, Python and JavaScript print it. */
#include "proxy/events/celery_time.h"

#include <stdio.h>
#include <time.h>

enum { MICROSECONDS = 1000000 };

static bool take(struct span *s, char c)
{
    if (s->size == 0 || s->data[0] != c)
        return false;
    *s = span_make(s->data + 1, s->size - 1);
    return true;
}

static bool take_number(struct span *s, size_t digits, int least, int most, int *value)
{
    *value = 0;
    if (s->size < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        char c = s->data[i];
        if (c < '0' || c > '9')
            return false;
        *value = *value * 10 + (c - '0');
    }
    *s = span_make(s->data + digits, s->size - digits);
    return *value >= least && *value <= most;
}

static bool take_date(struct span *s, struct tm *t)
{
    if (!take_number(s, 4, 1, 9999, &t->tm_year) || !take(s, '-') || !take_number(s, 2, 1, 12, &t->tm_mon) ||
        !take(s, '-') || !take_number(s, 2, 1, 31, &t->tm_mday))
        return false;
    t->tm_year -= 1900;
    t->tm_mon -= 1;
    return true;
}

/* Digits behind the point: those past the microseconds are cut off. */
static bool take_fraction(struct span *s, int *us)
{
    *us = 0;
    int unit = MICROSECONDS;
    size_t start = s->size;
    for (int digit; s->size > 0 && take_number(s, 1, 0, 9, &digit);) {
        unit /= 10;
        *us += digit * unit;
    }
    return s->size < start;
}

static bool take_time(struct span *s, struct tm *t, int *us)
{
    if (!take_number(s, 2, 0, 23, &t->tm_hour) || !take(s, ':') || !take_number(s, 2, 0, 59, &t->tm_min))
        return false;
    if (!take(s, ':'))
        return true;
    if (!take_number(s, 2, 0, 59, &t->tm_sec))
        return false;
    return !take(s, '.') || take_fraction(s, us);
}

static bool take_zone(struct span *s, int *seconds)
{
    int hours = 0, minutes = 0;
    *seconds = 0;
    if (s->size == 0 || take(s, 'Z') || take(s, 'z'))
        return true;
    int sign = take(s, '-') ? -1 : 1;
    if (sign > 0 && !take(s, '+'))
        return false;
    if (!take_number(s, 2, 0, 23, &hours))
        return false;
    if (s->size > 0 && ((void)take(s, ':'), !take_number(s, 2, 0, 59, &minutes)))
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool celery_time_read(struct span text, int64_t *us)
{
    struct tm t = { 0 };
    int fraction = 0, zone = 0;
    if (!take_date(&text, &t))
        return false;
    int day = t.tm_mday;
    if (text.size > 0) {
        if (!take(&text, 'T') && !take(&text, 't') && !take(&text, ' '))
            return false;
        if (!take_time(&text, &t, &fraction) || !take_zone(&text, &zone) || text.size > 0)
            return false;
    }
    time_t seconds = timegm(&t);
    *us = ((int64_t)seconds - zone) * MICROSECONDS + fraction;
    return t.tm_mday == day; /* the 30th of February has become another day */
}

bool celery_time_format(int64_t us, char text[CELERY_TIME_SIZE])
{
    int64_t fraction = us % MICROSECONDS;
    time_t seconds = (time_t)(us / MICROSECONDS);
    if (fraction < 0) {
        fraction += MICROSECONDS;
        seconds--;
    }
    struct tm t;
    if (gmtime_r(&seconds, &t) == NULL || t.tm_year < 1 - 1900 || t.tm_year > 9999 - 1900)
        return false;
    snprintf(text, CELERY_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06u+00:00", (unsigned)(t.tm_year + 1900) % 10000,
             (unsigned)(t.tm_mon + 1) % 100, (unsigned)t.tm_mday % 100, (unsigned)t.tm_hour % 100,
             (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100, (unsigned)fraction);
    return true;
}
