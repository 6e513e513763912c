#include "tests/unit/with_config.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proxy/events/dispatch.h"
#include "proxy/ops/json.h"
#include "proxy/ops/log.h"

static const unsigned char event_id[EVENT_ID_SIZE] = { 0x01, 0x92, 0xf0, 0xc1, 0x7a, 0x2b, 0x7c, 0x3d,
                                                       0x8e, 0x4f, 0,    0,    0,    0,    0,    1 };
static const unsigned char request_id[EVENT_ID_SIZE] = { 0x01, 0x92, 0xf0, 0xc1, 0x7a, 0x2b, 0x7c, 0x3d,
                                                         0x8e, 0x4f, 0,    0,    0,    0,    0,    2 };
static const uint64_t begun_us = UINT64_C(1763827445123456); /* 2025-11-22T16:04:05.123456Z */

/* A log in a file of its own, whose path replaces %s. */
struct log_file {
    char *path;
    struct config *config;
};

static struct log_file open_log(const char *options)
{
    struct log_file f = { .path = file_with("", 0) };
    char *text;

    cr_assert(asprintf(&text,
                       ANY_DATABASE
                       "log { file = \"%s\" %s } sink \"audit\" { type = log } sink \"second\" { type = log }"
                       "channel \"celery\" { sink = {\"audit\", \"second\"} }",
                       f.path, options) > 0);
    f.config = config_of(text);
    cr_assert(log_open(f.config));
    free(text);
    return f;
}

/* What is in the file now; the caller frees it. */
static char *written(const struct log_file *f)
{
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(f->path, "r");

    log_flush();
    if (getdelim(&text, &size, '\0', in) < 0)
        *(text = realloc(text, 1)) = '\0';
    fclose(in);
    return text;
}

static void close_log(struct log_file *f)
{
    log_end_thread();
    unlink(f->path);
    free(f->path);
    config_release(f->config);
}

static struct request *new_request(struct config *c)
{
    struct request *r = request_new(
        request_id, &(struct request_names){ "checkout", "/checkout/", "shop", "app", "web", "127.0.0.1:53122" }, c,
        begun_us);
    r->statements = 3;
    r->events = 1;
    return r;
}

static struct notification *new_event(struct request *r, const char *channel, struct span payload)
{
    struct notification *e =
        notification_new(event_id, r, config_channel(r->config, channel, strlen(channel)), span_of(channel), payload);
    e->held_us = begun_us + 1000;
    return e;
}

#define WHO                                                                                              \
    "\"request\":\"0192f0c1-7a2b-7c3d-8e4f-000000000002\",\"route\":\"checkout\",\"label\":\"/checkout/" \
    "\",\"database\":\"shop\",\"user\":\"app\","
#define EVENT                                                                                              \
    "\"id\":\"0192f0c1-7a2b-7c3d-8e4f-000000000001\",\"channel\":\"celery\",\"payload\":\"{\\\"task\\\": " \
    "1}\",\"payload_bytes\":11," WHO "\"application\":\"web\",\"client\":\"127.0.0.1:53122\""

/* --- events and requests ------------------------------------------------------------------------- */

Test(log, an_event_is_told_from_hold_to_delivery_one_object_a_line)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", span_of("{\"task\": 1}"));

    log_event_held(e);
    dispatch_publish(e, begun_us + 13345);
    char *text = written(&f);
    cr_expect_str_eq(text,
                     "{\"ts\":\"2025-11-22T16:04:05.124456Z\",\"level\":\"info\",\"msg\":\"event_held\"," EVENT "}\n"
                     "{\"ts\":\"2025-11-22T16:04:05.136801Z\",\"level\":\"info\",\"msg\":\"event_released\"," EVENT
                     ",\"held_ms\":12.345}\n"
                     "{\"ts\":\"2025-11-22T16:04:05.136801Z\",\"level\":\"info\",\"msg\":\"event_delivered\"," EVENT
                     ",\"sink\":\"audit\",\"attempt\":1,\"latency_ms\":0.000}\n"
                     "{\"ts\":\"2025-11-22T16:04:05.136801Z\",\"level\":\"info\",\"msg\":\"event_delivered\"," EVENT
                     ",\"sink\":\"second\",\"attempt\":1,\"latency_ms\":0.000}\n");
    free(text);
    request_release(r);
    close_log(&f);
}

