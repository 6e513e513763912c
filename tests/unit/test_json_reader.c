#include <criterion/criterion.h>

#include "proxy/ops/json_reader.h"
#include "tests/unit/bytes.h"

/* Reads all of it. NULL: it was valid. */
static const char *first_error(struct span text)
{
    struct span copy = bytes_exact(text), raw;
    struct json_reader r;
    json_reader_init(&r, copy);
    enum json_token token;
    do
        token = json_reader_next(&r, &raw);
    while (token != TOKEN_END && token != TOKEN_BAD);
    cr_assert_eq(json_reader_next(&r, &raw), token, "and it stays so");
    bytes_free(copy);
    return r.error;
}

Test(json_reader, takes_what_is_valid)
{
    static const char *const rows[] = { "0",
                                        " -0.5e+10 ",
                                        "1E5",
                                        "123456789012345678901234567890",
                                        "\"\"",
                                        "\"\\u00e9 \\ud83d\\ude00 \\\" \\\\ \\/ \\b\\f\\n\\r\\t é\"",
                                        "true",
                                        "[]",
                                        "{}",
                                        "[[],{},[{}]]",
                                        "\t{\"a\" : [1, null , false],\"a\":{\"b\":\"c\"}}\r\n" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_null(first_error(span_of(rows[i])), "%s", rows[i]);
}

Test(json_reader, says_what_it_expected_of_what_is_not)
{
    static const struct {
        struct span text;
        const char *error;
    } rows[] = {
        { BYTES_INIT(""), "a value" },
        { BYTES_INIT("nul"), "a value" },
        { BYTES_INIT("NaN"), "a value" },
        { BYTES_INIT("+1"), "a value" },
        { BYTES_INIT("-"), "a value" },
        { BYTES_INIT("01"), "nothing behind the value" },
        { BYTES_INIT("1."), "digits behind the point of a number" },
        { BYTES_INIT("1e+"), "digits in the exponent of a number" },
        { BYTES_INIT("1 2"), "nothing behind the value" },
        { BYTES_INIT("1,"), "nothing behind the value" },
        { BYTES_INIT("[1,]"), "a value" },
        { BYTES_INIT("[1"), "a comma or the end of an array" },
        { BYTES_INIT("[1 2]"), "a comma or the end of an array" },
        { BYTES_INIT("[}"), "a value" },
        { BYTES_INIT("{\"a\"}"), "a colon behind a key" },
        { BYTES_INIT("{\"a\":1"), "a comma or the end of an object" },
        { BYTES_INIT("{\"a\":1,}"), "a string" },
        { BYTES_INIT("{a:1}"), "a string" },
        { BYTES_INIT("{1:1}"), "a string" },
        { BYTES_INIT("'a'"), "a value" },
        { BYTES_INIT("\"a"), "the end of a string" },
        { BYTES_INIT("\"a\\"), "a valid escape in a string" },
        { BYTES_INIT("\"\\x\""), "a valid escape in a string" },
        { BYTES_INIT("\"\\u12g4\""), "a valid escape in a string" },
        { BYTES_INIT("\"\\u12"), "a valid escape in a string" },
        { BYTES_INIT("\"\n\""), "control characters to be escaped" },
        { BYTES_INIT("\"\0\""), "control characters to be escaped" },
        { BYTES_INIT("\0"), "a value" },
        { BYTES_INIT("1\0"), "nothing behind the value" },
        { BYTES_INIT("\"\xff\""), "UTF-8" },
        { BYTES_INIT("\"\xc0\x80\""), "UTF-8" },
        { BYTES_INIT("\"\xe2\x82"), "UTF-8" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *error = first_error(rows[i].text);
        cr_assert_not_null(error, "%s", rows[i].text.data);
        cr_assert_str_eq(error, rows[i].error, "%s", rows[i].text.data);
    }
}

Test(json_reader, gives_values_to_the_letter)
{
    struct json_reader r;
    struct span raw;
    json_reader_init(&r, span_of("{ \"a\\u0062\" : [1.10, {\"x\": \"]\"} ] , \"c\":1E400}"));
    cr_assert_eq(json_reader_next(&r, &raw), TOKEN_OBJECT);
    cr_assert_eq(json_reader_next(&r, &raw), TOKEN_KEY);
    cr_assert(span_is(raw, "\"a\\u0062\""));
    cr_assert_eq(json_reader_value(&r, &raw), TOKEN_ARRAY);
    cr_assert(span_is(raw, "[1.10, {\"x\": \"]\"} ]"));
    cr_assert_eq(json_reader_next(&r, &raw), TOKEN_KEY);
    cr_assert(span_is(raw, "\"c\""));
    cr_assert_eq(json_reader_value(&r, &raw), TOKEN_FLOAT);
    cr_assert(span_is(raw, "1E400"));
    cr_assert_eq(json_reader_next(&r, &raw), TOKEN_OBJECT_END);
    cr_assert_eq(json_reader_next(&r, &raw), TOKEN_END);
}

static const char *error_at_depth(size_t depth)
{
    struct buffer text = { 0 };
    for (size_t i = 0; i < depth; i++)
        buffer_append_text(&text, i % 2 ? "{\"a\":" : "[");
    buffer_append_text(&text, "1");
    for (size_t i = depth; i-- > 0;)
        buffer_append_text(&text, i % 2 ? "}" : "]");
    const char *error = first_error(buffer_span(&text));
    buffer_free(&text);
    return error;
}

Test(json_reader, depth_is_bounded)
{
    cr_assert_null(error_at_depth(JSON_READER_DEPTH));
    cr_assert_str_eq(error_at_depth(JSON_READER_DEPTH + 1), "at most 256 levels of objects and arrays");
    cr_assert_str_eq(error_at_depth(1000000), "at most 256 levels of objects and arrays");
}

Test(json_reader, strings_are_decoded)
{
    static const struct {
        const char *raw;
        bool valid;
        struct span text;
    } rows[] = {
        { "\"\"", true, BYTES_INIT("") },
        { "\"a\\n\\u0041\\u00e9\\u20ac\\/é\"", true, BYTES_INIT("a\nA\xc3\xa9\xe2\x82\xac/\xc3\xa9") },
        { "\"\\ud83d\\ude00\"", true, BYTES_INIT("\xf0\x9f\x98\x80") },
        { "\"a\\u0000b\"", true, BYTES_INIT("a\0b") },
        { "\"\\ud83d\"", false, BYTES_INIT("") },
        { "\"\\ud83d\\n\"", false, BYTES_INIT("") },
        { "\"\\ude00\\ud83d\"", false, BYTES_INIT("") },
        { "\"\\ud83d\\u0041\"", false, BYTES_INIT("") },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out = { 0 };
        cr_assert_eq(json_string_decode(span_of(rows[i].raw), &out), rows[i].valid, "%s", rows[i].raw);
        cr_assert(span_equal(buffer_span(&out), rows[i].text), "%s", rows[i].raw);
        buffer_free(&out);
    }
}
