#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/buffer.h"
#include "protocol/frame.h"
#include "protocol/wire.h"
#include "tests/unit/bytes.h"

enum { LIMIT = 100000, SMALL_LENGTH = 65535 };

/* A header that claims `length`, and `there` bytes of a body behind it. To be freed. */
static struct span message_claiming(char type, uint32_t length, size_t there)
{
    struct buffer b = { 0 };
    buffer_append_u8(&b, (uint8_t)type);
    buffer_append_u32(&b, length);
    for (size_t i = 0; i < there; i++)
        buffer_append_u8(&b, (uint8_t)i);
    struct span exact = bytes_exact(buffer_span(&b));
    buffer_free(&b);
    return exact;
}

static enum frame_result result_of(const struct message_spec *specs, struct span input, size_t limit)
{
    struct frame f;
    return frame_next(specs, input, limit, &f, NULL);
}

/* --- the tables ---------------------------------------------------------------------------------- */

/* The message types of the protocol documentation, by what their readers need. All but small ones may carry user data. */
static const struct {
    const char *direction;
    const struct message_spec *specs;
    const char *small, *whole, *head, *stream;
} tables[] = {
    { "frontend", frontend_messages, "CDEHSXcfp", "FPQ", "B", "d" },
    { "backend", backend_messages, "123CGHIKRWZcnsv", "AENSTt", "", "DVd" },
};

static struct message_spec documented(size_t table, char type)
{
    if (type == 0)
        return (struct message_spec){ 0 };
    if (strchr(tables[table].small, type))
        return (struct message_spec){ .need = WHOLE_BODY, .size = SMALL };
    if (strchr(tables[table].whole, type))
        return (struct message_spec){ .need = WHOLE_BODY, .size = LARGE };
    if (strchr(tables[table].head, type))
        return (struct message_spec){ .need = HEAD_BODY, .size = LARGE };
    if (strchr(tables[table].stream, type))
        return (struct message_spec){ .need = STREAM_BODY, .size = LARGE };
    return (struct message_spec){ 0 };
}

Test(frame, P2_every_documented_type_is_known_and_no_other)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (int type = 0; type < 256; type++) {
            const struct message_spec *spec = &tables[t].specs[type];
            struct message_spec want = documented(t, (char)type);
            cr_assert_eq(spec->need, want.need, "%s %c", tables[t].direction, type);
            cr_assert_eq(spec->size, want.size, "%s %c", tables[t].direction, type);
            cr_assert_eq(spec->name == NULL, want.need == BODY_NONE, "%s %c", tables[t].direction, type);
        }
    }
}

Test(frame, P2_an_unknown_type_is_bad_from_its_first_byte_on)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (int type = 0; type < 256; type++) {
            bool known = documented(t, (char)type).need != BODY_NONE;
            struct span whole = message_claiming((char)type, 4, 0);
            for (size_t size = 1; size <= whole.size; size++) {
                struct span input = bytes_exact(span_make(whole.data, size));
                enum frame_result want = !known ? FRAME_BAD : size < whole.size ? FRAME_MORE : FRAME_OK;
                cr_assert_eq(result_of(tables[t].specs, input, LIMIT), want, "%s %c, %zu bytes", tables[t].direction,
                             type, size);
                bytes_free(input);
            }
            bytes_free(whole);
        }
    }
}

/* --- lengths ------------------------------------------------------------------------------------- */

Test(frame, P2_a_length_out_of_bounds_is_bad)
{
    static const struct {
        const char *name;
        char type;
        uint32_t length;
        size_t limit;
        enum frame_result want;
    } rows[] = {
        { "nothing, not even itself", 'Q', 0, LIMIT, FRAME_BAD },
        { "less than itself", 'Q', 3, LIMIT, FRAME_BAD },
        { "itself", 'Q', 4, LIMIT, FRAME_OK },
        { "small, at its limit", 'S', SMALL_LENGTH, LIMIT, FRAME_MORE },
        { "small, over its limit", 'S', SMALL_LENGTH + 1, LIMIT, FRAME_BAD },
        { "small, under a limit for large ones that is smaller", 'S', 5000, 1000, FRAME_MORE },
        { "large, at the limit", 'Q', LIMIT, LIMIT, FRAME_MORE },
        { "large, over the limit", 'Q', LIMIT + 1, LIMIT, FRAME_BAD },
        { "large, over the limit by far", 'Q', 0x7fffffff, LIMIT, FRAME_BAD },
        { "2^31 - 1, no limit", 'Q', 0x7fffffff, SIZE_MAX, FRAME_MORE },
        { "2^31, no limit", 'Q', 0x80000000, SIZE_MAX, FRAME_BAD },
        { "2^32 - 1, no limit", 'Q', 0xffffffff, SIZE_MAX, FRAME_BAD },
        { "2^32 - 1, streaming", 'd', 0xffffffff, SIZE_MAX, FRAME_BAD },
        { "2^31, a limit just there", 'd', 0x80000000, 0x80000000, FRAME_BAD },
        { "2^31 - 1, streaming", 'd', 0x7fffffff, SIZE_MAX, FRAME_OK },
        { "streaming, at the limit", 'd', LIMIT, LIMIT, FRAME_OK },
        { "streaming, over the limit", 'd', LIMIT + 1, LIMIT, FRAME_BAD },
        { "streaming, negative when read as signed", 'd', 0xfffffffb, LIMIT, FRAME_BAD },
        { "no limit at all is a limit of nothing", 'Q', 4, 0, FRAME_BAD },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span input = message_claiming(rows[i].type, rows[i].length, 0);
        cr_assert_eq(result_of(frontend_messages, input, rows[i].limit), rows[i].want, "%s", rows[i].name);
        bytes_free(input);
    }
}

