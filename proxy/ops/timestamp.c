/* Most moments share their second with the one before. */
#include "proxy/ops/timestamp.h"

#include <time.h>

enum { SECOND_TEXT_SIZE = sizeof("2026-11-22T16:04:05") };

static const char *second_text(time_t second)
{
    static _Thread_local time_t known = -1;
    static _Thread_local char text[SECOND_TEXT_SIZE];
    struct tm t;

    if (second != known) {
        gmtime_r(&second, &t);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
        known = second;
    }
    return text;
}

void number_append(struct buffer *b, uint64_t number, unsigned width)
{
    char digits[20];
    unsigned count = 0;

    while (number > 0 || count < width) {
        digits[sizeof digits - ++count] = (char)('0' + number % 10);
        number /= 10;
    }
    buffer_append(b, digits + sizeof digits - count, count);
}

void timestamp_append(struct buffer *b, uint64_t us)
{
    buffer_append(b, second_text((time_t)(us / 1000000)), SECOND_TEXT_SIZE - 1);
    buffer_append_u8(b, '.');
    number_append(b, us % 1000000, 6);
    buffer_append_u8(b, 'Z');
}

void milliseconds_append(struct buffer *b, uint64_t us)
{
    number_append(b, us / 1000, 1);
    buffer_append_u8(b, '.');
    number_append(b, us % 1000, 3);
}
