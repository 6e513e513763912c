/* RowDescription and DataRow. */
#include "proxy/ops/admin_rows.h"

#include <assert.h>

#include "protocol/wire.h"
#include "proxy/clock.h"
#include "proxy/ops/json.h"
#include "proxy/ops/timestamp.h"
#include "proxy/ops/uuid.h"

enum { OID_INT8 = 20, OID_TEXT = 25 };

size_t admin_columns_count(const struct admin_column *columns)
{
    size_t count = 0;
    while (columns[count].name != NULL)
        count++;
    assert(count <= ADMIN_COLUMNS_MOST);
    return count;
}

static size_t begin_message(struct buffer *out, char type)
{
    buffer_append_u8(out, (uint8_t)type);
    buffer_append_u32(out, 0); /* its length, at the end */
    return out->size - 4;
}

static void end_message(struct buffer *out, size_t start)
{
    wire_put_u32(out->data + start, (uint32_t)(out->size - start));
}

void rows_describe(struct buffer *out, const struct admin_column *columns, uint64_t binary)
{
    size_t start = begin_message(out, 'T'), count = admin_columns_count(columns);
    buffer_append_u16(out, (uint16_t)count);
    for (size_t i = 0; i < count; i++) {
        buffer_append_string(out, span_of(columns[i].name));
        buffer_append_u32(out, 0); /* of no table */
        buffer_append_u16(out, 0);
        buffer_append_u32(out, columns[i].is_number ? OID_INT8 : OID_TEXT);
        buffer_append_u16(out, columns[i].is_number ? 8 : UINT16_MAX);
        buffer_append_u32(out, UINT32_MAX); /* no modifier */
        buffer_append_u16(out, binary >> i & 1);
    }
    end_message(out, start);
}

void rows_begin(struct admin_rows *r)
{
    r->start = begin_message(r->out, 'D');
    r->column = 0;
    buffer_append_u16(r->out, (uint16_t)admin_columns_count(r->columns));
}

/* The next column is of this type, and its length is written when it is known. */
static size_t begin_value(struct admin_rows *r, bool is_number)
{
    assert(r->columns[r->column].name != NULL && r->columns[r->column].is_number == is_number);
    r->column++;
    buffer_append_u32(r->out, 0);
    return r->out->size;
}

static void end_value(struct admin_rows *r, size_t start)
{
    wire_put_u32(r->out->data + start - 4, (uint32_t)(r->out->size - start));
}

void rows_span(struct admin_rows *r, struct span value)
{
    size_t start = begin_value(r, false);
    utf8_append_clean(r->out, value);
    end_value(r, start);
}

void rows_text(struct admin_rows *r, const char *value)
{
    rows_span(r, span_of(value));
}

void rows_number(struct admin_rows *r, uint64_t value)
{
    bool binary = r->binary >> r->column & 1;
    size_t start = begin_value(r, true);
    if (binary) {
        buffer_append_u32(r->out, (uint32_t)(value >> 32));
        buffer_append_u32(r->out, (uint32_t)value);
    } else {
        number_append(r->out, value, 1);
    }
    end_value(r, start);
}

void rows_bool(struct admin_rows *r, bool value)
{
    rows_text(r, value ? "yes" : "no");
}

void rows_time(struct admin_rows *r, uint64_t us)
{
    if (us == 0) {
        rows_null(r);
        return;
    }
    size_t start = begin_value(r, false);
    timestamp_append(r->out, clock_to_wall_us(us));
    end_value(r, start);
}

void rows_id(struct admin_rows *r, const unsigned char *id)
{
    char text[UUID_TEXT_SIZE];
    uuid_format(id, text);
    rows_text(r, text);
}

void rows_null(struct admin_rows *r)
{
    assert(r->columns[r->column].name != NULL);
    r->column++;
    buffer_append_u32(r->out, UINT32_MAX);
}

void rows_end(struct admin_rows *r)
{
    assert(r->columns[r->column].name == NULL);
    end_message(r->out, r->start);
    r->count++;
}
