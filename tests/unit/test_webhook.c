#include "tests/unit/with_config.h"

#include "proxy/events/webhook_message.h"
#include "proxy/events/webhook_sign.h"

static const uint64_t held_us = UINT64_C(1763827445123456); /* 2025-11-22T16:04:05.123456Z */
static const uint64_t now_us = held_us + 2000000;

static const unsigned char event_id[EVENT_ID_SIZE] = { 0x01, 0x92, 0xf0, 0xc1, 0x7a, 0x2b, 0x7c, 0x3d,
                                                       0x8e, 0x4f, 0,    0,    0,    0,    0,    1 };
#define ID "0192f0c1-7a2b-7c3d-8e4f-000000000001"

/* --- signatures ---------------------------------------------------------------------------------- */

Test(webhook, a_signature_is_that_of_standard_webhooks)
{
    struct buffer key = { 0 }, signature = { 0 };
    cr_assert(webhook_sign_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key));
    webhook_sign(&signature, buffer_span(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330",
                 span_of("{\"test\": 2432232314}"));
    buffer_append_u8(&signature, '\0');
    cr_expect_str_eq(signature.data, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    buffer_free(&signature);
    buffer_free(&key);
}

Test(webhook, a_secret_is_base64)
{
    static const struct {
        const char *name, *secret;
        bool is_key;
        size_t size;
    } rows[] = {
        { "three bytes", "whsec_AAAA", true, 3 }, { "two", "whsec_AAA=", true, 2 },
        { "one", "whsec_AA==", true, 1 },         { "no prefix", "AAAA", true, 3 },
        { "nothing", "whsec_", false, 0 },        { "empty", "", false, 0 },
        { "cut", "whsec_AAA", false, 0 },         { "other letters", "whsec_A*AA", false, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer key = { 0 };
        cr_expect_eq(webhook_sign_key(rows[i].secret, &key), rows[i].is_key, "%s", rows[i].name);
        cr_expect_eq(key.size, rows[i].size, "%s: %zu bytes", rows[i].name, key.size);
        buffer_free(&key);
    }
}

/* --- messages ------------------------------------------------------------------------------------ */

struct posted {
    struct config *config;
    struct notification *event;
    struct webhook_message message;
};

static struct posted post(const char *database, const char *channel, struct span payload, enum webhook_body kind,
                          const char *key)
{
    struct posted p = { .config = config_of(ANY_DATABASE) };
    struct request_names names = { "", "", database, "app", "web", "127.0.0.1:1" };
    struct request *r = request_new(event_id, &names, p.config, held_us);
    p.event = notification_new(event_id, r, config_channel(p.config, "x", 1), span_of(channel), payload);
    p.event->held_us = held_us;
    webhook_message_make(&p.message, p.event, kind, span_of(key), now_us);
    request_release(r);
    return p;
}

static void done(struct posted *p)
{
    webhook_message_free(&p->message);
    notification_free(p->event);
    config_release(p->config);
}

/* What stands behind "name: "; NULL: there is no such header. */
static const char *header(const struct posted *p, const char *name)
{
    const struct buffer *lines = &p->message.lines;
    for (const char *line = lines->data; line < lines->data + lines->size; line += strlen(line) + 1)
        if (strncmp(line, name, strlen(name)) == 0 && strncmp(line + strlen(name), ": ", 2) == 0)
            return line + strlen(name) + 2;
    return NULL;
}

static void expect_header(const struct posted *p, const char *name, const char *value)
{
    const char *found = header(p, name);
    cr_expect(found != NULL && strcmp(found, value) == 0, "%s: %s", name, found != NULL ? found : "(none)");
}

static void expect_body(const struct posted *p, const char *body)
{
    struct span s = p->message.body;
    cr_expect(s.size == strlen(body) && memcmp(s.data, body, s.size) == 0, "%.*s", (int)s.size, s.data);
}

Test(webhook, raw_is_the_payload_as_it_is)
{
    struct posted p = post("shop", "mail.welcome", span_of("{\"user\": 7}"), BODY_RAW, "");
    expect_body(&p, "{\"user\": 7}");
    expect_header(&p, "content-type", "application/json");
    expect_header(&p, "pgatomic-channel", "mail.welcome");
    expect_header(&p, "webhook-id", ID);
    expect_header(&p, "webhook-timestamp", "1763827447");
    cr_expect_null(header(&p, "webhook-signature"));
    done(&p);
}

Test(webhook, a_key_signs_the_body_that_is_sent)
{
    struct posted p = post("shop", "mail", span_of("7"), BODY_STRUCTURED, "key");
    struct buffer expected = { 0 };
    webhook_sign(&expected, span_of("key"), ID, "1763827447", p.message.body);
    buffer_append_u8(&expected, '\0');
    expect_header(&p, "webhook-signature", expected.data);
    buffer_free(&expected);
    done(&p);
}

Test(webhook, binary_describes_the_event_in_headers)
{
    struct posted p = post("my shop", "mail 100%\"\xc3\xa9\r\nx: y", span_of("hello"), BODY_BINARY, "");
    expect_body(&p, "hello");
    expect_header(&p, "content-type", "text/plain; charset=utf-8");
    expect_header(&p, "ce-specversion", "1.0");
    expect_header(&p, "ce-id", ID);
    expect_header(&p, "ce-source", "pgatomic/my%2520shop");
    expect_header(&p, "ce-type", "mail%20100%25%22%C3%A9%0D%0Ax:%20y");
    expect_header(&p, "ce-time", "2025-11-22T16:04:05.123456Z");
    done(&p);
}

#define STRUCTURED(type, content_type, data)                                                   \
    "{\"specversion\":\"1.0\",\"id\":\"" ID "\",\"source\":\"pgatomic/shop\",\"type\":\"" type \
    "\",\"time\":\"2025-11-22T16:04:05.123456Z\",\"datacontenttype\":\"" content_type "\"," data "}"

Test(webhook, structured_holds_the_payload_as_what_it_is)
{
    static const struct {
        const char *name, *payload, *want;
        size_t size;
    } rows[] = {
        { "object", "{\"n\": 1.50}", STRUCTURED("a\\\"b", "application/json", "\"data\":{\"n\": 1.50}"), 11 },
        { "number too large", "123456789012345678901234567890",
          STRUCTURED("a\\\"b", "application/json", "\"data\":123456789012345678901234567890"), 30 },
        { "text", "say \"hi\"", STRUCTURED("a\\\"b", "text/plain; charset=utf-8", "\"data\":\"say \\\"hi\\\"\""), 8 },
        { "nothing", "", STRUCTURED("a\\\"b", "text/plain; charset=utf-8", "\"data\":\"\""), 0 },
        { "no UTF-8", "\xff\0\xfe", STRUCTURED("a\\\"b", "application/octet-stream", "\"data_base64\":\"/wD+\""), 3 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct posted p = post("shop", "a\"b", span_make(rows[i].payload, rows[i].size), BODY_STRUCTURED, "");
        expect_header(&p, "content-type", "application/cloudevents+json");
        expect_body(&p, rows[i].want);
        done(&p);
    }
}
