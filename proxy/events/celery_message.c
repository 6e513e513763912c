/* Celery's task messages.
 *
 * A payload is read in two steps. First its top level is taken apart into members, each the text of its value: here JSON that is
 * broken, too deep or ambiguous is found. Then the members are understood. `args` and `kwargs` are never understood at all, only copied. */
#include "proxy/events/celery_message.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>

#include "protocol/memory.h"
#include "proxy/events/celery_repr.h"
#include "proxy/events/celery_time.h"
#include "proxy/ops/json.h"
#include "proxy/ops/json_reader.h"

enum { NAME_SIZE_MAX = 255 }; /* what AMQP can say of a queue and a correlation id */
enum { NUMBER_SIZE_MAX = 40 };
enum { PRIORITY_MAX = 255 };

enum member {
    TASK,
    ARGS,
    KWARGS,
    QUEUE,
    COUNTDOWN,
    ETA,
    EXPIRES,
    PRIORITY,
    ID,
    BODY,
    HEADERS,
    PROPERTIES,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    MEMBERS
};

static const char *const names[MEMBERS] = {
    [TASK] = "task",
    [ARGS] = "args",
    [KWARGS] = "kwargs",
    [QUEUE] = "queue",
    [COUNTDOWN] = "countdown",
    [ETA] = "eta",
    [EXPIRES] = "expires",
    [PRIORITY] = "priority",
    [ID] = "id",
    [BODY] = "body",
    [HEADERS] = "headers",
    [PROPERTIES] = "properties",
    [CONTENT_TYPE] = "content-type",
    [CONTENT_ENCODING] = "content-encoding",
};

struct payload {
    struct span text;
    struct {
        bool given; /* and not null */
        enum json_token kind;
        struct span raw;
    } members[MEMBERS];
    struct span stranger; /* the first key that is none of `names`, in quotes; size 0: there is none */
    char *reason;
};

/* Returns false, for the caller to return. */
static bool __attribute__((format(printf, 2, 3))) refuse(struct payload *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->reason, CELERY_REASON_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static bool is_given(const struct payload *p, enum member m)
{
    return p->members[m].given;
}

static struct span raw_of(const struct payload *p, enum member m)
{
    return p->members[m].raw;
}

/* --- the top level -------------------------------------------------------------------------------- */

static enum member member_named(struct span key)
{
    struct buffer name = { 0 };
    size_t m = json_string_decode(key, &name) ? 0 : MEMBERS;
    while (m < MEMBERS && !span_is(buffer_span(&name), names[m]))
        m++;
    buffer_free(&name);
    return (enum member)m;
}

static bool take_member(struct payload *p, struct json_reader *r, struct span key, bool seen[MEMBERS])
{
    struct span raw;
    enum json_token kind = json_reader_value(r, &raw);
    enum member m = member_named(key);
    if (m == MEMBERS) {
        if (p->stranger.size == 0)
            p->stranger = key;
        return true;
    }
    if (seen[m])
        return refuse(p, "the payload says \"%s\" twice", names[m]);
    seen[m] = true;
    p->members[m].given = kind != TOKEN_NULL;
    p->members[m].kind = kind;
    p->members[m].raw = raw;
    return true;
}

static bool read_members(struct payload *p)
{
    struct json_reader r;
    struct span raw;
    bool seen[MEMBERS] = { false };
    json_reader_init(&r, p->text);
    enum json_token token = json_reader_next(&r, &raw);
    if (token != TOKEN_OBJECT && token != TOKEN_BAD)
        return refuse(p, "the payload is not a JSON object");
    while (token != TOKEN_BAD && (token = json_reader_next(&r, &raw)) == TOKEN_KEY)
        if (!take_member(p, &r, raw, seen))
            return false;
    if (token == TOKEN_BAD || json_reader_next(&r, &raw) != TOKEN_END)
        return refuse(p, "the payload is not JSON: %s expected at byte %zu", r.error, r.at + 1);
    return true;
}

/* --- members -------------------------------------------------------------------------------------- */

static bool has_control_characters(struct span s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f)
            return true;
    return false;
}

