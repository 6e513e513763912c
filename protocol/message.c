/* Messages: reading those that pgatomic looks into, building those it makes.
 *
 * A reader is the message's line in the protocol documentation written as calls, closed by wire_done(): whatever is
 * missing, too long or left over makes it false. A builder is message_begin, the fields, message_end, which puts the
 * length into the place that message_begin left for it. */
#include "protocol/message.h"

#include <assert.h>

/* --- frontend: reading --------------------------------------------------------------------------- */

bool message_read_query(struct span body, struct span *text)
{
    struct wire w = wire_open(body);
    *text = wire_string(&w);
    return wire_done(&w);
}

bool message_read_parse(struct span body, struct message_parse *out)
{
    struct wire w = wire_open(body);
    out->name = wire_string(&w);
    out->text = wire_string(&w);
    out->type_count = wire_u16(&w);
    out->types = wire_items(&w, out->type_count, 4);
    return wire_done(&w);
}

bool message_read_bind(struct span body, struct message_bind *out)
{
    struct wire w = wire_open(body);
    out->portal = wire_string(&w);
    out->statement = wire_string(&w);
    out->rest = wire_rest(&w);
    return !w.failed;
}

bool message_read_execute(struct span body, struct message_execute *out)
{
    struct wire w = wire_open(body);
    out->portal = wire_string(&w);
    int32_t max_rows = wire_i32(&w);
    out->max_rows = max_rows > 0 ? (uint32_t)max_rows : 0; /* the server takes a negative one for no limit, too */
    return wire_done(&w);
}

bool message_read_named(struct span body, struct message_named *out)
{
    struct wire w = wire_open(body);
    out->kind = (char)wire_u8(&w);
    out->name = wire_string(&w);
    return wire_done(&w) && (out->kind == 'S' || out->kind == 'P');
}

/* What stands behind the names of a Bind. */
struct bind_parts {
    uint16_t format_count, value_count, result_count;
    struct span formats; /* format_count times 2 bytes */
    struct wire values;  /* stands at the first of value_count lengths */
    struct span results; /* result_count times 2 bytes */
};

/* A value's length, -1 for NULL, and its bytes. */
static struct message_parameter read_value(struct wire *w)
{
    struct message_parameter p = { 0 };
    int32_t size = wire_i32(w);
    if (size == -1)
        p.null = true;
    else
        p.value = wire_bytes(w, size < 0 ? SIZE_MAX : (size_t)size); /* no other negative length is one */
    return p;
}

/* False unless all of it is there and in order: the server takes no formats, one for all values, or one for each. */
static bool read_bind_parts(struct span rest, struct bind_parts *out)
{
    struct wire w = wire_open(rest);
    out->format_count = wire_u16(&w);
    out->formats = wire_items(&w, out->format_count, 2);
    out->value_count = wire_u16(&w);
    out->values = w;
    for (unsigned i = 0; i < out->value_count && !w.failed; i++)
        read_value(&w);
    out->result_count = wire_u16(&w);
    out->results = wire_items(&w, out->result_count, 2);
    return wire_done(&w) && (out->format_count <= 1 || out->format_count == out->value_count);
}

bool message_bind_parameter(const struct message_bind *bind, unsigned number, struct message_parameter *out)
{
    struct bind_parts parts;
    if (!read_bind_parts(bind->rest, &parts) || number == 0 || number > parts.value_count)
        return false;

    uint16_t format = 0;
    if (parts.format_count == 1)
        format = wire_get_u16(parts.formats.data);
    else if (parts.format_count > 1)
        format = wire_get_u16(parts.formats.data + 2 * (number - 1));
    if (format > 1)
        return false;

    for (unsigned i = 1; i < number; i++)
        read_value(&parts.values);
    *out = read_value(&parts.values);
    out->binary = format == 1;
    return true;
}

uint16_t message_bind_result_format(const struct message_bind *bind)
{
    struct bind_parts parts;
    if (!read_bind_parts(bind->rest, &parts) || parts.result_count == 0)
        return 0;
    return wire_get_u16(parts.results.data) == 1;
}

/* --- building ------------------------------------------------------------------------------------ */