/* The line that log_event_dead() writes under such options; the caller frees it. */
static char *dead_line(const char *options)
{
    struct log_file f = open_log(options);
    struct request *r = new_request(f.config);
    char payload[101] = { 0 };
    memset(payload, 'x', sizeof payload - 1);
    struct notification *e = new_event(r, "celery", span_of(payload));

    log_event_dead(e, "audit", 15, "connection refused", 2500, begun_us + 9000);
    char *text = written(&f);
    notification_free(e);
    request_release(r);
    close_log(&f);
    return text;
}

Test(log, E12_a_dead_event_is_told_in_full_unless_payloads_are_never_told)
{
    char *preview = dead_line("payloads = preview"), *none = dead_line("payloads = none");

    cr_expect_not_null(strstr(preview, "xx\",\"payload_bytes\":100,"));
    cr_expect(strspn(strstr(preview, "\"payload\":\"") + strlen("\"payload\":\""), "x") == 100);
    cr_expect_not_null(strstr(preview, "\"level\":\"error\",\"msg\":\"event_dead\""));
    cr_expect_not_null(strstr(preview, ",\"sink\":\"audit\",\"attempt\":15,\"reason\":\"connection refused\","
                                       "\"latency_ms\":2.500}\n"));
    cr_expect_null(strstr(none, "\"payload\":"));
    cr_expect_not_null(strstr(none, "\"payload_bytes\":100,"));
    free(preview);
    free(none);
}

Test(log, E12_a_retry_says_why_and_when_the_next_comes)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", span_of("{\"task\": 1}"));

    log_event_retry(e, "audit", 2, "HTTP 503", 1840000, 2500, begun_us + 9000);
    char *text = written(&f);
    cr_expect_str_eq(text, "{\"ts\":\"2025-11-22T16:04:05.132456Z\",\"level\":\"warn\",\"msg\":\"event_retry\"," EVENT
                           ",\"sink\":\"audit\",\"attempt\":2,\"reason\":\"HTTP 503\",\"next_ms\":1840.000,"
                           "\"latency_ms\":2.500}\n");
    free(text);
    notification_free(e);
    request_release(r);
    close_log(&f);
}

Test(log, a_discarded_event_says_why)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", span_of("{\"task\": 1}"));

    log_event_discarded(e, DISCARD_SAVEPOINT, begun_us + 500); /* the clock was set back */
    char *text = written(&f);
    cr_expect_str_eq(text,
                     "{\"ts\":\"2025-11-22T16:04:05.123956Z\",\"level\":\"info\",\"msg\":\"event_discarded\"," EVENT
                     ",\"held_ms\":0.000,\"reason\":\"savepoint\"}\n");
    free(text);
    notification_free(e);
    request_release(r);
    close_log(&f);
}

Test(log, E7_an_event_without_a_sink_is_done_when_it_is_released)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);
    struct notification *first = new_event(r, "other", span_of("1"));

    first->next = new_event(r, "other", span_of("2"));
    dispatch_publish(first, begun_us + 2000);
    dispatch_publish(NULL, begun_us + 2000);
    char *text = written(&f), *one = strstr(text, "\"payload\":\"1\""), *two = strstr(text, "\"payload\":\"2\"");
    cr_expect(one != NULL && two != NULL && one < two);
    cr_expect_null(strstr(text, "event_delivered"));
    cr_expect_eq(atomic_load(&r->references), 1);
    free(text);
    request_release(r);
    close_log(&f);
}

Test(log, R11_an_event_of_a_sandbox_is_marked)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", span_of("x"));

    e->sandbox = true;
    dispatch_publish(e, begun_us + 2000);
    char *text = written(&f);
    cr_expect_not_null(strstr(text, "\"held_ms\":1.000,\"sandbox\":true}\n"));
    cr_expect_not_null(strstr(text, "\"latency_ms\":0.000,\"sandbox\":true}\n"));
    free(text);
    request_release(r);
    close_log(&f);
}

