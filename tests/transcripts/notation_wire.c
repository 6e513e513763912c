/* The byte side of the notation: each message's body, read and built field by field as the protocol documentation lists
 * them. What a transcript leaves out (table oids, type modifiers) is built as PostgreSQL sends it for an expression. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/wire.h"
#include "tests/transcripts/notation_wire.h"

/* --- reading ------------------------------------------------------------------------------------- */

static bool add_text(struct notes *n, struct span value)
{
    return notes_add_field(n, 0, true, value);
}

static bool add_word(struct notes *n, struct span value)
{
    return notes_add_field(n, 0, false, value);
}

static bool add_number(struct notes *n, char key, long number)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", number);
    return notes_add_field(n, key, false, span_of(text));
}

/* NULL, or a value in the given format. */
static bool add_value(struct notes *n, struct wire *w, bool binary)
{
    int32_t size = wire_i32(w);
    if (size < 0)
        return add_word(n, span_of("NULL"));
    return notes_add_field(n, binary ? 'x' : 0, true, wire_bytes(w, (size_t)size));
}

static bool read_parse(struct notes *n, struct wire *w)
{
    bool ok = add_word(n, wire_string(w)) && add_text(n, wire_string(w));
    for (unsigned count = wire_u16(w); ok && count > 0; count--)
        ok = add_number(n, 0, (long)wire_u32(w));
    return ok;
}

static bool read_bind(struct notes *n, struct wire *w)
{
    bool ok = add_word(n, wire_string(w)) && add_word(n, wire_string(w));
    uint16_t formats[NOTE_FIELDS_MAX] = { 0 };
    uint16_t format_count = wire_u16(w);
    for (unsigned i = 0; i < format_count; i++)
        formats[i < NOTE_FIELDS_MAX ? i : 0] = wire_u16(w);
    uint16_t count = wire_u16(w);
    for (unsigned i = 0; ok && i < count && !w->failed; i++)
        ok = add_value(n, w, formats[format_count > 1 && i < NOTE_FIELDS_MAX ? i : 0] == 1);
    for (unsigned results = wire_u16(w); ok && results > 0; results--)
        ok = add_number(n, 'R', wire_u16(w));
    return ok;
}

static bool read_execute(struct notes *n, struct wire *w)
{
    bool ok = add_word(n, wire_string(w));
    uint32_t rows = wire_u32(w);
    return ok && (rows == 0 || add_number(n, 0, (long)rows));
}

static bool read_kind_and_name(struct notes *n, struct wire *w)
{
    return add_word(n, wire_bytes(w, 1)) && add_word(n, wire_string(w));
}

static bool read_from_client(struct notes *n, char type, struct wire *w)
{
    switch (type) {
    case 'Q':
    case 'f':
        return add_text(n, wire_string(w));
    case 'P':
        return read_parse(n, w);
    case 'B':
        return read_bind(n, w);
    case 'D':
    case 'C':
        return read_kind_and_name(n, w);
    case 'E':
        return read_execute(n, w);
    case 'd':
        return add_text(n, wire_rest(w));
    case 'S':
    case 'H':
    case 'X':
    case 'c':
        return true;
    default:
        return notes_fail(n, "no client sends '%c'", type);
    }
}

static bool read_row_description(struct notes *n, struct wire *w)
{
    bool ok = true;
    for (unsigned count = wire_u16(w); ok && count > 0 && !w->failed; count--) {
        char text[120];
        struct span name = wire_string(w);
        wire_bytes(w, 6);
        uint32_t type = wire_u32(w);
        wire_bytes(w, 6);
        uint16_t format = wire_u16(w);
        snprintf(text, sizeof text, "%.*s/%u%s", (int)name.size, name.data, type, format ? "/b" : "");
        ok = add_word(n, span_of(text));
    }
    return ok;
}

static bool read_data_row(struct notes *n, struct wire *w)
{
    bool ok = true;
    for (unsigned count = wire_u16(w); ok && count > 0 && !w->failed; count--)
        ok = add_value(n, w, false);
    return ok;
}

/* The fields of an error or notice in the order in which a transcript has them; those that name places in
 * PostgreSQL's own source are left out. */
static bool read_error(struct notes *n, char type, struct wire *w)
{
    struct span fields[128] = { 0 };
    for (uint8_t key = wire_u8(w); key != 0; key = wire_u8(w))
        fields[key & 127] = wire_string(w);
    struct span severity = fields['V'].data ? fields['V'] : fields['S'];
    bool ok = span_is(severity, type == 'E' ? "ERROR" : "WARNING") || add_word(n, severity);
    ok = ok && add_word(n, fields['C']) && add_text(n, fields['M']);
    if (fields['P'].data)
        ok = ok && notes_add_field(n, 'P', false, fields['P']);
    for (const char *key = "DHpR"; ok && *key; key++)
        if (fields[(int)*key].data)
            ok = notes_add_field(n, *key, true, fields[(int)*key]);
    return ok;
}

