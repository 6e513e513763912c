/* The same JSON that Celery's own producer pushes. */
#include "proxy/events/celery_envelope.h"

#include <openssl/evp.h>

#include "protocol/memory.h"
#include "proxy/ops/json.h"

enum { PRIORITY_LEAST = 9, PRIORITY_STEP = 3 };

static int redis_priority(const struct celery_message *m)
{
    if (m->priority == CELERY_NO_PRIORITY)
        return 0;
    return m->priority < PRIORITY_LEAST ? m->priority : PRIORITY_LEAST;
}

void celery_envelope_list(const struct celery_message *m, const char *prefix, struct buffer *out)
{
    buffer_append_text(out, prefix);
    buffer_append_text(out, m->routing_key);
    int step = redis_priority(m) / PRIORITY_STEP * PRIORITY_STEP;
    if (step > 0)
        buffer_format(out, "\x06\x16%d", step);
}

static int append_dumped(const char *text, size_t size, void *out)
{
    buffer_append(out, text, size);
    return 0;
}

static void append_json(struct buffer *out, const json_t *value)
{
    if (json_dump_callback(value, append_dumped, out, JSON_COMPACT) != 0)
        abort();
}

static void append_base64(struct buffer *out, struct span bytes)
{
    enum { PIECE = 3 << 20 }; /* for EVP_EncodeBlock() counts in int */
    for (size_t at = 0; at < bytes.size; at += PIECE) {
        size_t size = bytes.size - at < PIECE ? bytes.size - at : PIECE;
        unsigned char *to = (unsigned char *)buffer_reserve(out, size / 3 * 4 + 5);
        out->size += (size_t)EVP_EncodeBlock(to, (const unsigned char *)bytes.data + at, (int)size);
    }
}

static void append_call_envelope(const struct celery_message *m, const char *delivery_tag, struct buffer *out)
{
    buffer_append_text(out, "{\"body\":\"");
    append_base64(out, buffer_span(&m->body));
    buffer_append_text(out, "\",\"content-encoding\":\"utf-8\",\"content-type\":\"application/json\",\"headers\":");
    append_json(out, m->headers);
    buffer_append_text(out, ",\"properties\":{\"correlation_id\":");
    json_append_string(out, span_of(m->correlation_id));
    buffer_append_text(out,
                       ",\"reply_to\":\"\",\"delivery_mode\":2,\"delivery_info\":{\"exchange\":\"\",\"routing_key\":");
    json_append_string(out, span_of(m->routing_key));
    buffer_format(out, "},\"priority\":%d,\"body_encoding\":\"base64\",\"delivery_tag\":\"%s\"}}", redis_priority(m),
                  delivery_tag);
}

/* A worker cannot do without these, and Celery itself adds them only in its last step before Redis. */
static bool is_ready(const json_t *properties)
{
    const json_t *info = json_object_get(properties, "delivery_info");
    return json_is_string(json_object_get(properties, "delivery_tag")) &&
           json_is_string(json_object_get(info, "exchange")) && json_is_string(json_object_get(info, "routing_key"));
}

static void make_ready(const struct celery_message *m, json_t *properties, const char *delivery_tag)
{
    json_t *info = json_object_get(properties, "delivery_info");
    if (!json_is_object(info)) {
        info = or_abort(json_object());
        json_object_set_new(properties, "delivery_info", info);
    }
    json_object_set_new(info, "exchange", or_abort(json_string(m->exchange)));
    json_object_set_new(info, "routing_key", or_abort(json_string(m->routing_key)));
    if (!json_is_string(json_object_get(properties, "delivery_tag")))
        json_object_set_new(properties, "delivery_tag", or_abort(json_string(delivery_tag)));
}

void celery_envelope_append(const struct celery_message *m, struct span payload, const char *delivery_tag,
                            struct buffer *out)
{
    if (m->whole == NULL) {
        append_call_envelope(m, delivery_tag, out);
        return;
    }
    json_t *properties = json_object_get(m->whole, "properties");
    if (is_ready(properties)) {
        buffer_append_span(out, payload);
        return;
    }
    make_ready(m, properties, delivery_tag);
    append_json(out, m->whole);
}