Test(log, a_request_is_told_from_begin_to_end)
{
    struct log_file f = open_log("");
    struct request *r = new_request(f.config);

    log_request_begun(r);
    log_request_committed(r, begun_us + 7001);
    log_request_rolled_back(r, DISCARD_NO_OUTCOME, begun_us + 1000000);
    log_commit_failed(r, span_of("deferred \"constraint\""), begun_us + 1);
    char *text = written(&f);
#define COUNTS "\"client\":\"127.0.0.1:53122\",\"statements\":3,\"events\":1,"
    cr_expect_str_eq(
        text, "{\"ts\":\"2025-11-22T16:04:05.123456Z\",\"level\":\"info\",\"msg\":\"request_begun\"," WHO COUNTS
              "\"duration_ms\":0.000}\n"
              "{\"ts\":\"2025-11-22T16:04:05.130457Z\",\"level\":\"info\",\"msg\":\"request_committed\"," WHO COUNTS
              "\"duration_ms\":7.001}\n"
              "{\"ts\":\"2025-11-22T16:04:06.123456Z\",\"level\":\"info\",\"msg\":\"request_rolled_back\"," WHO COUNTS
              "\"duration_ms\":1000.000,\"reason\":\"no_outcome\"}\n"
              "{\"ts\":\"2025-11-22T16:04:05.123457Z\",\"level\":\"error\",\"msg\":\"commit_failed\"," WHO COUNTS
              "\"duration_ms\":0.001,\"error\":\"deferred \\\"constraint\\\"\"}\n");
    free(text);
    request_release(r);
    close_log(&f);
}

/* --- payloads ------------------------------------------------------------------------------------ */

/* The payload member of the one line in the log; "" with is_there false when it has none. */
static char *logged_payload(const char *options, struct span payload, json_int_t *bytes)
{
    struct log_file f = open_log(options);
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", payload);

    log_event_held(e);
    char *text = written(&f);
    json_t *line = json_loads(text, JSON_ALLOW_NUL, NULL);
    cr_assert_not_null(line, "%s", text);
    const char *value = json_string_value(json_object_get(line, "payload"));
    char *copy = value != NULL ? strdup(value) : NULL;
    *bytes = json_integer_value(json_object_get(line, "payload_bytes"));
    json_decref(line);
    free(text);
    notification_free(e);
    request_release(r);
    close_log(&f);
    return copy;
}

Test(log, a_preview_is_64_bytes_and_cuts_no_character)
{
    char payload[200], *shown;
    json_int_t bytes;

    for (size_t lead = 58; lead <= 66; lead++) {
        memset(payload, 'a', lead);
        strcpy(payload + lead, "\U0001f600\U0001f600\U0001f600");
        shown = logged_payload("payloads = preview", span_of(payload), &bytes);
        size_t want = lead > 64 ? 64 : lead + (64 - lead) / 4 * 4;
        cr_expect_eq(strlen(shown), want, "%zu bytes ahead: %zu", lead, strlen(shown));
        cr_expect_eq(strncmp(shown, payload, want), 0);
        cr_expect_eq(bytes, (json_int_t)strlen(payload));
        free(shown);
    }
}

Test(log, a_full_payload_is_whole)
{
    static char payload[1 << 20];
    json_int_t bytes;

    memset(payload, 'x', sizeof payload - 1);
    char *shown = logged_payload("payloads = full", span_of(payload), &bytes);
    cr_expect_str_eq(shown, payload);
    cr_expect_eq(bytes, sizeof payload - 1);
    free(shown);
}

Test(log, without_payloads_only_their_size_is_told)
{
    json_int_t bytes;

    cr_expect_null(logged_payload("payloads = none", span_of("secret"), &bytes));
    cr_expect_eq(bytes, 6);
}

/* --- any bytes ----------------------------------------------------------------------------------- */

#define U "\xef\xbf\xbd"