/* A name of something, as a string to be freed; NULL when it is refused. A member that is not given is `otherwise`. */
static char *take_name(struct payload *p, enum member m, const char *otherwise)
{
    if (!is_given(p, m))
        return memory_copy_text(otherwise);
    if (p->members[m].kind != TOKEN_STRING) {
        refuse(p, "\"%s\" must be a string", names[m]);
        return NULL;
    }
    struct buffer name = { 0 };
    char *copy = NULL;
    bool is_text = json_string_decode(raw_of(p, m), &name);
    if (!is_text || has_control_characters(buffer_span(&name)))
        refuse(p, "\"%s\" has characters that a name cannot have", names[m]);
    else if (name.size == 0 || name.size > NAME_SIZE_MAX)
        refuse(p, "\"%s\" must have 1 to %d bytes", names[m], NAME_SIZE_MAX);
    else
        copy = memory_copy_span(buffer_span(&name));
    buffer_free(&name);
    return copy;
}

static bool take_number(struct payload *p, enum member m, double *value)
{
    char text[NUMBER_SIZE_MAX + 1];
    struct span raw = raw_of(p, m);
    if (raw.size > NUMBER_SIZE_MAX)
        return refuse(p, "\"%s\" is out of range", names[m]);
    memcpy(text, raw.data, raw.size);
    text[raw.size] = '\0';
    *value = strtod(text, NULL);
    return true;
}

static bool take_priority(struct payload *p, int *priority)
{
    double value = CELERY_NO_PRIORITY;
    if (is_given(p, PRIORITY) && p->members[PRIORITY].kind != TOKEN_INTEGER)
        return refuse(p, "\"priority\" must be an integer");
    if (is_given(p, PRIORITY)) {
        if (!take_number(p, PRIORITY, &value))
            return false;
        if (value < 0 || value > PRIORITY_MAX)
            return refuse(p, "\"priority\" must be 0 to %d", PRIORITY_MAX);
    }
    *priority = (int)value;
    return true;
}

static bool take_seconds_from(struct payload *p, enum member m, uint64_t now_us, char text[CELERY_TIME_SIZE])
{
    enum { YEARS_10000 = 10000 };
    const double limit = 366.0 * 86400 * YEARS_10000;
    double seconds = 0;
    if (!take_number(p, m, &seconds))
        return false;
    bool is_near = seconds > -limit && seconds < limit;
    if (!is_near || !celery_time_format((int64_t)now_us + (int64_t)(seconds * 1e6), text))
        return refuse(p, "\"%s\" is out of range", names[m]);
    return true;
}

static bool take_moment(struct payload *p, enum member m, char text[CELERY_TIME_SIZE])
{
    int64_t us = 0;
    if (!celery_time_read(json_string_inside(raw_of(p, m)), &us) || !celery_time_format(us, text))
        return refuse(p, "\"%s\" is no time: ISO 8601 expected, such as 2026-01-31T08:00:00Z", names[m]);
    return true;
}

static bool is_number(const struct payload *p, enum member m)
{
    return p->members[m].kind == TOKEN_INTEGER || p->members[m].kind == TOKEN_FLOAT;
}

/* "" in `text`: none was given. */
static bool take_eta(struct payload *p, uint64_t now_us, char text[CELERY_TIME_SIZE])
{
    text[0] = '\0';
    if (is_given(p, ETA) && is_given(p, COUNTDOWN))
        return refuse(p, "the payload has both \"eta\" and \"countdown\"");
    if (is_given(p, COUNTDOWN))
        return is_number(p, COUNTDOWN) ? take_seconds_from(p, COUNTDOWN, now_us, text)
                                       : refuse(p, "\"countdown\" must be a number of seconds");
    if (is_given(p, ETA))
        return p->members[ETA].kind == TOKEN_STRING ? take_moment(p, ETA, text) : refuse(p, "\"eta\" must be a string");
    return true;
}

static bool take_expires(struct payload *p, uint64_t now_us, char text[CELERY_TIME_SIZE])
{
    text[0] = '\0';
    if (!is_given(p, EXPIRES))
        return true;
    if (is_number(p, EXPIRES))
        return take_seconds_from(p, EXPIRES, now_us, text);
    if (p->members[EXPIRES].kind == TOKEN_STRING)
        return take_moment(p, EXPIRES, text);
    return refuse(p, "\"expires\" must be a number of seconds or a string");
}

/* --- a call --------------------------------------------------------------------------------------- */