Test(frame, P2_another_protocol_is_bad_at_once)
{
    static const char *const rows[] = { "GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00", "SSH-2.0-x\r\n", "QUIT\r\n",
                                        "\n" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(result_of(frontend_messages, span_of(rows[i]), LIMIT), FRAME_BAD, "%s", rows[i]);
}

/* --- how much of a message is handed over -------------------------------------------------------- */

/* What frame_next does with each prefix of a message: MORE below `enough`, then OK with what is there. */
static void check_prefixes(const struct message_spec *specs, struct span message, size_t enough)
{
    for (size_t size = 0; size <= message.size; size++) {
        struct span input = bytes_exact(span_make(message.data, size));
        struct frame f;
        size_t want = 0;
        enum frame_result result = frame_next(specs, input, LIMIT, &f, &want);
        if (size < enough) {
            cr_assert_eq(result, FRAME_MORE, "%c, %zu bytes of it", message.data[0], size);
            cr_assert_eq(want, size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : enough);
        } else {
            cr_assert_eq(result, FRAME_OK, "%c, %zu bytes of it", message.data[0], size);
            cr_assert_eq(f.type, message.data[0]);
            cr_assert_eq(f.bytes.data, input.data);
            cr_assert_eq(f.bytes.size, size);
            cr_assert_eq(f.left, message.size - size);
            cr_assert_eq(frame_body(&f).size, size - FRAME_HEADER_SIZE);
        }
        result = frame_next_whole(specs, input, LIMIT, &f, &want);
        cr_assert_eq(result, size < message.size ? FRAME_MORE : FRAME_OK, "%c, %zu bytes of it", message.data[0], size);
        if (result == FRAME_MORE)
            cr_assert_eq(want, size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : message.size);
        bytes_free(input);
    }
}

Test(frame, P2_each_message_is_handed_over_as_soon_as_the_table_says)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (int type = 0; type < 256; type++) {
            enum body_need need = documented(t, (char)type).need;
            for (size_t body = 0; need != BODY_NONE && body < 40; body += 13) {
                struct span message = message_claiming((char)type, (uint32_t)body + 4, body);
                check_prefixes(tables[t].specs, message, need == STREAM_BODY ? FRAME_HEADER_SIZE : message.size);
                bytes_free(message);
            }
        }
    }
}

Test(frame, P2_a_large_bind_is_handed_over_with_its_head)
{
    enum { HEAD = FRAME_HEADER_SIZE + FRAME_HEAD_ENOUGH };
    struct span message = message_claiming('B', 4 + FRAME_HEAD_ENOUGH + 1000, FRAME_HEAD_ENOUGH + 1000);
    check_prefixes(frontend_messages, message, HEAD);
    bytes_free(message);
    message = message_claiming('B', 4 + FRAME_HEAD_ENOUGH, FRAME_HEAD_ENOUGH);
    check_prefixes(frontend_messages, message, HEAD);
    bytes_free(message);
}

Test(frame, P2_the_end_of_a_message_is_where_the_next_begins)
{
    struct span input = BYTES("S\0\0\0\4Q\0\0\0\6;\0");
    struct frame f;
    cr_assert_eq(frame_next(frontend_messages, input, LIMIT, &f, NULL), FRAME_OK);
    cr_assert_eq(f.type, 'S');
    cr_assert_eq(f.bytes.size, 5);
    cr_assert_eq(frame_body(&f).size, 0);
    input = span_make(input.data + f.bytes.size, input.size - f.bytes.size);
    cr_assert_eq(frame_next(frontend_messages, input, LIMIT, &f, NULL), FRAME_OK);
    cr_assert_eq(f.type, 'Q');
    cr_assert(span_equal(frame_body(&f), BYTES(";\0")));
}