static const struct {
    const char *bytes, *want;
} texts[] = {
    { "", "\"\"" },
    { "plain", "\"plain\"" },
    { "\"\\/", "\"\\\"\\\\/\"" },
    { "\n\r\t\b\x01\x1f\x7f", "\"\\n\\r\\t\\u0008\\u0001\\u001f\\u007f\"" },
    { "é→\U0001f600", "\"é→\U0001f600\"" },
    { "\xff", "\"" U "\"" },
    { "a\xc3", "\"a" U "\"" },
    { "\xc3"
      "a",
      "\"" U "a\"" },
    { "\xe2\x82", "\"" U U "\"" },
    { "\xc0\x80", "\"" U U "\"" },             /* too long a form */
    { "\xe0\x9f\xbf", "\"" U U U "\"" },       /* the same */
    { "\xed\xa0\x80", "\"" U U U "\"" },       /* a surrogate */
    { "\xf4\x90\x80\x80", "\"" U U U U "\"" }, /* above U+10FFFF */
    { "\xf0\x8f\xbf\xbf", "\"" U U U U "\"" },
    { "\xef\xbf\xbf", "\"\xef\xbf\xbf\"" },
    { "\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"" },
};

Test(log, text_of_any_bytes_becomes_a_json_string)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buffer b = { 0 };
        json_append_string(&b, span_of(texts[i].bytes));
        cr_expect(span_is(buffer_span(&b), texts[i].want), "row %zu: %.*s", i, (int)b.size, b.data);
        buffer_free(&b);
    }
}

Test(log, every_pair_of_bytes_gives_json_that_parses)
{
    for (unsigned pair = 0; pair < 1 << 16; pair++) {
        char bytes[] = { (char)(pair >> 8), (char)pair, 'x' };
        struct buffer b = { 0 };
        json_append_string(&b, span_make(bytes, sizeof bytes));
        json_t *value = json_loadb(b.data, b.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        cr_assert_not_null(value, "%04x: %.*s", pair, (int)b.size, b.data);
        json_decref(value);
        buffer_free(&b);
    }
}

/* --- lines --------------------------------------------------------------------------------------- */

Test(log, other_lines_have_typed_fields)
{
    struct log_file f = open_log("");

    LOG(LOG_WARN, "client_refused", log_text("client", "a\nb"), log_number("limit", 18446744073709551615U),
        log_bool("tls", false), log_ms("after_ms", 1500), log_id("request", request_id));
    LOG(LOG_ERROR, "alone");
    char *text = written(&f), *rest = strchr(text, ',');
    cr_expect_eq(
        strncmp(rest,
                ",\"level\":\"warn\",\"msg\":\"client_refused\",\"client\":\"a\\nb\",\"limit\":18446744073709551615,"
                "\"tls\":false,"
                "\"after_ms\":1.500,\"request\":\"0192f0c1-7a2b-7c3d-8e4f-000000000002\"}\n{\"ts\":\"20",
                strlen(",\"level\":\"warn\",\"msg\":\"client_refused\",\"client\":\"a\\nb\",\"limit\":"
                       "18446744073709551615,\"tls\":false,"
                       "\"after_ms\":1.500,\"request\":\"0192f0c1-7a2b-7c3d-8e4f-000000000002\"}\n{\"ts\":\"20")),
        0, "%s", text);
    cr_expect_not_null(strstr(text, ",\"level\":\"error\",\"msg\":\"alone\"}\n"));
    free(text);
    close_log(&f);
}

Test(log, text_format_is_aligned_and_quotes_what_needs_it)
{
    struct log_file f = open_log("format = text");
    struct request *r = new_request(f.config);
    struct notification *e = new_event(r, "celery", span_of("{\"task\": 1}\n"));

    log_event_held(e);
    log_write(LOG_ERROR, begun_us, (const struct log_field[]){ log_text("msg", "alone"), { .kind = LOG_FIELD_END } });
    log_write(LOG_INFO, begun_us,
              (const struct log_field[]){
                  log_text("msg", "x"), log_text("none", ""), log_bool("on", true), { .kind = LOG_FIELD_END } });
    char *text = written(&f);
    cr_expect_str_eq(
        text,
        "2025-11-22T16:04:05.124456Z info  event_held           id=0192f0c1-7a2b-7c3d-8e4f-000000000001 channel=celery "
        "payload=\"{\\\"task\\\": 1}\\n\" payload_bytes=12 request=0192f0c1-7a2b-7c3d-8e4f-000000000002 route=checkout "
        "label=/checkout/ database=shop user=app application=web client=127.0.0.1:53122\n"
        "2025-11-22T16:04:05.123456Z error alone\n"
        "2025-11-22T16:04:05.123456Z info  x                    none=\"\" on=true\n");
    free(text);
    notification_free(e);
    request_release(r);
    close_log(&f);
}

static int evaluations;

static struct log_field counted(void)
{
    evaluations++;
    return log_number("n", 1);
}

Test(log, below_the_level_nothing_is_written_nor_evaluated)
{
    struct log_file f = open_log("level = warn");
    struct request *r = new_request(f.config);

    LOG(LOG_DEBUG, "quiet", counted());
    LOG(LOG_INFO, "quiet", counted());
    log_request_begun(r);
    dispatch_publish(new_event(r, "celery", span_of("x")), begun_us);
    char *text = written(&f);
    cr_expect_str_eq(text, "");
    cr_expect_eq(evaluations, 0);
    free(text);

    LOG(LOG_WARN, "loud", counted());
    log_commit_failed(r, span_of("x"), begun_us);
    text = written(&f);
    cr_expect_not_null(strstr(text, "loud"));
    cr_expect_not_null(strstr(text, "commit_failed"));
    cr_expect_eq(evaluations, 1);
    free(text);
    request_release(r);
    close_log(&f);
}

/* --- the file ------------------------------------------------------------------------------------ */

static off_t size_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? s.st_size : -1;
}

