/* Frames of both directions, and every reader of a message's body.
 *
 * The first byte of an input chooses direction and piece size; the rest is what a peer sends. What must hold:
 * - pieces do not matter: the stream gives the same messages whole, and however it is cut;
 * - a frame lies within its input, and its parts add up to its length field;
 * - the readers stay within a body (each gets a copy in a block of its own size) and what they give lies within it;
 * - an ErrorResponse with a field changed is an ErrorResponse with that field changed. */
#include "protocol/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/bytes.h"

enum { LIMIT = 4096 };

/* --- bodies -------------------------------------------------------------------------------------- */

static void must_lie_within(struct span part, struct span body)
{
    MUST(part.size == 0 || (part.data >= body.data && part.data + part.size <= body.data + body.size));
}

static void read_bind(struct span body)
{
    struct message_bind bind;
    struct message_parameter parameter;
    if (!message_read_bind(body, &bind))
        return;
    must_lie_within(bind.portal, body);
    must_lie_within(bind.statement, body);
    must_lie_within(bind.rest, body);
    MUST(message_bind_result_format(&bind) <= 1);
    MUST(!message_bind_parameter(&bind, 0, &parameter));
    for (unsigned number = 1; message_bind_parameter(&bind, number, &parameter); number++) {
        must_lie_within(parameter.value, bind.rest);
        MUST(!parameter.null || parameter.value.size == 0);
        MUST(number <= bind.rest.size / 4); /* each takes a length at least */
    }
}

static void read_error(struct span body)
{
    struct message_error error;
    if (!message_read_error(body, &error))
        return;
    must_lie_within(error.severity, body);
    must_lie_within(error.sqlstate, body);
    must_lie_within(error.message, body);
    must_lie_within(error.detail, body);
    must_lie_within(error.hint, body);
    must_lie_within(error.position, body);
}

static void read_others(struct span body)
{
    struct span first, second;
    struct message_parse parse;
    struct message_execute execute;
    struct message_named named;
    uint32_t process_id;
    if (message_read_query(body, &first))
        MUST(first.size + 1 == body.size);
    if (message_read_parse(body, &parse)) {
        MUST(parse.types.size == parse.type_count * 4u);
        MUST(parse.name.size + 1 + parse.text.size + 1 + 2 + parse.types.size == body.size);
    }
    if (message_read_execute(body, &execute))
        MUST(execute.portal.size + 5 == body.size && execute.max_rows <= INT32_MAX);
    if (message_read_named(body, &named))
        MUST(named.name.size + 2 == body.size);
    if (message_read_parameter_status(body, &first, &second))
        MUST(first.size + 1 + second.size + 1 == body.size);
    if (message_read_key_data(body, &process_id, &second))
        MUST(second.size + 4 == body.size);
    if (message_read_command_complete(body, &first))
        MUST(first.size + 1 == body.size);
}

/* --- an error with a field changed --------------------------------------------------------------- */

static void change_position(const struct frame *f)
{
    struct message_error before, after;
    struct buffer changed = { 0 };
    struct frame copy;
    bool well_formed = message_read_error(frame_body(f), &before);
    message_add_error_with(&changed, f, 'P', span_of("7"));
    if (well_formed) {
        MUST(frame_next_whole(backend_messages, buffer_span(&changed), 2 * LIMIT, &copy, NULL) == FRAME_OK);
        MUST(copy.type == f->type && copy.bytes.size == changed.size);
        MUST(message_read_error(frame_body(&copy), &after));
        MUST(span_is(after.position, "7"));
        MUST(span_equal(after.message, before.message) && span_equal(after.sqlstate, before.sqlstate));
        MUST(span_equal(after.severity, before.severity) && span_equal(after.hint, before.hint));
    } else {
        MUST(span_equal(buffer_span(&changed), f->bytes));
    }
    buffer_free(&changed);
}

static void use_frame(const struct frame *f)
{
    struct span body = bytes_exact(frame_body(f));
    read_bind(body);
    read_error(body);
    read_others(body);
    bytes_free(body);
    if (f->left == 0 && (f->type == 'E' || f->type == 'N'))
        change_position(f);
}

/* --- streams ------------------------------------------------------------------------------------- */

/* What arrives, and what has been made of it: the types and bodies of the messages, one behind the other. */
struct reader {
    const struct message_spec *specs;
    struct buffer pending, seen;
    size_t left;
    bool bad;
};

static bool reader_cut(struct reader *r)
{
    struct span input = bytes_exact(buffer_span(&r->pending));
    struct frame f, whole;
    size_t want = 0;
    enum frame_result result = frame_next(r->specs, input, LIMIT, &f, &want);
    if (result == FRAME_OK) {
        MUST(f.bytes.data == input.data && f.bytes.size >= FRAME_HEADER_SIZE && f.bytes.size <= input.size);
        MUST(f.bytes.size + f.left == (size_t)wire_get_u32(input.data + 1) + 1);
        MUST(f.left == 0 || f.bytes.size == input.size);
        MUST((frame_next_whole(r->specs, input, LIMIT, &whole, NULL) == FRAME_OK) == (f.left == 0));
        use_frame(&f);
        buffer_append_u8(&r->seen, (uint8_t)f.type);
        buffer_append_span(&r->seen, frame_body(&f));
        r->left = f.left;
        buffer_consume(&r->pending, f.bytes.size);
    } else if (result == FRAME_MORE) {
        MUST(want > input.size && want <= LIMIT + 70000);
    } else {
        r->bad = true;
    }
    bytes_free(input);
    return result == FRAME_OK;
}

static void reader_feed(struct reader *r, struct span piece)
{
    size_t raw = piece.size < r->left ? piece.size : r->left;
    buffer_append(&r->seen, piece.data, raw);
    r->left -= raw;
    buffer_append(&r->pending, piece.data + raw, piece.size - raw);
    while (r->left == 0 && r->pending.size > 0 && !r->bad && reader_cut(r))
        ;
}

static void read_in_pieces(struct reader *r, struct span stream, size_t piece)
{
    for (size_t at = 0; at < stream.size && !r->bad; at += piece)
        reader_feed(r, span_make(stream.data + at, stream.size - at < piece ? stream.size - at : piece));
}

static void reader_free(struct reader *r)
{
    buffer_free(&r->pending);
    buffer_free(&r->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct message_spec *specs = data[0] & 1 ? backend_messages : frontend_messages;
    size_t piece = (size_t)(data[0] >> 1) + 1;
    struct span stream = span_make((const char *)data + 1, size - 1);

    struct reader whole = { .specs = specs }, cut = { .specs = specs };
    read_in_pieces(&whole, stream, stream.size);
    read_in_pieces(&cut, stream, piece);
    MUST(whole.bad == cut.bad);
    MUST(span_equal(buffer_span(&whole.seen), buffer_span(&cut.seen)));
    reader_free(&whole);
    reader_free(&cut);
    return 0;
}