static bool check_call(struct payload *p)
{
    for (enum member m = BODY; m < MEMBERS; m++)
        if (is_given(p, m))
            return refuse(p, "the payload has \"%s\", but not all of \"body\", \"headers\" and \"properties\"",
                          names[m]);
    if (p->stranger.size > 0)
        return refuse(p, "the payload has a member that a call does not have: %.*s",
                      (int)utf8_cut(p->stranger, 60).size, p->stranger.data);
    if (!is_given(p, TASK))
        return refuse(p, "the payload has no \"task\"");
    if (is_given(p, ARGS) && p->members[ARGS].kind != TOKEN_ARRAY)
        return refuse(p, "\"args\" must be an array");
    if (is_given(p, KWARGS) && p->members[KWARGS].kind != TOKEN_OBJECT)
        return refuse(p, "\"kwargs\" must be an object");
    return true;
}

static json_t *text_or_null(const char *text)
{
    return or_abort(text[0] == '\0' ? json_null() : json_string(text));
}

static json_t *repr_of(struct span raw)
{
    struct buffer text = { 0 };
    celery_repr(raw, &text);
    json_t *repr = or_abort(json_stringn(text.data, text.size));
    buffer_free(&text);
    return repr;
}

static json_t *make_headers(const char *task, const char *id, const char *eta, const char *expires, struct span args,
                            struct span kwargs, const char *origin)
{
    return or_abort(json_pack(
        "{s:s, s:s, s:s, s:n, s:o, s:o, s:n, s:n, s:i, s:[n,n], s:s, s:n, s:o, s:o, s:s, s:b, s:i, s:n, s:{}}", "lang",
        "py", "task", task, "id", id, "shadow", "eta", text_or_null(eta), "expires", text_or_null(expires), "group",
        "group_index", "retries", 0, "timelimit", "root_id", id, "parent_id", "argsrepr", repr_of(args), "kwargsrepr",
        repr_of(kwargs), "origin", origin, "ignore_result", 0, "replaced_task_nesting", 0, "stamped_headers",
        "stamps"));
}

static void append_call_body(struct buffer *b, struct span args, struct span kwargs)
{
    buffer_append_text(b, "[");
    buffer_append_span(b, args);
    buffer_append_text(b, ", ");
    buffer_append_span(b, kwargs);
    buffer_append_text(b, ", {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]");
}

static bool read_call(struct celery_message *m, struct payload *p, const struct celery_defaults *defaults)
{
    char eta[CELERY_TIME_SIZE], expires[CELERY_TIME_SIZE];
    if (!check_call(p) || !take_priority(p, &m->priority) || !take_eta(p, defaults->now_us, eta) ||
        !take_expires(p, defaults->now_us, expires))
        return false;
    m->routing_key = take_name(p, QUEUE, defaults->queue);
    m->correlation_id = take_name(p, ID, defaults->id);
    char *task = take_name(p, TASK, "");
    bool done = m->routing_key != NULL && m->correlation_id != NULL && task != NULL;
    if (done) {
        struct span args = is_given(p, ARGS) ? raw_of(p, ARGS) : span_of("[]");
        struct span kwargs = is_given(p, KWARGS) ? raw_of(p, KWARGS) : span_of("{}");
        m->headers = make_headers(task, m->correlation_id, eta, expires, args, kwargs, defaults->origin);
        append_call_body(&m->body, args, kwargs);
        m->exchange = memory_copy_text("");
        m->reply_to = memory_copy_text("");
        m->content_type = memory_copy_text("application/json");
        m->content_encoding = memory_copy_text("utf-8");
    }
    free(task);
    return done;
}

/* --- a message ------------------------------------------------------------------------------------ */

static bool is_message(const struct payload *p)
{
    return is_given(p, BODY) && is_given(p, HEADERS) && is_given(p, PROPERTIES);
}

/* The text of a member of `object`, which may be NULL, as a string to be freed. */
static char *copy_member(const json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));
    return memory_copy_text(text != NULL ? text : otherwise);
}

static bool decode_base64(struct buffer *out, const char *text, size_t size)
{
    if (size % 4 != 0 || size > INT32_MAX)
        return false;
    unsigned char *to = (unsigned char *)buffer_reserve(out, size / 4 * 3 + 1);
    int decoded = EVP_DecodeBlock(to, (const unsigned char *)text, (int)size);
    if (decoded < 0)
        return false;
    out->size += (size_t)decoded;
    for (size_t at = size; at > 0 && text[at - 1] == '='; at--)
        out->size--;
    return true;
}