Test(log, lines_are_gathered_until_a_flush_or_64_kb)
{
    struct log_file f = open_log("");

    LOG(LOG_INFO, "gathered");
    cr_expect_eq(size_of(f.path), 0);
    log_flush();
    cr_expect_gt(size_of(f.path), 0);
    off_t before = size_of(f.path);
    for (int i = 0; i < 1000; i++)
        LOG(LOG_INFO, "some line that is a hundred bytes long or thereabouts, so that it takes a thousand of them");
    cr_expect_gt(size_of(f.path), before + (64 << 10));
    close_log(&f);
}

Test(log, a_reload_opens_the_file_that_has_the_name_now)
{
    struct log_file f = open_log("");
    char *rotated;

    cr_assert(asprintf(&rotated, "%s.1", f.path) > 0);
    LOG(LOG_INFO, "before");
    log_flush();
    rename(f.path, rotated);
    LOG(LOG_INFO, "between");
    log_flush();
    cr_assert(log_open(f.config));
    LOG(LOG_INFO, "after");
    char *text = written(&f);
    cr_expect(strstr(text, "after") != NULL && strstr(text, "between") == NULL);
    free(text);
    text = written(&(struct log_file){ rotated, NULL });
    cr_expect(strstr(text, "between") != NULL && strstr(text, "after") == NULL);
    free(text);
    unlink(rotated);
    free(rotated);
    close_log(&f);
}

Test(log, a_file_that_cannot_be_opened_leaves_the_log_as_it_was)
{
    struct log_file f = open_log("");
    struct config *bad = config_of(ANY_DATABASE "log { file = \"/nowhere/at/all\" level = error }");

    cr_expect_not(log_open(bad));
    LOG(LOG_INFO, "still here");
    char *text = written(&f);
    cr_expect_not_null(strstr(text, "still here"));
    free(text);
    config_release(bad);
    close_log(&f);
}

Test(log, lines_that_could_not_be_written_are_counted_in_the_next_that_can)
{
    struct log_file f = open_log("");
    struct config *full = config_of(ANY_DATABASE "log { file = \"/dev/full\" }");

    cr_assert(log_open(full));
    LOG(LOG_INFO, "lost");
    LOG(LOG_INFO, "lost");
    log_flush();
    LOG(LOG_INFO, "lost");
    log_flush();
    cr_assert(log_open(f.config));
    LOG(LOG_INFO, "found");
    char *text = written(&f), *told = strstr(text, "\"msg\":\"log_lines_lost\",\"lines\":3}\n");
    cr_expect_not_null(told, "%s", text);
    cr_expect_not_null(strstr(text, "found"));
    cr_expect_null(strstr(text, "\"lost\""));
    free(text);
    LOG(LOG_INFO, "more");
    text = written(&f);
    cr_expect_null(strstr(strstr(text, "found"), "log_lines_lost"), "told once");
    free(text);
    config_release(full);
    close_log(&f);
}

/* The objects of a text's lines: how many have this msg, and the `lines` of the last that tells of lost ones. */
static size_t count_objects(char *text, const char *msg, long long *lost)
{
    size_t count = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && (*line != '\0' || rest != NULL);) {
        json_t *object = json_loads(line, 0, NULL);
        const char *said = json_string_value(json_object_get(object, "msg"));
        if (said != NULL && strcmp(said, "log_lines_lost") == 0)
            *lost = json_integer_value(json_object_get(object, "lines"));
        count += said != NULL && strcmp(said, msg) == 0;
        json_decref(object);
    }
    return count;
}