/* --- streams ------------------------------------------------------------------------------------- */

/* A conversation's bytes as a reader gets them, in pieces, and what it makes of them: the messages' types and bodies. */
struct reader {
    const struct message_spec *specs;
    struct buffer pending; /* of the message that is not handed over yet */
    size_t left;           /* of the one that is */
    struct buffer seen;
    unsigned count;
};

static void reader_cut(struct reader *r)
{
    struct frame f;
    while (r->pending.size > 0 && r->left == 0) {
        struct span input = bytes_exact(buffer_span(&r->pending));
        enum frame_result result = frame_next(r->specs, input, LIMIT, &f, NULL);
        cr_assert_neq(result, FRAME_BAD);
        if (result == FRAME_OK) {
            buffer_format(&r->seen, "[%c]", f.type);
            buffer_append_span(&r->seen, frame_body(&f));
            r->left = f.left;
            r->count++;
            buffer_consume(&r->pending, f.bytes.size);
        }
        bytes_free(input);
        if (result == FRAME_MORE)
            break;
    }
}

static void reader_feed(struct reader *r, struct span piece)
{
    size_t raw = piece.size < r->left ? piece.size : r->left;
    buffer_append(&r->seen, piece.data, raw);
    r->left -= raw;
    buffer_append(&r->pending, piece.data + raw, piece.size - raw);
    reader_cut(r);
}

static void read_in_pieces(struct reader *r, struct span stream, size_t piece)
{
    for (size_t at = 0; at < stream.size; at += piece)
        reader_feed(r, span_make(stream.data + at, stream.size - at < piece ? stream.size - at : piece));
    cr_assert_eq(r->left, 0, "pieces of %zu", piece);
    cr_assert_eq(r->pending.size, 0, "pieces of %zu", piece);
}

static void reader_free(struct reader *r)
{
    buffer_free(&r->pending);
    buffer_free(&r->seen);
}

static const struct {
    const char *name;
    const struct message_spec *specs;
    struct span stream;
    unsigned count;
} streams[] = {
    { "a query", frontend_messages, BYTES_INIT("Q\0\0\0\x0dSELECT 1\0X\0\0\0\4"), 2 },
    { "a pipeline", frontend_messages,
      BYTES_INIT("P\0\0\0\x12s\0SELECT $1\0\0\0"
                 "B\0\0\0\x12\0s\0\0\0\0\1\0\0\0\1"
                 "7\0\0"
                 "D\0\0\0\6P\0"
                 "E\0\0\0\x9\0\0\0\0\0"
                 "S\0\0\0\4H\0\0\0\4"),
      6 },
    { "a COPY", frontend_messages,
      BYTES_INIT("d\0\0\0\4d\0\0\0\x0c"
                 "1\tone\n2\tc\0\0\0\4f\0\0\0\x8why\0p\0\0\0\x7pw\0"),
      5 },
    { "a result", backend_messages,
      BYTES_INIT("T\0\0\0\x1a\0\1a\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
                 "D\0\0\0\x0b\0\1\0\0\0\1"
                 "1"
                 "D\0\0\0\x0a\0\1\xff\xff\xff\xff"
                 "C\0\0\0\x0dSELECT 2\0Z\0\0\0\5I"),
      5 },
    { "an error and a notification", backend_messages,
      BYTES_INIT("E\0\0\0\x12SERROR\0Mno\0H\0\0Z\0\0\0\5EA\0\0\0\x0d\0\0\0\7ch\0p\0"), 3 },
    { "a start", backend_messages,
      BYTES_INIT("R\0\0\0\x8\0\0\0\0S\0\0\0\x0bTZ\0UTC\0K\0\0\0\x0c\0\0\0\1abcdZ\0\0\0\5I1\0\0\0\4n\0\0\0\4"), 6 },
};

Test(frame, P2_a_stream_in_pieces_of_any_size_gives_the_same_messages)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct reader whole = { .specs = streams[i].specs };
        read_in_pieces(&whole, streams[i].stream, streams[i].stream.size);
        cr_assert_eq(whole.count, streams[i].count, "%s", streams[i].name);
        for (size_t piece = 1; piece < streams[i].stream.size; piece++) {
            struct reader cut = { .specs = streams[i].specs };
            read_in_pieces(&cut, streams[i].stream, piece);
            cr_assert(span_equal(buffer_span(&cut.seen), buffer_span(&whole.seen)), "%s in pieces of %zu",
                      streams[i].name, piece);
            reader_free(&cut);
        }
        reader_free(&whole);
    }
}