size_t message_begin(struct buffer *b, char type)
{
    size_t start = b->size;
    buffer_append_u8(b, (uint8_t)type);
    buffer_append_u32(b, 0);
    return start;
}

void message_end(struct buffer *b, size_t start)
{
    size_t length = b->size - start - 1;
    assert(length <= INT32_MAX); /* the caller's limits are far below */
    wire_put_u32(b->data + start + 1, (uint32_t)length);
}

void message_add_empty(struct buffer *b, char type)
{
    message_end(b, message_begin(b, type));
}

/* A message that is one string. */
static void add_string(struct buffer *b, char type, struct span s)
{
    size_t start = message_begin(b, type);
    buffer_append_string(b, s);
    message_end(b, start);
}

/* Describe and Close. */
static void add_named(struct buffer *b, char type, char kind, struct span name)
{
    size_t start = message_begin(b, type);
    buffer_append_u8(b, (uint8_t)kind);
    buffer_append_string(b, name);
    message_end(b, start);
}

/* --- frontend: building -------------------------------------------------------------------------- */

void message_add_query(struct buffer *b, struct span text)
{
    add_string(b, 'Q', text);
}

void message_add_parse(struct buffer *b, struct span name, struct span text)
{
    size_t start = message_begin(b, 'P');
    buffer_append_string(b, name);
    buffer_append_string(b, text);
    buffer_append_u16(b, 0);
    message_end(b, start);
}

void message_add_bind(struct buffer *b, struct span portal, struct span statement)
{
    size_t start = message_begin(b, 'B');
    buffer_append_string(b, portal);
    buffer_append_string(b, statement);
    buffer_append_u16(b, 0); /* parameter formats */
    buffer_append_u16(b, 0); /* parameters */
    buffer_append_u16(b, 0); /* result formats */
    message_end(b, start);
}

void message_add_execute(struct buffer *b, struct span portal, uint32_t max_rows)
{
    size_t start = message_begin(b, 'E');
    buffer_append_string(b, portal);
    buffer_append_u32(b, max_rows);
    message_end(b, start);
}

void message_add_describe(struct buffer *b, char kind, struct span name)
{
    add_named(b, 'D', kind, name);
}

void message_add_close(struct buffer *b, char kind, struct span name)
{
    add_named(b, 'C', kind, name);
}

void message_add_sync(struct buffer *b)
{
    message_add_empty(b, 'S');
}

void message_add_flush(struct buffer *b)
{
    message_add_empty(b, 'H');
}

void message_add_terminate(struct buffer *b)
{
    message_add_empty(b, 'X');
}

void message_add_copy_fail(struct buffer *b, struct span reason)
{
    add_string(b, 'f', reason);
}

/* --- backend: reading ---------------------------------------------------------------------------- */

/* Where a field goes; NULL for those that nobody here reads. */
static struct span *error_field(struct message_error *e, struct span *localised, char code)
{
    switch (code) {
    case 'S':
        return localised;
    case 'V':
        return &e->severity;
    case 'C':
        return &e->sqlstate;
    case 'M':
        return &e->message;
    case 'D':
        return &e->detail;
    case 'H':
        return &e->hint;
    case 'P':
        return &e->position;
    case 'R':
        return &e->routine;
    }
    return NULL;
}

bool message_read_error(struct span body, struct message_error *out)
{
    struct span localised = { 0 };
    struct wire w = wire_open(body);
    char code;
    *out = (struct message_error){ 0 };
    while ((code = (char)wire_u8(&w)) != 0) {
        struct span value = wire_string(&w);
        struct span *field = error_field(out, &localised, code);
        if (field)
            *field = value;
    }
    if (out->severity.size == 0)
        out->severity = localised; /* servers before 9.6 send no 'V' */
    return wire_done(&w);
}

bool message_read_command_complete(struct span body, struct span *tag)
{
    return message_read_query(body, tag); /* one string, too */
}

bool message_read_parameter_status(struct span body, struct span *name, struct span *value)
{
    struct wire w = wire_open(body);
    *name = wire_string(&w);
    *value = wire_string(&w);
    return wire_done(&w);
}

bool message_read_key_data(struct span body, uint32_t *process_id, struct span *secret)
{
    struct wire w = wire_open(body);
    *process_id = wire_u32(&w);
    *secret = wire_rest(&w);
    return wire_done(&w) && secret->size >= MESSAGE_SECRET_MIN && secret->size <= MESSAGE_SECRET_MAX;
}