static bool read_from_server(struct notes *n, char type, struct wire *w)
{
    switch (type) {
    case 'C':
        return add_text(n, wire_string(w));
    case 'Z':
        return add_word(n, wire_bytes(w, 1));
    case 'T':
        return read_row_description(n, w);
    case 'D':
        return read_data_row(n, w);
    case 'E':
    case 'N':
        return read_error(n, type, w);
    case 'A':
        wire_u32(w);
        return add_text(n, wire_string(w)) && add_text(n, wire_string(w));
    case 'S':
        return add_text(n, wire_string(w)) && add_text(n, wire_string(w));
    case 't': {
        bool ok = true;
        for (unsigned count = wire_u16(w); ok && count > 0 && !w->failed; count--)
            ok = add_number(n, 0, (long)wire_u32(w));
        return ok;
    }
    case 'd':
        return add_text(n, wire_rest(w));
    case 'G':
    case 'H':
        wire_rest(w);
        return true;
    case 'K':
        wire_rest(w);
        return true;
    case '1':
    case '2':
    case '3':
    case 'n':
    case 's':
    case 'I':
    case 'c':
        return true;
    default:
        return notes_fail(n, "no server sends '%c'", type);
    }
}

bool notes_read_bytes(struct notes *n, enum speaker from, struct span bytes)
{
    const struct message_spec *specs = from == FROM_CLIENT ? frontend_messages : backend_messages;
    n->error[0] = '\0';
    while (bytes.size > 0) {
        struct frame f;
        if (frame_next_whole(specs, bytes, 1u << 30, &f, NULL) != FRAME_OK)
            return notes_fail(n, "%zu bytes that are no whole message", bytes.size);
        notes_add(n, f.type);
        struct wire w = wire_open(frame_body(&f));
        if (!(from == FROM_CLIENT ? read_from_client : read_from_server)(n, f.type, &w))
            return false;
        if (!wire_done(&w))
            return notes_fail(n, "a malformed '%c'", f.type);
        bytes = span_make(bytes.data + f.bytes.size, bytes.size - f.bytes.size);
    }
    return true;
}

/* --- building ------------------------------------------------------------------------------------ */

struct builder {
    const struct notes *notes;
    const struct note *note;
    struct buffer *out;
};

static const struct note_field *field(const struct builder *b, unsigned i)
{
    return i < b->note->count ? &b->note->fields[i] : NULL;
}

static struct span value(const struct builder *b, unsigned i)
{
    const struct note_field *f = field(b, i);
    return f ? notes_value(b->notes, f) : span_of("");
}

static unsigned long number(const struct builder *b, unsigned i)
{
    char text[24];
    struct span v = value(b, i);
    snprintf(text, sizeof text, "%.*s", (int)v.size, v.data);
    return strtoul(text, NULL, 10);
}

static void put_string(const struct builder *b, unsigned i)
{
    buffer_append_string(b->out, value(b, i));
}

static void put_value(const struct builder *b, const struct note_field *f)
{
    if (note_field_is_null(b->notes, f)) {
        buffer_append_u32(b->out, UINT32_MAX);
        return;
    }
    buffer_append_u32(b->out, (uint32_t)f->size);
    buffer_append_span(b->out, notes_value(b->notes, f));
}

static void put_oids(const struct builder *b, unsigned first)
{
    buffer_append_u16(b->out, (uint16_t)(b->note->count - first));
    for (unsigned i = first; i < b->note->count; i++)
        buffer_append_u32(b->out, (uint32_t)number(b, i));
}

static void put_bind(const struct builder *b)
{
    put_string(b, 0);
    put_string(b, 1);
    unsigned results = 0;
    for (unsigned i = 2; i < b->note->count; i++)
        results += b->note->fields[i].key == 'R';
    uint16_t count = (uint16_t)(b->note->count - 2 - results);
    for (unsigned pass = 0; pass < 2; pass++) { /* formats, then values */
        buffer_append_u16(b->out, count);
        for (unsigned i = 2; i < b->note->count; i++) {
            if (b->note->fields[i].key == 'R')
                continue;
            if (pass == 0)
                buffer_append_u16(b->out, b->note->fields[i].key == 'x');
            else
                put_value(b, &b->note->fields[i]);
        }
    }
    buffer_append_u16(b->out, (uint16_t)results);
    for (unsigned i = 2; i < b->note->count; i++)
        if (b->note->fields[i].key == 'R')
            buffer_append_u16(b->out, (uint16_t)number(b, i));
}

