/* The last byte tells whether a value is complete: nothing else ends in an opening bracket. */
#include "proxy/ops/json_write.h"

#include "proxy/clock.h"
#include "proxy/ops/json.h"
#include "proxy/ops/timestamp.h"
#include "proxy/ops/uuid.h"

static void begin_value(struct buffer *b, const char *name)
{
    if (b->size > 0 && b->data[b->size - 1] != '{' && b->data[b->size - 1] != '[')
        buffer_append_u8(b, ',');
    if (name == NULL)
        return;
    json_append_string(b, span_of(name));
    buffer_append_u8(b, ':');
}

void json_open(struct buffer *b, const char *name, char bracket)
{
    begin_value(b, name);
    buffer_append_u8(b, (uint8_t)bracket);
}

void json_close(struct buffer *b, char bracket)
{
    buffer_append_u8(b, (uint8_t)bracket);
}

void json_span(struct buffer *b, const char *name, struct span value)
{
    begin_value(b, name);
    json_append_string(b, value);
}

void json_text(struct buffer *b, const char *name, const char *value)
{
    json_span(b, name, span_of(value));
}

void json_number(struct buffer *b, const char *name, uint64_t value)
{
    begin_value(b, name);
    number_append(b, value, 1);
}

void json_bool(struct buffer *b, const char *name, bool value)
{
    begin_value(b, name);
    buffer_append_text(b, value ? "true" : "false");
}

void json_ms(struct buffer *b, const char *name, uint64_t value_us)
{
    begin_value(b, name);
    milliseconds_append(b, value_us);
}

void json_time(struct buffer *b, const char *name, uint64_t value_us)
{
    begin_value(b, name);
    buffer_append_u8(b, '"');
    timestamp_append(b, clock_to_wall_us(value_us));
    buffer_append_u8(b, '"');
}

void json_id(struct buffer *b, const char *name, const unsigned char *id)
{
    char text[UUID_TEXT_SIZE];
    uuid_format(id, text);
    json_text(b, name, text);
}
