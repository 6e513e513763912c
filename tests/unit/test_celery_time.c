#include <criterion/criterion.h>

#include "proxy/events/celery_time.h"

Test(celery_time, reads_iso_8601)
{
    static const struct {
        const char *text, *same;
    } rows[] = {
        { "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000+00:00" },
        { "2026-01-31t08:00:00.25z", "2026-01-31T08:00:00.250000+00:00" },
        { "2026-01-31 08:00:00.123456+00", "2026-01-31T08:00:00.123456+00:00" },
        { "2026-01-31T08:00:00.1234567899", "2026-01-31T08:00:00.123456+00:00" },
        { "2026-01-31T08:00:00+01:30", "2026-01-31T06:30:00.000000+00:00" },
        { "2026-01-31T23:30:00-0045", "2026-02-01T00:15:00.000000+00:00" },
        { "2026-01-31T08:00", "2026-01-31T08:00:00.000000+00:00" },
        { "2026-01-31", "2026-01-31T00:00:00.000000+00:00" },
        { "2024-02-29", "2024-02-29T00:00:00.000000+00:00" },
        { "1969-12-31T23:59:59.999999", "1969-12-31T23:59:59.999999+00:00" },
        { "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000+00:00" },
        { "0001-01-01", "0001-01-01T00:00:00.000000+00:00" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t us;
        char text[CELERY_TIME_SIZE];
        cr_assert(celery_time_read(span_of(rows[i].text), &us), "%s", rows[i].text);
        cr_assert(celery_time_format(us, text));
        cr_assert_str_eq(text, rows[i].same);
    }
}

Test(celery_time, refuses_what_is_no_time)
{
    static const char *const rows[] = { "",
                                        "now",
                                        "2026-1-31",
                                        "2026-02-30",
                                        "2025-02-29",
                                        "2026-13-01",
                                        "0000-01-01",
                                        "2026-01-31T",
                                        "2026-01-31T24:00:00Z",
                                        "2026-01-31T08:00:60Z",
                                        "2026-01-31T08:00:00.Z",
                                        "2026-01-31T08:00:00+1",
                                        "2026-01-31T08:00:00+01:",
                                        "2026-01-31T08:00:00Z ",
                                        "2026-01-31Z",
                                        "20260131T080000Z",
                                        "-001-01-01",
                                        "1769846400" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t us;
        cr_assert_not(celery_time_read(span_of(rows[i]), &us), "%s", rows[i]);
    }
}

Test(celery_time, knows_the_years_that_python_knows)
{
    char text[CELERY_TIME_SIZE];
    cr_assert(celery_time_format(INT64_C(253402300799999999), text));
    cr_assert_not(celery_time_format(INT64_C(253402300800000000), text));
    cr_assert(celery_time_format(INT64_C(-62135596800000000), text));
    cr_assert_not(celery_time_format(INT64_C(-62135596800000001), text));
    cr_assert_not(celery_time_format(INT64_MAX, text));
    cr_assert_not(celery_time_format(INT64_MIN, text));
}
