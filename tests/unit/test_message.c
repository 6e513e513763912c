#include <criterion/criterion.h>

#include "protocol/message.h"
#include "tests/unit/bytes.h"

/* --- readers ------------------------------------------------------------------------------------- */

static bool reads_query(struct span body)
{
    struct span text;
    return message_read_query(body, &text);
}

static bool reads_parse(struct span body)
{
    struct message_parse parse;
    return message_read_parse(body, &parse);
}

static bool reads_execute(struct span body)
{
    struct message_execute execute;
    return message_read_execute(body, &execute);
}

static bool reads_named(struct span body)
{
    struct message_named named;
    return message_read_named(body, &named);
}

static bool reads_error(struct span body)
{
    struct message_error error;
    return message_read_error(body, &error);
}

static bool reads_command_complete(struct span body)
{
    struct span tag;
    return message_read_command_complete(body, &tag);
}

static bool reads_parameter_status(struct span body)
{
    struct span name, value;
    return message_read_parameter_status(body, &name, &value);
}

static bool reads_key_data(struct span body)
{
    uint32_t process_id;
    struct span secret;
    return message_read_key_data(body, &process_id, &secret);
}

/* The readers that take a whole body, each with one that it accepts. */
static const struct {
    const char *name;
    bool (*reads)(struct span body);
    struct span body;
} whole[] = {
    { "Query", reads_query, BYTES_INIT("SELECT 1\0") },
    { "empty Query", reads_query, BYTES_INIT("\0") },
    { "Parse", reads_parse, BYTES_INIT("name\0SELECT $1, $2\0\0\2\0\0\0\x17\0\0\0\x19") },
    { "unnamed Parse", reads_parse, BYTES_INIT("\0\0\0\0") },
    { "Execute", reads_execute, BYTES_INIT("portal\0\0\0\0\x7") },
    { "Describe", reads_named, BYTES_INIT("Sname\0") },
    { "Close", reads_named, BYTES_INIT("P\0") },
    { "ErrorResponse", reads_error, BYTES_INIT("SFEHLER\0VERROR\0C42601\0Mno\0P7\0\0") },
    { "empty ErrorResponse", reads_error, BYTES_INIT("\0") },
    { "CommandComplete", reads_command_complete, BYTES_INIT("INSERT 0 1\0") },
    { "ParameterStatus", reads_parameter_status, BYTES_INIT("TimeZone\0UTC\0") },
};

Test(message, P2_a_whole_body_is_read)
{
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        struct span body = bytes_exact(whole[i].body);
        cr_assert(whole[i].reads(body), "%s", whole[i].name);
        bytes_free(body);
    }
}

Test(message, P2_a_body_cut_at_any_offset_is_refused)
{
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        for (size_t size = 0; size < whole[i].body.size; size++) {
            struct span cut = bytes_exact(span_make(whole[i].body.data, size));
            cr_assert_not(whole[i].reads(cut), "%s cut at %zu", whole[i].name, size);
            bytes_free(cut);
        }
    }
}

Test(message, P2_a_body_with_a_byte_left_over_is_refused)
{
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        struct buffer longer = { 0 };
        buffer_append_span(&longer, whole[i].body);
        buffer_append_u8(&longer, 0);
        cr_assert_not(whole[i].reads(buffer_span(&longer)), "%s", whole[i].name);
        buffer_free(&longer);
    }
}

Test(message, P2_a_body_of_random_bytes_is_read_within_its_bounds)
{
    uint32_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        char random[48];
        for (size_t i = 0; i < sizeof random; i++) {
            seed = seed * 1664525 + 1013904223;
            random[i] = seed >> 31 ? (char)(seed >> 22 & 3) : (char)(seed >> 23); /* small numbers more often */
        }
        struct span body = bytes_exact(span_make(random, seed >> 8 & 31));
        for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
            whole[i].reads(body);
        reads_key_data(body);
        struct message_bind bind;
        struct message_parameter parameter;
        if (message_read_bind(body, &bind)) {
            message_bind_result_format(&bind);
            message_bind_parameter(&bind, 1, &parameter);
            message_bind_parameter(&bind, 2, &parameter);
        }
        bytes_free(body);
    }
}

