/* Payloads for Celery: whatever is accepted becomes an envelope that is JSON and names its task, and a repr of bounded length. */
#include "proxy/events/celery_envelope.h"
#include "proxy/events/celery_repr.h"
#include "tests/fuzz/fuzz.h"

static void check_envelope(const struct celery_message *m, struct span payload)
{
    struct buffer envelope = { 0 }, list = { 0 };
    celery_envelope_append(m, payload, "tag", &envelope);
    celery_envelope_list(m, "prefix:", &list);
    json_t *json = json_loadb(envelope.data, envelope.size, 0, NULL);
    MUST(json != NULL && list.size > 7);
    MUST(json_is_string(json_object_get(json_object_get(json, "headers"), "task")));
    MUST(json_is_string(json_object_get(json_object_get(json, "properties"), "delivery_tag")));
    const char *repr = json_string_value(json_object_get(m->headers, "argsrepr"));
    MUST(m->whole != NULL || strlen(repr) <= CELERY_REPR_SIZE);
    json_decref(json);
    buffer_free(&envelope);
    buffer_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span payload = span_make((const char *)data, size);
    struct celery_defaults defaults = { "id", "queue", "origin", UINT64_C(1769846400250000) };
    struct celery_message m;
    char reason[CELERY_REASON_SIZE] = "";
    if (celery_message_read(&m, payload, &defaults, reason)) {
        check_envelope(&m, payload);
        celery_message_reset(&m);
    } else {
        MUST(reason[0] != '\0');
    }
    return 0;
}