/* --- backend: building --------------------------------------------------------------------------- */

/* One field of an ErrorResponse, unless it would be empty. */
static void add_field(struct buffer *b, char field, struct span value)
{
    if (value.size == 0)
        return;
    buffer_append_u8(b, (uint8_t)field);
    buffer_append_string(b, value);
}

static struct span span_of_optional(const char *text)
{
    return text ? span_of(text) : (struct span){ 0 };
}

static void add_fault(struct buffer *b, char type, const struct message_fault *fault)
{
    struct span severity = span_of_optional(fault->severity);
    size_t start = message_begin(b, type);
    add_field(b, 'S', severity);
    add_field(b, 'V', severity);
    add_field(b, 'C', span_of_optional(fault->sqlstate));
    add_field(b, 'M', fault->message);
    add_field(b, 'D', fault->detail);
    add_field(b, 'H', fault->hint);
    buffer_append_u8(b, 0);
    message_end(b, start);
}

void message_add_error(struct buffer *b, const struct message_fault *fault)
{
    add_fault(b, 'E', fault);
}

void message_add_notice(struct buffer *b, const struct message_fault *fault)
{
    add_fault(b, 'N', fault);
}

/* The fields of `body`, `field` replaced in its place or added as the last one. False if `body` is no list of fields. */
static bool add_fields_with(struct buffer *b, struct span body, char field, struct span value)
{
    struct wire w = wire_open(body);
    bool placed = false;
    char code;
    while ((code = (char)wire_u8(&w)) != 0) {
        struct span old = wire_string(&w);
        if (code != field) {
            buffer_append_u8(b, (uint8_t)code);
            buffer_append_string(b, old); /* kept even when empty */
        } else if (!placed) {
            add_field(b, field, value);
            placed = true;
        }
    }
    if (!placed)
        add_field(b, field, value);
    buffer_append_u8(b, 0);
    return wire_done(&w);
}

void message_add_error_with(struct buffer *b, const struct frame *error, char field, struct span value)
{
    size_t start = message_begin(b, error->type);
    if (add_fields_with(b, frame_body(error), field, value) && b->size - start <= INT32_MAX) {
        message_end(b, start);
    } else { /* what cannot be changed goes on as it came */
        b->size = start;
        buffer_append_span(b, error->bytes);
    }
}

void message_add_command_complete(struct buffer *b, struct span tag)
{
    add_string(b, 'C', tag);
}

void message_add_ready(struct buffer *b, char status)
{
    size_t start = message_begin(b, 'Z');
    buffer_append_u8(b, (uint8_t)status);
    message_end(b, start);
}

void message_add_parameter_status(struct buffer *b, struct span name, struct span value)
{
    size_t start = message_begin(b, 'S');
    buffer_append_string(b, name);
    buffer_append_string(b, value);
    message_end(b, start);
}

void message_add_row_description(struct buffer *b, struct span name, uint32_t type_oid, int16_t type_size,
                                 uint16_t format)
{
    size_t start = message_begin(b, 'T');
    buffer_append_u16(b, 1);
    buffer_append_string(b, name);
    buffer_append_u32(b, 0); /* table */
    buffer_append_u16(b, 0); /* its column */
    buffer_append_u32(b, type_oid);
    buffer_append_u16(b, (uint16_t)type_size);
    buffer_append_u32(b, UINT32_MAX); /* type modifier: -1, none */
    buffer_append_u16(b, format);
    message_end(b, start);
}

void message_add_data_row(struct buffer *b, struct span value)
{
    assert(value.size <= INT32_MAX);
    size_t start = message_begin(b, 'D');
    buffer_append_u16(b, 1);
    buffer_append_u32(b, (uint32_t)value.size);
    buffer_append_span(b, value);
    message_end(b, start);
}

void message_add_parameter_description(struct buffer *b, const uint32_t *oids, uint16_t count)
{
    size_t start = message_begin(b, 't');
    buffer_append_u16(b, count);
    for (unsigned i = 0; i < count; i++)
        buffer_append_u32(b, oids[i]);
    message_end(b, start);
}