static bool take_body(struct celery_message *m, struct payload *p, const json_t *properties)
{
    const json_t *body = json_object_get(m->whole, "body");
    const char *encoding = json_string_value(json_object_get(properties, "body_encoding"));
    if (!json_is_string(body))
        return refuse(p, "\"body\" must be a string");
    if (encoding == NULL || strcmp(encoding, "base64") != 0) {
        buffer_append(&m->body, json_string_value(body), json_string_length(body));
        return true;
    }
    if (!decode_base64(&m->body, json_string_value(body), json_string_length(body)))
        return refuse(p, "\"body\" is not base64, as \"body_encoding\" says it is");
    return true;
}

static bool check_message(struct celery_message *m, struct payload *p, const json_t *properties)
{
    if (!json_is_object(m->headers))
        return refuse(p, "\"headers\" must be an object");
    if (!json_is_object(properties))
        return refuse(p, "\"properties\" must be an object");
    if (!json_is_string(json_object_get(m->headers, "task")) || !json_is_string(json_object_get(m->headers, "id")))
        return refuse(p, "\"headers\" must have a \"task\" and an \"id\"");
    return true;
}

static bool take_message_names(struct celery_message *m, struct payload *p, const json_t *properties, const char *queue)
{
    const json_t *info = json_object_get(properties, "delivery_info");
    m->exchange = copy_member(info, "exchange", "");
    m->routing_key = copy_member(info, "routing_key", queue);
    m->reply_to = copy_member(properties, "reply_to", "");
    m->correlation_id = copy_member(properties, "correlation_id", json_string_value(json_object_get(m->headers, "id")));
    m->content_type = copy_member(m->whole, "content-type", "application/json");
    m->content_encoding = copy_member(m->whole, "content-encoding", "utf-8");
    const char *const all[] = { m->exchange,       m->routing_key,  m->reply_to,
                                m->correlation_id, m->content_type, m->content_encoding };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i]) > NAME_SIZE_MAX || has_control_characters(span_of(all[i])))
            return refuse(p, "\"properties\" has a name that no broker takes");
    return m->routing_key[0] != '\0' || refuse(p, "\"delivery_info\" has no routing key");
}

static bool take_message_numbers(struct celery_message *m, struct payload *p, const json_t *properties)
{
    const json_t *priority = json_object_get(properties, "priority");
    const json_t *mode = json_object_get(properties, "delivery_mode");
    json_int_t value = json_is_integer(priority) ? json_integer_value(priority) : CELERY_NO_PRIORITY;
    if (json_is_integer(priority) && (value < 0 || value > PRIORITY_MAX))
        return refuse(p, "\"priority\" must be 0 to %d", PRIORITY_MAX);
    m->priority = (int)value;
    m->transient = json_is_integer(mode) && json_integer_value(mode) == 1;
    return true;
}

static bool read_message(struct celery_message *m, struct payload *p, const struct celery_defaults *defaults)
{
    json_error_t error;
    m->whole = json_loadb(p->text.data, p->text.size, 0, &error);
    if (m->whole == NULL)
        return refuse(p, "the payload is a message that cannot be read: %s", error.text);
    const json_t *properties = json_object_get(m->whole, "properties");
    m->headers = json_incref(json_object_get(m->whole, "headers"));
    return check_message(m, p, properties) && take_message_names(m, p, properties, defaults->queue) &&
           take_message_numbers(m, p, properties) && take_body(m, p, properties);
}

bool celery_message_read(struct celery_message *m, struct span payload, const struct celery_defaults *defaults,
                         char reason[CELERY_REASON_SIZE])
{
    struct payload p = { .text = payload, .reason = reason };
    *m = (struct celery_message){ .priority = CELERY_NO_PRIORITY };
    if (!utf8_is_valid(span_of(defaults->queue)))
        return refuse(&p, "the queue of the sink is not UTF-8");
    if (!read_members(&p))
        return false;
    bool done = is_message(&p) ? read_message(m, &p, defaults) : read_call(m, &p, defaults);
    if (!done)
        celery_message_reset(m);
    return done;
}

void celery_message_reset(struct celery_message *m)
{
    free(m->exchange);
    free(m->routing_key);
    free(m->content_type);
    free(m->content_encoding);
    free(m->correlation_id);
    free(m->reply_to);
    json_decref(m->headers);
    json_decref(m->whole);
    buffer_free(&m->body);
    *m = (struct celery_message){ .priority = CELERY_NO_PRIORITY };
}
