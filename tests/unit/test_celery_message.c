#include <criterion/criterion.h>

#include "proxy/events/celery_envelope.h"
#include "tests/unit/bytes.h"

static const struct celery_defaults defaults = {
    .id = "0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f",
    .queue = "celery",
    .origin = "pgatomic@host",
    .now_us = UINT64_C(1769846400250000), /* 2026-01-31 08:00:00.25 */
};

static struct celery_message read_payload(const char *payload)
{
    struct celery_message m;
    char reason[CELERY_REASON_SIZE] = "";
    struct span text = bytes_exact(span_of(payload));
    cr_assert(celery_message_read(&m, text, &defaults, reason), "%s: %s", payload, reason);
    bytes_free(text);
    return m;
}

static const char *header(const struct celery_message *m, const char *name)
{
    return json_string_value(json_object_get(m->headers, name));
}

static void check_json(const json_t *value, const char *want)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    cr_assert_str_eq(text, want);
    free(text);
}

static void check_body(const struct celery_message *m, const char *args, const char *kwargs)
{
    struct buffer want = { 0 };
    buffer_format(&want, "[%s, %s, {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]", args,
                  kwargs);
    cr_assert(span_equal(buffer_span(&m->body), buffer_span(&want)), "%.*s", (int)m->body.size, m->body.data);
    buffer_free(&want);
}

Test(celery_message, a_call_of_nothing_but_a_task)
{
    struct celery_message m = read_payload(" {\"task\": \"mail.welcome\"} ");
    cr_assert_str_eq(m.exchange, "");
    cr_assert_str_eq(m.routing_key, "celery");
    cr_assert_str_eq(m.correlation_id, defaults.id);
    cr_assert_str_eq(m.reply_to, "");
    cr_assert_str_eq(m.content_type, "application/json");
    cr_assert_str_eq(m.content_encoding, "utf-8");
    cr_assert_eq(m.priority, CELERY_NO_PRIORITY);
    cr_assert_not(m.transient);
    check_body(&m, "[]", "{}");
    check_json(
        m.headers,
        "{\"lang\":\"py\",\"task\":\"mail.welcome\",\"id\":\"0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f\",\"shadow\":null,"
        "\"eta\":null,\"expires\":null,\"group\":null,\"group_index\":null,\"retries\":0,\"timelimit\":[null,null],"
        "\"root_id\":\"0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f\",\"parent_id\":null,\"argsrepr\":\"[]\",\"kwargsrepr\":\"{"
        "}\","
        "\"origin\":\"pgatomic@host\",\"ignore_result\":false,\"replaced_task_nesting\":0,\"stamped_headers\":null,"
        "\"stamps\":{}}");
    celery_message_reset(&m);
}

Test(celery_message, a_call_with_everything)
{
    struct celery_message m = read_payload(
        "{\"task\":\"t\",\"args\":[7],\"kwargs\":{\"a\":null},\"queue\":\"mail\",\"countdown\":1.5,\"expires\":60,"
        "\"priority\":4,\"id\":\"my id\"}");
    cr_assert_str_eq(m.routing_key, "mail");
    cr_assert_str_eq(m.correlation_id, "my id");
    cr_assert_str_eq(header(&m, "id"), "my id");
    cr_assert_str_eq(header(&m, "root_id"), "my id");
    cr_assert_str_eq(header(&m, "eta"), "2026-01-31T08:00:01.750000+00:00");
    cr_assert_str_eq(header(&m, "expires"), "2026-01-31T08:01:00.250000+00:00");
    cr_assert_str_eq(header(&m, "argsrepr"), "[7]");
    cr_assert_str_eq(header(&m, "kwargsrepr"), "{'a': None}");
    cr_assert_eq(m.priority, 4);
    check_body(&m, "[7]", "{\"a\":null}");
    celery_message_reset(&m);
}

Test(celery_message, null_is_as_good_as_nothing)
{
    struct celery_message m =
        read_payload("{\"task\":\"t\",\"args\":null,\"kwargs\":null,\"queue\":null,\"countdown\":null,\"eta\":null,"
                     "\"expires\":null,\"priority\":null,\"id\":null,\"body\":null}");
    cr_assert_str_eq(m.routing_key, "celery");
    cr_assert_eq(m.priority, CELERY_NO_PRIORITY);
    check_json(json_object_get(m.headers, "eta"), "null");
    check_body(&m, "[]", "{}");
    celery_message_reset(&m);
}