Test(log, a_line_that_a_full_disk_has_cut_spoils_no_other)
{
    enum { WRITTEN = 10, ROOM = 333 };
    struct log_file f = open_log("");
    struct rlimit before, little;
    long long lost = 0;

    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){ ROOM, before.rlim_max };
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (int i = 0; i < WRITTEN; i++)
        LOG(LOG_INFO, "a line");
    log_flush();
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_assert_eq(size_of(f.path), ROOM);
    LOG(LOG_INFO, "after");
    char *text = written(&f), *copy = strdup(text);
    size_t whole = count_objects(text, "a line", &lost);
    cr_expect(whole > 0 && whole + (size_t)lost == WRITTEN, "%zu and %lld in %s", whole, lost, copy);
    memcpy(text, copy, strlen(copy));
    cr_expect_eq(count_objects(text, "after", &lost), 1);
    free(copy);
    free(text);
    close_log(&f);
}

/* What is in a FIFO, which holds no more than that; the caller frees it. */
static char *drain_pipe(int fd)
{
    enum { PIPE_BYTES = 1 << 20 };
    char *text = calloc(1, PIPE_BYTES + 1);
    ssize_t n;
    for (size_t size = 0; (n = read(fd, text + size, PIPE_BYTES - size)) > 0;)
        size += (size_t)n;
    return text;
}

Test(log, a_fifo_that_nobody_reads_stops_nothing_and_what_it_lost_is_told, .timeout = 60)
{
    enum { WRITTEN = 2000 };
    struct log_file f = open_log("");
    long long lost = 0;

    unlink(f.path);
    cr_assert_eq(mkfifo(f.path, 0600), 0);
    cr_assert(log_open(f.config), "nobody has to read for it to be opened");
    for (int i = 0; i < WRITTEN; i++)
        LOG(LOG_INFO, "a line of two thousand, which are more than what there is room for in a pipe");
    log_flush();
    int reader = open(f.path, O_RDONLY | O_NONBLOCK);
    char *text = drain_pipe(reader);
    size_t kept =
        count_objects(text, "a line of two thousand, which are more than what there is room for in a pipe", &lost);
    cr_expect(kept > 100 && kept < WRITTEN && lost == 0, "%zu", kept);
    free(text);

    LOG(LOG_INFO, "somebody reads again");
    log_flush();
    text = drain_pipe(reader);
    cr_expect_eq(count_objects(text, "somebody reads again", &lost), 1);
    cr_expect_eq(kept + (size_t)lost, WRITTEN);
    free(text);
    close(reader);
    close_log(&f);
}

enum { THREADS = 4, LINES = 5000 };

static void *write_lines(void *name)
{
    for (int i = 0; i < LINES; i++) {
        LOG(LOG_INFO, "line", log_text("thread", name), log_number("n", (uint64_t)i));
        if (i % 100 == 0)
            log_flush();
    }
    log_end_thread();
    return NULL;
}

Test(log, lines_of_threads_never_mix_even_in_a_pipe)
{
    static char names[THREADS][300];
    struct log_file f = open_log("");
    pthread_t threads[THREADS];
    int ends[2], count = 0;
    char *line = NULL;
    size_t size = 0;

    cr_assert_eq(pipe(ends), 0);
    cr_assert_geq(dup2(ends[1], STDOUT_FILENO), 0);
    close(ends[1]);
    struct config *standard_output = config_of(ANY_DATABASE);
    cr_assert(log_open(standard_output));
    for (int i = 0; i < THREADS; i++) {
        memset(names[i], 'a' + i, sizeof names[i] - 1);
        pthread_create(&threads[i], NULL, write_lines, names[i]);
    }
    FILE *in = fdopen(ends[0], "r");
    for (; count < THREADS * LINES && getline(&line, &size, in) > 0; count++) {
        json_t *object = json_loads(line, 0, NULL);
        cr_assert_not_null(object, "%s", line);
        cr_assert_eq(json_string_length(json_object_get(object, "thread")), sizeof names[0] - 1);
        json_decref(object);
    }
    cr_expect_eq(count, THREADS * LINES);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    free(line);
    fclose(in);
    config_release(standard_output);
    close_log(&f);
}
