#include <criterion/criterion.h>

#include "proxy/events/celery_repr.h"
#include "proxy/ops/json.h"

static void check(const char *json, const char *want)
{
    struct buffer out = { 0 };
    celery_repr(span_of(json), &out);
    buffer_append_u8(&out, '\0');
    cr_assert_str_eq(out.data, want);
    buffer_free(&out);
}

/* The right side is what Python printed. */
Test(celery_repr, shows_what_python_shows)
{
    check("[]", "[]");
    check("[7]", "[7]");
    check("[1,[2,{}],{\"a\":null,\"b\":[true,false]}]", "[1, [2, {}], {'a': None, 'b': [True, False]}]");
    check("[-0, 123456789012345678901234567890]", "[0, 123456789012345678901234567890]");
    check("[1.10, 1e5, 1e15, 123456789012345680.0, 1e16]",
          "[1.1, 100000.0, 1000000000000000.0, 1.2345678901234568e+17, 1e+16]");
    check("[0.1, 0.0001, 0.00001, -2.5E-10, 3.14159]", "[0.1, 0.0001, 1e-05, -2.5e-10, 3.14159]");
    check("[0.0, -0.0, 1e400, -1e400, 5e-324, 1e-400]", "[0.0, -0.0, inf, -inf, 5e-324, 0.0]");
    check("[0.30000000000000004, 1.7976931348623157e308]", "[0.30000000000000004, 1.7976931348623157e+308]");
}

Test(celery_repr, quotes_as_python_does)
{
    check("\"it's\"", "\"it's\"");
    check("\"say \\\"it's\\\"\"", "'say \"it\\'s\"'");
    check("\"a\\\\b\\n\\t\\u0000\\u007f\"", "'a\\\\b\\n\\t\\x00\\x7f'");
    check("\"é€ \\ud83d\\ude00\"", "'é€ \xf0\x9f\x98\x80'");
    check("\"\\u00a0\\u200b\\ud83d\\ue000\"", "'\\xa0\\u200b\\ud83d\\ue000'");
}

Test(celery_repr, ends_where_people_stop_reading)
{
    struct buffer json = { 0 }, out = { 0 };
    buffer_append_text(&json, "[\"x\"");
    for (int i = 0; i < 100000; i++)
        buffer_append_text(&json, ",\"é\"");
    buffer_append_text(&json, "]");
    buffer_append_text(&out, "before ");
    celery_repr(buffer_span(&json), &out);
    struct span shown = span_make(out.data + 7, out.size - 7);
    cr_assert_leq(shown.size, CELERY_REPR_SIZE);
    cr_assert_gt(shown.size, CELERY_REPR_SIZE - 4);
    cr_assert(span_is(span_make(out.data + out.size - 3, 3), "..."));
    for (; shown.size > 0;
         shown = span_make(shown.data + utf8_character_size(shown), shown.size - utf8_character_size(shown)))
        cr_assert_gt(utf8_character_size(shown), 0);
    buffer_free(&json);
    buffer_free(&out);
}