Test(celery_message, times_may_be_said)
{
    struct celery_message m =
        read_payload("{\"task\":\"t\",\"eta\":\"2026-01-31 09:00+01\",\"expires\":\"2027-01-01\"}");
    cr_assert_str_eq(header(&m, "eta"), "2026-01-31T08:00:00.000000+00:00");
    cr_assert_str_eq(header(&m, "expires"), "2027-01-01T00:00:00.000000+00:00");
    celery_message_reset(&m);
}

Test(celery_message, arguments_reach_the_worker_to_the_letter)
{
    struct celery_message m = read_payload(
        "{\"\\u0074ask\":\"t\",\"args\":[ 123456789012345678901234567890, 1.10, 1e400, \"\\ud800\\u0000é\" ],"
        "\"kwargs\":{\"a\":1, \"a\" :2}}");
    check_body(&m, "[ 123456789012345678901234567890, 1.10, 1e400, \"\\ud800\\u0000é\" ]", "{\"a\":1, \"a\" :2}");
    celery_message_reset(&m);
}

Test(celery_message, what_no_worker_could_take_is_refused_with_the_reason)
{
    static const struct {
        struct span payload;
        const char *reason;
    } rows[] = {
        { BYTES_INIT(""), "the payload is not JSON: a value expected at byte 1" },
        { BYTES_INIT("user 7"), "the payload is not JSON: a value expected at byte 1" },
        { BYTES_INIT("{\"task\":\"t\""),
          "the payload is not JSON: a comma or the end of an object expected at byte 12" },
        { BYTES_INIT("{\"task\":\"t\"} x"), "the payload is not JSON: nothing behind the value expected at byte 14" },
        { BYTES_INIT("{\"task\":\"t\",\"args\":[\"\xff\"]}"), "the payload is not JSON: UTF-8 expected at byte 22" },
        { BYTES_INIT("{\"task\":\"t\0\"}"),
          "the payload is not JSON: control characters to be escaped expected at byte 11" },
        { BYTES_INIT("[]"), "the payload is not a JSON object" },
        { BYTES_INIT("null"), "the payload is not a JSON object" },
        { BYTES_INIT("{}"), "the payload has no \"task\"" },
        { BYTES_INIT("{\"task\":null}"), "the payload has no \"task\"" },
        { BYTES_INIT("{\"task\":7}"), "\"task\" must be a string" },
        { BYTES_INIT("{\"task\":\"\"}"), "\"task\" must have 1 to 255 bytes" },
        { BYTES_INIT("{\"task\":\"a\\u0000\"}"), "\"task\" has characters that a name cannot have" },
        { BYTES_INIT("{\"task\":\"\\ud800\"}"), "\"task\" has characters that a name cannot have" },
        { BYTES_INIT("{\"task\":\"a\\ud800\"}"), "\"task\" has characters that a name cannot have" },
        { BYTES_INIT("{\"task\":\"a\",\"task\":\"b\"}"), "the payload says \"task\" twice" },
        { BYTES_INIT("{\"task\":\"a\",\"args\":{}}"), "\"args\" must be an array" },
        { BYTES_INIT("{\"task\":\"a\",\"args\":\"[]\"}"), "\"args\" must be an array" },
        { BYTES_INIT("{\"task\":\"a\",\"kwargs\":[]}"), "\"kwargs\" must be an object" },
        { BYTES_INIT("{\"task\":\"a\",\"queue\":1}"), "\"queue\" must be a string" },
        { BYTES_INIT("{\"task\":\"a\",\"queue\":\"a\\nb\"}"), "\"queue\" has characters that a name cannot have" },
        { BYTES_INIT("{\"task\":\"a\",\"id\":7}"), "\"id\" must be a string" },
        { BYTES_INIT("{\"task\":\"a\",\"countdown\":\"5\"}"), "\"countdown\" must be a number of seconds" },
        { BYTES_INIT("{\"task\":\"a\",\"countdown\":true}"), "\"countdown\" must be a number of seconds" },
        { BYTES_INIT("{\"task\":\"a\",\"countdown\":1e400}"), "\"countdown\" is out of range" },
        { BYTES_INIT("{\"task\":\"a\",\"countdown\":-1e12}"), "\"countdown\" is out of range" },
        { BYTES_INIT("{\"task\":\"a\",\"countdown\":1,\"eta\":\"2026-01-31\"}"),
          "the payload has both \"eta\" and \"countdown\"" },
        { BYTES_INIT("{\"task\":\"a\",\"eta\":5}"), "\"eta\" must be a string" },
        { BYTES_INIT("{\"task\":\"a\",\"eta\":\"soon\"}"),
          "\"eta\" is no time: ISO 8601 expected, such as 2026-01-31T08:00:00Z" },
        { BYTES_INIT("{\"task\":\"a\",\"expires\":[]}"), "\"expires\" must be a number of seconds or a string" },
        { BYTES_INIT("{\"task\":\"a\",\"expires\":123456789012345678901234567890123456789012}"),
          "\"expires\" is out of range" },
        { BYTES_INIT("{\"task\":\"a\",\"priority\":1.0}"), "\"priority\" must be an integer" },
        { BYTES_INIT("{\"task\":\"a\",\"priority\":256}"), "\"priority\" must be 0 to 255" },
        { BYTES_INIT("{\"task\":\"a\",\"priority\":-1}"), "\"priority\" must be 0 to 255" },
        { BYTES_INIT("{\"task\":\"a\",\"coutdown\":5}"),
          "the payload has a member that a call does not have: \"coutdown\"" },
        { BYTES_INIT("{\"task\":\"a\",\"body\":\"\"}"),
          "the payload has \"body\", but not all of \"body\", \"headers\" and \"properties\"" },
        { BYTES_INIT("{\"body\":1,\"headers\":{\"task\":\"a\",\"id\":\"i\"},\"properties\":{}}"),
          "\"body\" must be a string" },
        { BYTES_INIT("{\"body\":\"\",\"headers\":[],\"properties\":{}}"), "\"headers\" must be an object" },
        { BYTES_INIT("{\"body\":\"\",\"headers\":{\"id\":\"i\"},\"properties\":{}}"),
          "\"headers\" must have a \"task\" and an \"id\"" },
        { BYTES_INIT("{\"body\":\"\",\"headers\":{\"task\":\"a\",\"id\":\"i\"},\"properties\":[]}"),
          "\"properties\" must be an object" },
        { BYTES_INIT("{\"body\":\"?\",\"headers\":{\"task\":\"a\",\"id\":\"i\"},\"properties\":{\"body_encoding\":"
                     "\"base64\"}}"),
          "\"body\" is not base64, as \"body_encoding\" says it is" },
        { BYTES_INIT("{\"body\":\"\",\"headers\":{\"task\":\"a\",\"id\":\"i\"},\"properties\":{\"priority\":1000}}"),
          "\"priority\" must be 0 to 255" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct celery_message m;
        char reason[CELERY_REASON_SIZE] = "";
        struct span payload = bytes_exact(rows[i].payload);
        cr_assert_not(celery_message_read(&m, payload, &defaults, reason), "%s", rows[i].payload.data);
        cr_assert_str_eq(reason, rows[i].reason);
        cr_assert_null(m.headers);
        bytes_free(payload);
    }
}

Test(celery_message, a_queue_that_is_not_text_is_refused_and_not_sent)
{
    struct celery_defaults broken = defaults;
    struct celery_message m;
    char reason[CELERY_REASON_SIZE];
    broken.queue = "\xff";
    cr_assert_not(celery_message_read(&m, span_of("{\"task\":\"t\"}"), &broken, reason));
    cr_assert_str_eq(reason, "the queue of the sink is not UTF-8");
}

/* --- on Redis ------------------------------------------------------------------------------------- */

static json_t *envelope_of(const struct celery_message *m, const char *payload)
{
    struct buffer out = { 0 };
    celery_envelope_append(m, span_of(payload), "tag-1", &out);
    json_t *envelope = json_loadb(out.data, out.size, 0, NULL);
    cr_assert_not_null(envelope, "%.*s", (int)out.size, out.data);
    buffer_free(&out);
    return envelope;
}

Test(celery_envelope, is_what_a_worker_finds_on_redis)
{
    struct celery_message m = read_payload("{\"task\":\"t\",\"queue\":\"mäil\",\"priority\":20}");
    json_t *envelope = envelope_of(&m, "");
    check_json(
        json_object_get(envelope, "properties"),
        "{\"correlation_id\":\"0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f\",\"reply_to\":\"\",\"delivery_mode\":2,"
        "\"delivery_info\":{\"exchange\":\"\",\"routing_key\":\"mäil\"},\"priority\":9,\"body_encoding\":\"base64\","
        "\"delivery_tag\":\"tag-1\"}");
    check_json(json_object_get(envelope, "content-type"), "\"application/json\"");
    check_json(json_object_get(envelope, "content-encoding"), "\"utf-8\"");
    check_json(json_object_get(envelope, "body"),
               "\"W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyYmFja3MiOiBudWxsLCAiY2hhaW4iO"
               "iBudWxsLCAiY2hvcmQiOiBudWxsfV0=\"");
    cr_assert(json_equal(json_object_get(envelope, "headers"), m.headers));
    json_decref(envelope);
    celery_message_reset(&m);
}

Test(celery_envelope, priorities_have_lists_of_their_own)
{
    static const struct {
        int priority;
        const char *list;
    } rows[] = { { CELERY_NO_PRIORITY, "p:q" },
                 { 0, "p:q" },
                 { 2, "p:q" },
                 { 3, "p:q\x06\x16"
                      "3" },
                 { 5, "p:q\x06\x16"
                      "3" },
                 { 6, "p:q\x06\x16"
                      "6" },
                 { 9, "p:q\x06\x16"
                      "9" },
                 { 255, "p:q\x06\x16"
                        "9" } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct celery_message m = { .routing_key = (char[]){ "q" }, .priority = rows[i].priority };
        struct buffer list = { 0 };
        celery_envelope_list(&m, "p:", &list);
        cr_assert(span_is(buffer_span(&list), rows[i].list), "%d", rows[i].priority);
        buffer_free(&list);
    }
}

static const char whole[] =
    "{\"body\": \"W10=\", \"x\": 1.10, \"headers\": {\"task\": \"t\", \"id\": \"i\"}, \"properties\": "
    "{\"delivery_info\": {\"exchange\": \"e\", \"routing_key\": \"mail\"}, \"priority\": 6, "
    "\"delivery_tag\": \"mine\", \"body_encoding\": \"base64\", \"correlation_id\": \"c\", \"reply_to\": \"r\", "
    "\"delivery_mode\": 1}, \"content-type\": \"text/x\", \"content-encoding\": \"binary\"}";

Test(celery_envelope, a_whole_message_passes_as_it_is)
{
    struct celery_message m = read_payload(whole);
    cr_assert_str_eq(m.exchange, "e");
    cr_assert_str_eq(m.routing_key, "mail");
    cr_assert_str_eq(m.correlation_id, "c");
    cr_assert_str_eq(m.reply_to, "r");
    cr_assert_str_eq(m.content_type, "text/x");
    cr_assert_str_eq(m.content_encoding, "binary");
    cr_assert_eq(m.priority, 6);
    cr_assert(m.transient);
    cr_assert(span_is(buffer_span(&m.body), "[]"));
    struct buffer out = { 0 };
    celery_envelope_append(&m, span_of(whole), "tag-1", &out);
    cr_assert(span_is(buffer_span(&out), whole));
    buffer_free(&out);
    celery_message_reset(&m);
}

Test(celery_envelope, what_only_the_last_step_adds_is_added)
{
    static const char bare[] =
        "{\"body\":\"[[], {}, {}]\",\"headers\":{\"task\":\"t\",\"id\":\"i\"},\"properties\":{\"priority\":3}}";
    struct celery_message m = read_payload(bare);
    cr_assert(span_is(buffer_span(&m.body), "[[], {}, {}]"));
    cr_assert_str_eq(m.correlation_id, "i");
    json_t *envelope = envelope_of(&m, bare);
    check_json(json_object_get(envelope, "properties"),
               "{\"priority\":3,\"delivery_info\":{\"exchange\":\"\",\"routing_key\":\"celery\"},"
               "\"delivery_tag\":\"tag-1\"}");
    json_decref(envelope);
    celery_message_reset(&m);
}