static void put_from_client(const struct builder *b)
{
    switch (b->note->type) {
    case 'Q':
    case 'f':
        put_string(b, 0);
        break;
    case 'P':
        put_string(b, 0);
        put_string(b, 1);
        put_oids(b, 2);
        break;
    case 'B':
        put_bind(b);
        break;
    case 'D':
    case 'C':
        buffer_append_span(b->out, value(b, 0));
        put_string(b, 1);
        break;
    case 'E':
        put_string(b, 0);
        buffer_append_u32(b->out, (uint32_t)number(b, 1));
        break;
    case 'd':
        buffer_append_span(b->out, value(b, 0));
        break;
    }
}

static uint16_t type_size(uint32_t oid)
{
    enum { BOOL = 16, INT8 = 20, INT4 = 23, VOID = 2278 };
    return oid == BOOL ? 1 : oid == INT8 ? 8 : oid == INT4 || oid == VOID ? 4 : UINT16_MAX;
}

/* The digits that `text` begins with. */
static uint32_t number_of(struct span text)
{
    uint32_t number = 0;
    for (size_t i = 0; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        number = number * 10 + (uint32_t)(text.data[i] - '0');
    return number;
}

static void put_row_description(const struct builder *b)
{
    buffer_append_u16(b->out, (uint16_t)b->note->count);
    for (unsigned i = 0; i < b->note->count; i++) {
        struct span text = value(b, i);
        const char *slash = memchr(text.data, '/', text.size);
        size_t name = slash ? (size_t)(slash - text.data) : text.size;
        uint32_t oid = slash ? number_of(span_make(slash + 1, text.size - name - 1)) : 25;
        bool binary = text.size > 2 && memcmp(text.data + text.size - 2, "/b", 2) == 0;
        buffer_append_string(b->out, span_make(text.data, name));
        buffer_append_u32(b->out, 0);
        buffer_append_u16(b->out, 0);
        buffer_append_u32(b->out, oid);
        buffer_append_u16(b->out, type_size(oid));
        buffer_append_u32(b->out, UINT32_MAX);
        buffer_append_u16(b->out, binary);
    }
}

static void put_keyed(const struct builder *b, char key, struct span text)
{
    buffer_append_u8(b->out, (uint8_t)key);
    buffer_append_string(b->out, text);
}

/* [severity] sqlstate [text] keyed… */
static void put_error(const struct builder *b)
{
    unsigned at = value(b, 0).size == 5 && field(b, 0)->key == 0 && !span_is(value(b, 0), "FATAL") &&
                          !span_is(value(b, 0), "PANIC") && !span_is(value(b, 0), "DEBUG")
                      ? 0
                      : 1;
    struct span severity = at ? value(b, 0) : span_of(b->note->type == 'E' ? "ERROR" : "WARNING");
    put_keyed(b, 'S', severity);
    put_keyed(b, 'V', severity);
    put_keyed(b, 'C', value(b, at++));
    bool has_text = field(b, at) && field(b, at)->key == 0;
    put_keyed(b, 'M', has_text ? value(b, at++) : span_of("an error"));
    for (; at < b->note->count; at++)
        put_keyed(b, b->note->fields[at].key, value(b, at));
    buffer_append_u8(b->out, 0);
}

static void put_from_server(const struct builder *b)
{
    switch (b->note->type) {
    case 'C':
        put_string(b, 0);
        break;
    case 'Z':
    case 'd':
        buffer_append_span(b->out, value(b, 0));
        break;
    case 'T':
        put_row_description(b);
        break;
    case 'D':
        buffer_append_u16(b->out, (uint16_t)b->note->count);
        for (unsigned i = 0; i < b->note->count; i++)
            put_value(b, &b->note->fields[i]);
        break;
    case 'E':
    case 'N':
        put_error(b);
        break;
    case 'A':
        buffer_append_u32(b->out, 1);
        put_string(b, 0);
        put_string(b, 1);
        break;
    case 'S':
        put_string(b, 0);
        put_string(b, 1);
        break;
    case 't':
        put_oids(b, 0);
        break;
    case 'G':
    case 'H':
        buffer_append_u8(b->out, 0);
        buffer_append_u16(b->out, 1);
        buffer_append_u16(b->out, 0);
        break;
    }
}

bool notes_build(struct notes *n, enum speaker from, struct buffer *out)
{
    for (size_t i = 0; i < n->count; i++) {
        struct builder b = { n, &n->list[i], out };
        buffer_append_u8(out, (uint8_t)b.note->type);
        size_t start = out->size;
        buffer_append_u32(out, 0);
        (from == FROM_CLIENT ? put_from_client : put_from_server)(&b);
        wire_put_u32(out->data + start, (uint32_t)(out->size - start));
    }
    return true;
}
