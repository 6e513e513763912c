#include "proxy/events/webhook_message.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "proxy/clock.h"
#include "proxy/events/webhook_sign.h"
#include "proxy/ops/json.h"
#include "proxy/ops/uuid.h"

enum payload_kind { PAYLOAD_JSON, PAYLOAD_TEXT, PAYLOAD_BYTES };

static const char *const content_types[] = {
    [PAYLOAD_JSON] = "application/json",
    [PAYLOAD_TEXT] = "text/plain; charset=utf-8",
    [PAYLOAD_BYTES] = "application/octet-stream",
};

static bool is_json(struct span s)
{
    json_t *value = json_loadb(s.data, s.size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    json_decref(value);
    return value != NULL;
}

static enum payload_kind kind_of(struct span payload)
{
    if (is_json(payload))
        return PAYLOAD_JSON;
    return utf8_is_valid(payload) ? PAYLOAD_TEXT : PAYLOAD_BYTES;
}

/* --- values -------------------------------------------------------------------------------------- */

/* RFC 3339, in UTC. */
static void append_time(struct buffer *b, uint64_t us)
{
    time_t second = (time_t)(us / 1000000);
    struct tm t;
    char text[sizeof "2026-11-22T16:04:05"];
    gmtime_r(&second, &t);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
    buffer_format(b, "%s.%06uZ", text, (unsigned)(us % 1000000));
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || memchr("-._~", c, 4) != NULL;
}

/* A URI reference: the same for all events of a database. */
static void append_source(struct buffer *b, const struct notification *e)
{
    buffer_append_text(b, "pgatomic/");
    for (const char *c = e->request->database; *c != '\0'; c++)
        if (is_unreserved(*c))
            buffer_append_u8(b, (uint8_t)*c);
        else
            buffer_format(b, "%%%02X", (unsigned char)*c);
}

static void append_base64(struct buffer *b, struct span s)
{
    size_t size = (s.size + 2) / 3 * 4;
    char *room = buffer_reserve(b, size + 1); /* and a NUL */
    EVP_EncodeBlock((unsigned char *)room, (const unsigned char *)s.data, (int)s.size);
    b->size += size;
}

/* --- the body ------------------------------------------------------------------------------------ */

static void append_data(struct buffer *b, struct span payload, enum payload_kind kind)
{
    switch (kind) {
    case PAYLOAD_JSON:
        buffer_append_text(b, ",\"data\":");
        buffer_append_span(b, payload);
        return;
    case PAYLOAD_TEXT:
        buffer_append_text(b, ",\"data\":");
        json_append_string(b, payload);
        return;
    case PAYLOAD_BYTES:
        buffer_append_text(b, ",\"data_base64\":\"");
        append_base64(b, payload);
        buffer_append_text(b, "\"");
        return;
    }
}

static void append_structured(struct buffer *b, const struct notification *e, const char *id, enum payload_kind kind)
{
    buffer_format(b, "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"", id);
    append_source(b, e); /* nothing in it needs to be escaped */
    buffer_append_text(b, "\",\"type\":");
    json_append_string(b, span_of(e->name));
    buffer_append_text(b, ",\"time\":\"");
    append_time(b, clock_to_wall_us(e->held_us));
    buffer_format(b, "\",\"datacontenttype\":\"%s\"", content_types[kind]);
    append_data(b, span_make(e->payload, e->payload_size), kind);
    buffer_append_text(b, "}");
}

/* --- the headers --------------------------------------------------------------------------------- */

/* As CloudEvents wants it: percent-encoded but for visible ASCII other than '"' and '%'. */
static void append_encoded(struct buffer *b, struct span s)
{
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c > ' ' && c < 0x7f && c != '"' && c != '%')
            buffer_append_u8(b, c);
        else
            buffer_format(b, "%%%02X", c);
    }
}

static void end_line(struct buffer *b)
{
    buffer_append_u8(b, '\0');
}

static void add_line(struct buffer *b, const char *name, const char *value)
{
    buffer_format(b, "%s: %s", name, value);
    end_line(b);
}

static void add_encoded_line(struct buffer *b, const char *name, struct span value)
{
    buffer_format(b, "%s: ", name);
    append_encoded(b, value);
    end_line(b);
}

static void add_cloud_event(struct buffer *b, const struct notification *e, const char *id)
{
    struct buffer source = { 0 };
    append_source(&source, e);
    add_line(b, "ce-specversion", "1.0");
    add_line(b, "ce-id", id);
    add_encoded_line(b, "ce-source", buffer_span(&source));
    add_encoded_line(b, "ce-type", span_of(e->name));
    buffer_append_text(b, "ce-time: ");
    append_time(b, clock_to_wall_us(e->held_us));
    end_line(b);
    buffer_free(&source);
}

static void add_signature(struct webhook_message *m, const char *id, struct span key, uint64_t now_us)
{
    struct buffer timestamp = { 0 };
    buffer_format(&timestamp, "%llu", (unsigned long long)(now_us / 1000000));
    end_line(&timestamp);
    add_line(&m->lines, "webhook-id", id);
    add_line(&m->lines, "webhook-timestamp", timestamp.data);
    if (key.size > 0) {
        buffer_append_text(&m->lines, "webhook-signature: ");
        webhook_sign(&m->lines, key, id, timestamp.data, m->body);
        end_line(&m->lines);
    }
    buffer_free(&timestamp);
}

void webhook_message_make(struct webhook_message *m, const struct notification *e, enum webhook_body kind,
                          struct span key, uint64_t now_us)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(e->id, id);
    buffer_clear(&m->made);
    buffer_clear(&m->lines);
    m->body = span_make(e->payload, e->payload_size);
    enum payload_kind payload = kind_of(m->body);
    const char *content_type = content_types[payload];
    switch (kind) {
    case BODY_RAW:
        add_encoded_line(&m->lines, "pgatomic-channel", span_of(e->name));
        break;
    case BODY_BINARY:
        add_cloud_event(&m->lines, e, id);
        break;
    case BODY_STRUCTURED:
        append_structured(&m->made, e, id, payload);
        m->body = buffer_span(&m->made);
        content_type = "application/cloudevents+json";
        break;
    }
    add_line(&m->lines, "content-type", content_type);
    add_signature(m, id, key, now_us);
}

void webhook_message_free(struct webhook_message *m)
{
    buffer_free(&m->made);
    buffer_free(&m->lines);
}