Test(message, parse_gives_name_text_and_types)
{
    struct message_parse parse;
    cr_assert(message_read_parse(whole[2].body, &parse));
    cr_assert(span_is(parse.name, "name"));
    cr_assert(span_is(parse.text, "SELECT $1, $2"));
    cr_assert_eq(parse.type_count, 2);
    cr_assert(span_equal(parse.types, BYTES("\0\0\0\x17\0\0\0\x19")));
}

Test(message, P2_a_parse_with_more_types_than_bytes_is_refused)
{
    cr_assert_not(reads_parse(BYTES("\0\0\xff\xff\0\0\0\1")));
}

Test(message, execute_gives_portal_and_row_limit)
{
    static const struct {
        struct span body;
        uint32_t max_rows;
    } rows[] = {
        { BYTES_INIT("p\0\0\0\0\0"), 0 },
        { BYTES_INIT("p\0\0\0\1\0"), 256 },
        { BYTES_INIT("p\0\x7f\xff\xff\xff"), 0x7fffffff },
        { BYTES_INIT("p\0\x80\0\0\0"), 0 }, /* negative: no limit */
        { BYTES_INIT("p\0\xff\xff\xff\xff"), 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message_execute execute;
        cr_assert(message_read_execute(rows[i].body, &execute));
        cr_assert(span_is(execute.portal, "p"));
        cr_assert_eq(execute.max_rows, rows[i].max_rows, "row %zu", i);
    }
}

Test(message, P2_describe_and_close_name_a_statement_or_a_portal)
{
    struct message_named named;
    cr_assert(message_read_named(BYTES("Sone\0"), &named));
    cr_assert_eq(named.kind, 'S');
    cr_assert(span_is(named.name, "one"));
    cr_assert(message_read_named(BYTES("P\0"), &named));
    cr_assert_eq(named.kind, 'P');
    cr_assert_eq(named.name.size, 0);
    cr_assert_not(message_read_named(BYTES("Xone\0"), &named));
    cr_assert_not(message_read_named(BYTES("\0one\0"), &named));
}

Test(message, error_gives_the_fields_that_are_there)
{
    struct message_error error;
    cr_assert(message_read_error(BYTES("SFEHLER\0VERROR\0C23505\0Mtwice\0Dkey\0Htry\0P12\0Fx.c\0L1\0Rf\0\0"), &error));
    cr_assert(span_is(error.severity, "ERROR"));
    cr_assert(span_is(error.sqlstate, "23505"));
    cr_assert(span_is(error.message, "twice"));
    cr_assert(span_is(error.detail, "key"));
    cr_assert(span_is(error.hint, "try"));
    cr_assert(span_is(error.position, "12"));
    cr_assert(span_is(error.routine, "f"));
}

Test(message, error_without_a_field_is_empty_there)
{
    struct message_error error;
    cr_assert(message_read_error(BYTES("SFATAL\0\0"), &error));
    cr_assert(span_is(error.severity, "FATAL"), "an old server's localised severity is better than none");
    cr_assert_eq(error.sqlstate.size, 0);
    cr_assert_eq(error.message.size, 0);
    cr_assert(message_read_error(BYTES("\0"), &error));
    cr_assert_eq(error.severity.size, 0);
}

Test(message, parameter_status_gives_name_and_value)
{
    struct span name, value;
    cr_assert(message_read_parameter_status(BYTES("application_name\0\0"), &name, &value));
    cr_assert(span_is(name, "application_name"));
    cr_assert_eq(value.size, 0);
}

Test(message, P1_a_cancel_key_has_4_to_256_bytes)
{
    char body[4 + 300] = { 0, 0, 1, 2 };
    for (size_t size = 0; size <= 300; size++) {
        uint32_t process_id;
        struct span secret;
        bool ok = message_read_key_data(span_make(body, 4 + size), &process_id, &secret);
        cr_assert_eq(ok, size >= 4 && size <= 256, "%zu bytes", size);
        if (ok) {
            cr_assert_eq(process_id, 258);
            cr_assert_eq(secret.size, size);
        }
    }
    for (size_t size = 0; size < 4; size++)
        cr_assert_not(reads_key_data(span_make(body, size)));
}

/* --- Bind ---------------------------------------------------------------------------------------- */

/* Formats none; parameters "one", NULL, ""; result formats none. */
#define BIND_NO_FORMATS "\0\0\0\3\0\0\0\3one\xff\xff\xff\xff\0\0\0\0\0\0"
/* All binary. */
#define BIND_ONE_FORMAT "\0\1\0\1\0\3\0\0\0\3one\xff\xff\xff\xff\0\0\0\0\0\1\0\1"
/* Text, text, binary; result columns text, binary. */
#define BIND_EACH_FORMAT "\0\3\0\0\0\0\0\1\0\3\0\0\0\3one\xff\xff\xff\xff\0\0\0\0\0\2\0\0\0\1"

static const struct {
    const char *name;
    struct span rest;
    bool binary[3];
    uint16_t result_format;
} binds[] = {
    { "no formats", BYTES_INIT(BIND_NO_FORMATS), { false, false, false }, 0 },
    { "one format", BYTES_INIT(BIND_ONE_FORMAT), { true, true, true }, 1 },
    { "each its format", BYTES_INIT(BIND_EACH_FORMAT), { false, false, true }, 0 },
};

Test(message, bind_parameters_are_found_by_number)
{
    for (size_t i = 0; i < sizeof binds / sizeof *binds; i++) {
        struct message_bind bind = { .rest = bytes_exact(binds[i].rest) };
        struct message_parameter p;
        cr_assert(message_bind_parameter(&bind, 1, &p), "%s", binds[i].name);
        cr_assert(span_is(p.value, "one") && !p.null);
        cr_assert_eq(p.binary, binds[i].binary[0]);
        cr_assert(message_bind_parameter(&bind, 2, &p), "%s", binds[i].name);
        cr_assert(p.null && p.value.size == 0);
        cr_assert_eq(p.binary, binds[i].binary[1]);
        cr_assert(message_bind_parameter(&bind, 3, &p), "%s", binds[i].name);
        cr_assert(!p.null && p.value.size == 0);
        cr_assert_eq(p.binary, binds[i].binary[2]);
        cr_assert_not(message_bind_parameter(&bind, 0, &p));
        cr_assert_not(message_bind_parameter(&bind, 4, &p));
        cr_assert_not(message_bind_parameter(&bind, UINT32_MAX, &p));
        cr_assert_eq(message_bind_result_format(&bind), binds[i].result_format, "%s", binds[i].name);
        bytes_free(bind.rest);
    }
}

Test(message, P2_a_bind_cut_at_any_offset_has_no_parameters)
{
    for (size_t i = 0; i < sizeof binds / sizeof *binds; i++) {
        for (size_t size = 0; size < binds[i].rest.size; size++) {
            struct message_bind bind = { .rest = bytes_exact(span_make(binds[i].rest.data, size)) };
            struct message_parameter p;
            for (unsigned number = 0; number < 5; number++)
                cr_assert_not(message_bind_parameter(&bind, number, &p), "%s cut at %zu", binds[i].name, size);
            cr_assert_eq(message_bind_result_format(&bind), 0, "%s cut at %zu", binds[i].name, size);
            bytes_free(bind.rest);
        }
    }
}

Test(message, P2_a_malformed_bind_has_no_parameters)
{
    static const struct {
        const char *name;
        struct span rest;
    } rows[] = {
        { "nothing", BYTES_INIT("") },
        { "two formats for three values", BYTES_INIT("\0\2\0\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0") },
        { "two formats for one value", BYTES_INIT("\0\2\0\0\0\0\0\1\0\0\0\0\0\0") },
        { "a length of -2", BYTES_INIT("\0\0\0\1\xff\xff\xff\xfe\0\0") },
        { "a length of -2^31", BYTES_INIT("\0\0\0\1\x80\0\0\0\0\0") },
        { "a length of 2^31 - 1", BYTES_INIT("\0\0\0\1\x7f\xff\xff\xff\0\0") },
        { "65535 values", BYTES_INIT("\0\0\xff\xff\0\0\0\0\0\0") },
        { "65535 formats", BYTES_INIT("\xff\xff\0\0\0\0\0\0") },
        { "a format that does not exist", BYTES_INIT("\0\1\0\2\0\1\0\0\0\0\0\0") },
        { "a byte left over", BYTES_INIT("\0\0\0\1\0\0\0\0\0\0\0") },
        { "65535 result formats", BYTES_INIT("\0\0\0\1\0\0\0\0\xff\xff\0\1") },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message_bind bind = { .rest = bytes_exact(rows[i].rest) };
        struct message_parameter p;
        cr_assert_not(message_bind_parameter(&bind, 1, &p), "%s", rows[i].name);
        cr_assert_eq(message_bind_result_format(&bind), 0, "%s", rows[i].name);
        bytes_free(bind.rest);
    }
}

Test(message, a_format_for_no_value_is_one_for_all)
{
    struct message_bind bind = { .rest = BYTES("\0\1\0\1\0\0\0\1\0\1") };
    struct message_parameter p;
    cr_assert_not(message_bind_parameter(&bind, 1, &p));
    cr_assert_eq(message_bind_result_format(&bind), 1);
}

Test(message, P2_bind_needs_no_more_than_its_names)
{
    struct span body = BYTES("portal\0statement\0" BIND_ONE_FORMAT);
    size_t names = sizeof "portal\0statement";
    for (size_t size = 0; size <= body.size; size++) {
        struct span cut = bytes_exact(span_make(body.data, size));
        struct message_bind bind;
        cr_assert_eq(message_read_bind(cut, &bind), size >= names, "cut at %zu", size);
        if (size >= names) {
            cr_assert(span_is(bind.portal, "portal"));
            cr_assert(span_is(bind.statement, "statement"));
            cr_assert_eq(bind.rest.size, size - names);
        }
        bytes_free(cut);
    }
}

/* --- builders ------------------------------------------------------------------------------------ */

static void add_query(struct buffer *b)
{
    message_add_query(b, span_of("SELECT 1"));
}

static void add_parse(struct buffer *b)
{
    message_add_parse(b, span_of("s"), span_of(";"));
}

static void add_bind(struct buffer *b)
{
    message_add_bind(b, span_of("p"), span_of("s"));
}

static void add_execute(struct buffer *b)
{
    message_add_execute(b, span_of("p"), 258);
}

static void add_describe(struct buffer *b)
{
    message_add_describe(b, 'P', span_of("p"));
}

static void add_close(struct buffer *b)
{
    message_add_close(b, 'S', span_of("s"));
}

static void add_copy_fail(struct buffer *b)
{
    message_add_copy_fail(b, span_of("why"));
}

static void add_command_complete(struct buffer *b)
{
    message_add_command_complete(b, span_of("SET"));
}

static void add_ready(struct buffer *b)
{
    message_add_ready(b, 'T');
}

static void add_parameter_status(struct buffer *b)
{
    message_add_parameter_status(b, span_of("a"), span_of("b"));
}

static void add_row_description(struct buffer *b)
{
    message_add_row_description(b, span_of("set_config"), 25, -1, 1);
}

static void add_data_row(struct buffer *b)
{
    message_add_data_row(b, BYTES("a\0b"));
}

static void add_empty_data_row(struct buffer *b)
{
    message_add_data_row(b, (struct span){ 0 });
}

static void add_parameter_description(struct buffer *b)
{
    message_add_parameter_description(b, (const uint32_t[]){ 25, 0x01020304 }, 2);
}

static void add_no_parameter_description(struct buffer *b)
{
    message_add_parameter_description(b, NULL, 0);
}

static void add_no_data(struct buffer *b)
{
    message_add_empty(b, 'n');
}

static void add_error(struct buffer *b)
{
    message_add_error(b, &(struct message_fault){ "ERROR", "25P02", span_of("m"), span_of("d"), span_of("h") });
}

static void add_notice(struct buffer *b)
{
    message_add_notice(b, &(struct message_fault){ .severity = "WARNING", .message = span_of("m") });
}

static void add_nothing_known(struct buffer *b)
{
    message_add_error(b, &(struct message_fault){ 0 });
}

static const struct {
    const char *name;
    void (*add)(struct buffer *b);
    const struct message_spec *specs;
    struct span want;
} built[] = {
    { "Query", add_query, frontend_messages, BYTES_INIT("Q\0\0\0\x0dSELECT 1\0") },
    { "Parse", add_parse, frontend_messages, BYTES_INIT("P\0\0\0\x0as\0;\0\0\0") },
    { "Bind", add_bind, frontend_messages, BYTES_INIT("B\0\0\0\x0ep\0s\0\0\0\0\0\0\0") },
    { "Execute", add_execute, frontend_messages, BYTES_INIT("E\0\0\0\x0ap\0\0\0\1\2") },
    { "Describe", add_describe, frontend_messages, BYTES_INIT("D\0\0\0\7Pp\0") },
    { "Close", add_close, frontend_messages, BYTES_INIT("C\0\0\0\7Ss\0") },
    { "Sync", message_add_sync, frontend_messages, BYTES_INIT("S\0\0\0\4") },
    { "Flush", message_add_flush, frontend_messages, BYTES_INIT("H\0\0\0\4") },
    { "Terminate", message_add_terminate, frontend_messages, BYTES_INIT("X\0\0\0\4") },
    { "CopyFail", add_copy_fail, frontend_messages, BYTES_INIT("f\0\0\0\x8why\0") },
    { "CommandComplete", add_command_complete, backend_messages, BYTES_INIT("C\0\0\0\x8SET\0") },
    { "ReadyForQuery", add_ready, backend_messages, BYTES_INIT("Z\0\0\0\5T") },
    { "ParameterStatus", add_parameter_status, backend_messages,
      BYTES_INIT("S\0\0\0\x8"
                 "a\0b\0") },
    { "RowDescription", add_row_description, backend_messages,
      BYTES_INIT("T\0\0\0\x23\0\1set_config\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\1") },
    { "DataRow", add_data_row, backend_messages, BYTES_INIT("D\0\0\0\x0d\0\1\0\0\0\3a\0b") },
    { "DataRow with an empty value", add_empty_data_row, backend_messages, BYTES_INIT("D\0\0\0\x0a\0\1\0\0\0\0") },
    { "ParameterDescription", add_parameter_description, backend_messages,
      BYTES_INIT("t\0\0\0\x0e\0\2\0\0\0\x19\1\2\3\4") },
    { "ParameterDescription of none", add_no_parameter_description, backend_messages, BYTES_INIT("t\0\0\0\6\0\0") },
    { "NoData", add_no_data, backend_messages, BYTES_INIT("n\0\0\0\4") },
    { "ErrorResponse", add_error, backend_messages, BYTES_INIT("E\0\0\0\x23SERROR\0VERROR\0C25P02\0Mm\0Dd\0Hh\0\0") },
    { "NoticeResponse", add_notice, backend_messages, BYTES_INIT("N\0\0\0\x1aSWARNING\0VWARNING\0Mm\0\0") },
    { "ErrorResponse without a field", add_nothing_known, backend_messages, BYTES_INIT("E\0\0\0\5\0") },
};

Test(message, builders_append_what_the_protocol_says)
{
    for (size_t i = 0; i < sizeof built / sizeof *built; i++) {
        struct buffer b = { 0 };
        buffer_append_text(&b, "before");
        built[i].add(&b);
        struct span message = span_make(b.data + 6, b.size - 6);
        cr_assert(span_equal(message, built[i].want), "%s", built[i].name);
        cr_assert(span_equal(span_make(b.data, 6), span_of("before")), "%s", built[i].name);
        buffer_free(&b);
    }
}

Test(message, what_was_built_is_one_frame_that_fits_its_table)
{
    for (size_t i = 0; i < sizeof built / sizeof *built; i++) {
        struct frame f;
        cr_assert_eq(frame_next_whole(built[i].specs, built[i].want, 1000, &f, NULL), FRAME_OK, "%s", built[i].name);
        cr_assert_eq(f.bytes.size, built[i].want.size, "%s", built[i].name);
    }
}

Test(message, what_was_built_reads_back)
{
    struct buffer b = { 0 };
    add_parse(&b);
    struct message_parse parse;
    cr_assert(message_read_parse(span_make(b.data + 5, b.size - 5), &parse));
    cr_assert(span_is(parse.name, "s") && span_is(parse.text, ";") && parse.type_count == 0);

    buffer_clear(&b);
    add_bind(&b);
    struct message_bind bind;
    struct message_parameter parameter;
    cr_assert(message_read_bind(span_make(b.data + 5, b.size - 5), &bind));
    cr_assert(span_is(bind.portal, "p") && span_is(bind.statement, "s"));
    cr_assert_not(message_bind_parameter(&bind, 1, &parameter));
    cr_assert_eq(message_bind_result_format(&bind), 0);

    buffer_clear(&b);
    add_error(&b);
    struct message_error error;
    cr_assert(message_read_error(span_make(b.data + 5, b.size - 5), &error));
    cr_assert(span_is(error.severity, "ERROR") && span_is(error.sqlstate, "25P02") && span_is(error.message, "m"));
    cr_assert(span_is(error.detail, "d") && span_is(error.hint, "h") && error.position.size == 0);
    buffer_free(&b);
}

Test(message, a_nul_in_a_text_cannot_forge_a_field)
{
    struct buffer b = { 0 };
    message_add_error(&b, &(struct message_fault){ "ERROR", "22021", BYTES("bad\0CXX000\0"), { 0 }, { 0 } });
    struct message_error error;
    cr_assert(message_read_error(span_make(b.data + 5, b.size - 5), &error));
    cr_assert(span_is(error.message, "bad"));
    cr_assert(span_is(error.sqlstate, "22021"));
    buffer_free(&b);
}

/* --- an error with a field changed --------------------------------------------------------------- */

static const struct {
    const char *name;
    struct span error;
    char field;
    const char *value;
    struct span want;
} changed[] = {
    { "replaced in its place", BYTES_INIT("E\0\0\0\x0fSE\0P12\0Mm\0\0"), 'P', "7",
      BYTES_INIT("E\0\0\0\x0eSE\0P7\0Mm\0\0") },
    { "added at the end", BYTES_INIT("E\0\0\0\x0bSE\0Mm\0\0"), 'H', "try", BYTES_INIT("E\0\0\0\x10SE\0Mm\0Htry\0\0") },
    { "taken away", BYTES_INIT("E\0\0\0\x0fSE\0P12\0Mm\0\0"), 'P', "", BYTES_INIT("E\0\0\0\x0bSE\0Mm\0\0") },
    { "taken away, never there", BYTES_INIT("E\0\0\0\x0bSE\0Mm\0\0"), 'P', "", BYTES_INIT("E\0\0\0\x0bSE\0Mm\0\0") },
    { "unknown fields stay", BYTES_INIT("E\0\0\0\x10\xffx\0?\0Mm\0zz\0\0"), 'M', "n",
      BYTES_INIT("E\0\0\0\x10\xffx\0?\0Mn\0zz\0\0") },
    { "named twice, kept once", BYTES_INIT("E\0\0\0\x0eMa\0Ss\0Mb\0\0"), 'M', "n",
      BYTES_INIT("E\0\0\0\x0bMn\0Ss\0\0") },
    { "a notice stays one", BYTES_INIT("N\0\0\0\x8Mm\0\0"), 'M', "n", BYTES_INIT("N\0\0\0\x8Mn\0\0") },
    { "of no fields", BYTES_INIT("E\0\0\0\5\0"), 'M', "n", BYTES_INIT("E\0\0\0\x8Mn\0\0") },
    { "no end", BYTES_INIT("E\0\0\0\7Mm\0"), 'M', "n", BYTES_INIT("E\0\0\0\7Mm\0") },
    { "a field without its NUL", BYTES_INIT("E\0\0\0\6Mm"), 'M', "n", BYTES_INIT("E\0\0\0\6Mm") },
    { "something behind its end", BYTES_INIT("E\0\0\0\x9Mm\0\0x"), 'M', "n", BYTES_INIT("E\0\0\0\x9Mm\0\0x") },
    { "no body", BYTES_INIT("E\0\0\0\4"), 'M', "n", BYTES_INIT("E\0\0\0\4") },
};

Test(message, an_error_keeps_every_field_but_the_one_that_changes)
{
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        struct span error = bytes_exact(changed[i].error);
        struct frame f;
        cr_assert_eq(frame_next_whole(backend_messages, error, 1000, &f, NULL), FRAME_OK, "%s", changed[i].name);
        cr_assert_eq(f.bytes.size, error.size, "%s: the test's own length is wrong", changed[i].name);
        struct buffer b = { 0 };
        buffer_append_text(&b, "before");
        message_add_error_with(&b, &f, changed[i].field, span_of(changed[i].value));
        cr_assert(span_equal(span_make(b.data + 6, b.size - 6), changed[i].want), "%s", changed[i].name);
        buffer_free(&b);
        bytes_free(error);
    }
}