Test(frame, P2_a_stream_cut_once_at_any_offset_gives_the_same_messages)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct span stream = streams[i].stream;
        struct reader whole = { .specs = streams[i].specs };
        read_in_pieces(&whole, stream, stream.size);
        for (size_t at = 1; at < stream.size; at++) {
            struct reader cut = { .specs = streams[i].specs };
            reader_feed(&cut, span_make(stream.data, at));
            reader_feed(&cut, span_make(stream.data + at, stream.size - at));
            cr_assert(span_equal(buffer_span(&cut.seen), buffer_span(&whole.seen)), "%s cut at %zu", streams[i].name,
                      at);
            cr_assert_eq(cut.count, whole.count);
            reader_free(&cut);
        }
        reader_free(&whole);
    }
}

static const struct {
    const char *name;
    struct span input;
    size_t want;
} runs[] = {
    { "nothing", BYTES_INIT(""), 0 },
    { "another type", BYTES_INIT("c\0\0\0\4"), 0 },
    { "up to another type", BYTES_INIT("d\0\0\0\4d\0\0\0\6abc\0\0\0\4d\0\0\0\4"), 12 },
    { "some alike, and a longer one", BYTES_INIT("d\0\0\0\5ad\0\0\0\5bd\0\0\0\5cd\0\0\0\6dd"), 25 },
    { "some alike, and one of another type", BYTES_INIT("d\0\0\0\5ad\0\0\0\5bc\0\0\0\5c"), 12 },
    { "up to a part", BYTES_INIT("d\0\0\0\5ad\0\0\0\5"), 6 },
    { "up to a part of a header", BYTES_INIT("d\0\0\0\5ad\0\0"), 6 },
    { "up to an impossible length", BYTES_INIT("d\0\0\0\4d\0\0\0\3d\0\0\0\4"), 5 },
    { "up to the longest length of all",
      BYTES_INIT("d\0\0\0\4d\xff\xff\xff\xff"
                 "d\0\0\0\4"),
      5 },
};

Test(frame, P2_a_run_of_messages_ends_ahead_of_what_is_not_whole_or_of_another_type)
{
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        cr_assert_eq(frame_run_size(runs[i].input, 'd'), runs[i].want, "%s", runs[i].name);
}

static const struct {
    const char *name;
    struct span input;
    size_t left, want, left_then;
} batches[] = {
    { "nothing", BYTES_INIT(""), 0, 0, 0 },
    { "whole messages", BYTES_INIT("d\0\0\0\4d\0\0\0\6ab"), 0, 12, 0 },
    { "the rest of a message", BYTES_INIT("dd"), 2, 2, 0 },
    { "a part of the rest of one", BYTES_INIT("dd"), 7, 2, 5 },
    { "the rest of one, and whole ones", BYTES_INIT("xxd\0\0\0\4"), 2, 7, 0 },
    { "whole ones, and a part of one",
      BYTES_INIT("d\0\0\0\4d\0\0\0\x0a"
                 "ab"),
      0, 12, 4 },
    { "the rest of one, and a part of one", BYTES_INIT("xd\0\0\0\5"), 1, 6, 1 },
    { "up to a header that was cut", BYTES_INIT("xd\0\0\0\4d\0\0\0"), 1, 6, 0 },
    { "nothing but a header that was cut", BYTES_INIT("d\0\0\0"), 0, 0, 0 },
    { "a message of another type", BYTES_INIT("d\0\0\0\4c\0\0\0\4"), 0, 0, 0 },
    { "another type behind the rest of one", BYTES_INIT("xc\0\0\0\4"), 1, 0, 1 },
    { "the beginning of another type", BYTES_INIT("d\0\0\0\4c"), 0, 0, 0 },
    { "an impossible length", BYTES_INIT("d\0\0\0\4d\0\0\0\3"), 0, 0, 0 },
    { "a length over the limit", BYTES_INIT("d\0\0\0\4d\0\0\0\x15x"), 0, 0, 0 },
    { "more bytes than the limit", BYTES_INIT("d\0\0\0\x15xxxxxxxxxxxxxxxxx"), 0, 0, 0 },
};

Test(frame, P2_a_batch_of_data_is_told_from_one_with_anything_else_in_it)
{
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        size_t left = batches[i].left;
        size_t size = frame_data_size(frontend_messages, batches[i].input, 'd', 20, &left);
        cr_assert_eq(size, batches[i].want, "%s: %zu", batches[i].name, size);
        cr_assert_eq(left, batches[i].left_then, "%s: %zu left", batches[i].name, left);
    }
}
