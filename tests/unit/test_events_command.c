#include "tests/unit/with_config.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "proxy/events/dispatch.h"
#include "proxy/ops/events_command.h"
#include "proxy/ops/log.h"
#include "proxy/ops/story.h"

/* A log line of event N of request N on a channel, at a second of its own. */
#define LINE(second, n, channel, msg, more)                                                                            \
    "{\"ts\":\"2025-11-22T16:04:" second ".123456Z\",\"level\":\"info\",\"msg\":\"" msg "\",\"id\":\"id-" n            \
    "\",\"channel\":\"" channel "\",\"payload\":\"payload " n "\",\"request\":\"request-" n "\",\"label\":\"/label/" n \
    "/\"" more "}\n"

static const char a_log[] =
    "{\"ts\":\"2025-11-22T16:04:00.000000Z\",\"level\":\"info\",\"msg\":\"request_begun\",\"request\":\"request-1\"}"
    "\n" LINE("01", "1", "celery", "event_held", "") LINE("02", "2", "mail", "event_held", "")
        LINE("03", "1", "celery", "event_released", ",\"held_ms\":12.345") LINE(
            "03", "1", "celery", "event_delivered", ",\"sink\":\"tasks\",\"attempt\":1,\"latency_ms\":0.100")
            LINE("04", "2", "mail", "event_discarded", ",\"held_ms\":3.001,\"reason\":\"savepoint\"") LINE(
                "05", "3", "mail", "event_held", "") LINE("06", "4", "celery", "event_released", ",\"held_ms\":1.000")
                LINE("07", "4", "celery", "event_retry",
                     ",\"sink\":\"hook\",\"attempt\":1,\"reason\":\"connection refused\",\"next_ms\":840.125")
                    LINE("08", "4", "celery", "event_retry", ",\"sink\":\"hook\",\"attempt\":2,\"reason\":\"503\"")
                        LINE("09", "4", "celery", "event_dead", ",\"sink\":\"hook\",\"attempt\":3,\"reason\":\"410\"");

#define STORY_1 \
    "16:04:01.123456  celery  held → released 12.3 ms → delivered tasks  request request-1 /label/1/  payload 1\n"
#define STORY_2 "16:04:02.123456  mail  held → discarded savepoint 3.0 ms  request request-2 /label/2/  payload 2\n"
#define STORY_3 "16:04:05.123456  mail  held  request request-3 /label/3/  payload 3\n"
#define STORY_4                                                                                                            \
    "16:04:06.123456  celery  released 1.0 ms → retry hook connection refused, next in 840.1 ms → retry hook attempt " \
    "2 503 → dead hook "                                                                                                 \
    "attempt 3 410"                                                                                                        \
    "  request request-4 /label/4/  payload 4\n"

static char *content_of(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "r");

    if (getdelim(&text, &size, '\0', in) < 0)
        *(text = realloc(text, 1)) = '\0';
    fclose(in);
    return text;
}

struct outcome {
    int status;
    char *out, *err;
};

static void put_in_place(int of, const char *path, int flags)
{
    int fd = open(path, flags);

    cr_assert(fd >= 0 && dup2(fd, of) == of);
    close(fd);
}

/* The command with `input` as its standard input, and as the file that stands for "LOG" among its arguments. */
static struct outcome run_command(const char *const *arguments, const char *input)
{
    char *log = file_with(input, strlen(input)), *out = file_with("", 0), *err = file_with("", 0),
         *argv[16] = { "events" };
    int argc = 1, status;

    for (; *arguments != NULL; arguments++)
        argv[argc++] = strcmp(*arguments, "LOG") == 0 ? log : (char *)*arguments;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        put_in_place(STDIN_FILENO, log, O_RDONLY);
        put_in_place(STDOUT_FILENO, out, O_WRONLY);
        put_in_place(STDERR_FILENO, err, O_WRONLY);
        status = events_command(argc, argv);
        fflush(NULL);
        _exit(status);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    struct outcome o = { WEXITSTATUS(status), content_of(out), content_of(err) };
    char *paths[] = { log, out, err };
    for (int i = 0; i < 3; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    return o;
}

static void outcome_free(struct outcome *o)
{
    free(o->out);
    free(o->err);
}

static const struct {
    const char *arguments[6], *want;
} views[] = {
    { { NULL }, STORY_1 STORY_2 STORY_3 STORY_4 },
    { { "LOG" }, STORY_1 STORY_2 STORY_3 STORY_4 },
    { { "-" }, STORY_1 STORY_2 STORY_3 STORY_4 },
    { { "LOG", "--channel", "mail" }, STORY_2 STORY_3 },
    { { "--channel=c*", "LOG" }, STORY_1 STORY_4 },
    { { "--state", "held" }, STORY_3 },
    { { "--state", "delivered" }, STORY_1 },
    { { "--state", "dead" }, STORY_4 },
    { { "--state", "retry" }, "" },
    { { "--request", "request-2" }, STORY_2 },
    { { "--request", "request-" }, STORY_1 STORY_2 STORY_3 STORY_4 },
    { { "--request", "nobody" }, "" },
    { { "--channel", "mail", "--state", "held" }, STORY_3 },
};

Test(events_command, shows_each_event_once_with_all_that_became_of_it)
{
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        struct outcome o = run_command(views[i].arguments, a_log);
        cr_expect_eq(o.status, 0);
        cr_expect_str_eq(o.out, views[i].want, "row %zu: %s", i, o.out);
        cr_expect_str_eq(o.err, "");
        outcome_free(&o);
    }
}

Test(events_command, following_standard_input_shows_each_step)
{
    struct outcome o = run_command((const char *[]){ "-f", "--request", "request-2", NULL }, a_log);

    cr_expect_str_eq(o.out,
                     "16:04:02.123456  mail  held  request request-2 /label/2/  payload 2\n"
                     "16:04:04.123456  mail  discarded savepoint 3.0 ms  request request-2 /label/2/  payload 2\n");
    outcome_free(&o);
}

Test(events_command, reads_what_the_log_writes)
{
    static const unsigned char id[EVENT_ID_SIZE] = { 1 };
    const uint64_t begun_us = UINT64_C(1763827445123456);
    char *path = file_with("", 0), *text;
    cr_assert(asprintf(&text,
                       ANY_DATABASE
                       "log { file = \"%s\" } sink \"tasks\" { type = log } channel \"*\" { sink = {\"tasks\"} }",
                       path) > 0);
    struct config *c = config_of(text);
    struct request *r = request_new(id, &(struct request_names){ .label = "/checkout/" }, c, 0);
    struct notification *e =
        notification_new(id, r, config_channel(c, "celery", 6), span_of("celery"), span_of("{\"task\": \"a\"}"));

    cr_assert(log_open(c));
    e->held_us = begun_us;
    log_event_held(e);
    dispatch_publish(e, begun_us + 12300);
    log_request_committed(r, begun_us + 12300);
    log_flush();
    char *logged = content_of(path);
    struct outcome o = run_command((const char *[]){ "LOG", NULL }, logged);
    cr_expect_str_eq(o.out, "16:04:05.123456  celery  held → released 12.3 ms → delivered tasks  "
                            "request 01000000-0000-0000-0000-000000000000 /checkout/  {\"task\": \"a\"}\n");
    cr_expect_str_eq(o.err, "");
    outcome_free(&o);
    unlink(path);
    free(logged);
    free(path);
    free(text);
    request_release(r);
    log_end_thread();
    config_release(c);
}

Test(events_command, lines_that_are_not_of_the_log_are_passed_over_and_counted)
{
    struct outcome o = run_command((const char *[]){ NULL }, "not JSON\n"
                                                             "{\"msg\":\n"
                                                             "{}\n"
                                                             "[1]\n"
                                                             "\"text\"\n"
                                                             "{\"msg\":7}\n"
                                                             "{\"msg\":\"event_held\"}\n"
                                                             "{\"msg\":\"event_invented\",\"id\":\"x\"}\n"
                                                             "{\"msg\":\"event_held\",\"id\":\"\xff\"}\n"
                                                             "\n"
                                                             "{\"msg\":\"something else\"}\n"
                                                             "{\"msg\":\"event_held\",\"id\":\"x\"}\n"
                                                             "{\"msg\":\"event_hel");

    cr_expect_eq(o.status, 0);
    cr_expect_str_eq(o.out, "   held\n");
    cr_expect_str_eq(o.err, "pgatomic events: passed over 10 lines that are not of the JSON log\n");
    outcome_free(&o);
}

Test(events_command, a_payload_cannot_speak_to_the_terminal)
{
    struct outcome o = run_command(
        (const char *[]){ NULL },
        "{\"ts\":\"2025-11-22T16:04:05.123456Z\",\"msg\":\"event_held\",\"id\":\"x\",\"channel\":\"a\\u001b[2J\","
        "\"payload\":\"\\n\\t\\u0007\\u007f\\u009b31m é\\u0000after\",\"label\":\"\\r\"}\n");

    cr_expect_str_eq(o.out, "16:04:05.123456  a\\x1b[2J  held \\x0d  \\n\\t\\x07\\x7f\\x9b31m é\n");
    outcome_free(&o);
}

static const struct {
    const char *arguments[4];
    int status;
    const char *err;
} refusals[] = {
    { { "--what" }, 2, "usage: pgatomic events" },
    { { "--state", "happy" }, 2, "pgatomic events: there is no state \"happy\"\nusage: pgatomic events" },
    { { "a", "b" }, 2, "usage: pgatomic events" },
    { { "--channel" }, 2, "usage: pgatomic events" },
    { { "/nowhere/log" }, 1, "pgatomic events: /nowhere/log cannot be read: No such file or directory\n" },
    { { "-f", "/nowhere/log" }, 1, "pgatomic events: /nowhere/log cannot be read: No such file or directory\n" },
    { { "/" }, 1, "pgatomic events: / cannot be read: Is a directory\n" },
    { { "-f", "/" }, 1, "pgatomic events: / cannot be read: Is a directory\n" },
};

Test(events_command, what_it_cannot_do_is_told_and_is_its_status)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct outcome o = run_command(refusals[i].arguments, "");
        cr_expect_eq(o.status, refusals[i].status, "row %zu", i);
        cr_expect_str_eq(o.out, "");
        cr_expect_not_null(strstr(o.err, refusals[i].err), "row %zu: %s", i, o.err);
        outcome_free(&o);
    }

    struct outcome o = run_command((const char *[]){ "--help", NULL }, "");
    cr_expect_eq(o.status, 0);
    cr_expect_not_null(strstr(o.out, "--request ID"));
    outcome_free(&o);
}

/* --- much ---------------------------------------------------------------------------------------- */

static bool tell(struct stories *s, const char *format, int n, const char *payload)
{
    char *line;
    int size = asprintf(&line, format, n, payload);
    bool is_understood = stories_read(s, line, (size_t)size);

    free(line);
    return is_understood;
}

Test(events_command, many_open_stories_are_printed_rather_than_kept)
{
    enum { EVENTS = 200, PAYLOAD = 1 << 20 };
    static char payload[PAYLOAD];
    FILE *out = tmpfile();
    struct stories *s = stories_new(&(struct story_filter){ NULL }, false, out);

    memset(payload, 'x', sizeof payload - 1);
    for (int i = 0; i < EVENTS; i++)
        cr_assert(tell(s, "{\"msg\":\"event_held\",\"id\":\"%d\",\"payload\":\"%s\"}", i, payload));
    long printed_before_the_end = ftell(out);
    cr_expect_gt(printed_before_the_end, (EVENTS - 70) * (long)PAYLOAD, "%ld", printed_before_the_end);
    stories_finish(s);
    fclose(out);
}

Test(events_command, an_event_with_endless_retries_stays_one_line_of_bounded_length)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct stories *s = stories_new(&(struct story_filter){ NULL }, false, out);

    for (int i = 0; i < 100000; i++)
        cr_assert(tell(s, "{\"msg\":\"event_retry\",\"id\":\"x\",\"attempt\":%d,\"reason\":\"%s\"}", i, "refused"));
    cr_assert(tell(s, "{\"msg\":\"event_dead\",\"id\":\"x\",\"attempt\":%d,\"reason\":\"%s\"}", 100000, "given up"));
    stories_finish(s);
    fclose(out);
    cr_expect_lt(size, 8192);
    cr_expect_not_null(strstr(text, " → … → dead\n"), "%s", text + size - 80);
    free(text);
}

Test(events_command, a_line_without_end_is_given_up_and_the_next_is_read)
{
    size_t size = 70 << 20;
    char *input = malloc(size + 300);

    memset(input, 'x', size);
    strcpy(input + size, "\n{\"msg\":\"event_held\",\"id\":\"x\",\"channel\":\"c\"}\n");
    struct outcome o = run_command((const char *[]){ "LOG", NULL }, input);
    cr_expect_str_eq(o.out, "  c  held\n");
    cr_expect_str_eq(o.err, "pgatomic events: passed over 1 lines that are not of the JSON log\n");
    outcome_free(&o);
    free(input);
}

/* --- following ----------------------------------------------------------------------------------- */

/* A child that follows `log`, and the end of the pipe that it writes to. */
struct follower {
    pid_t child;
    int from;
    char *log;
};

static struct follower follow(const char *content)
{
    struct follower f = { .log = file_with(content, strlen(content)) };
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    fflush(NULL);
    f.child = fork();
    if (f.child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        _exit(events_command(3, (char *[]){ "events", "-f", f.log, NULL }));
    }
    close(ends[1]);
    f.from = ends[0];
    return f;
}

/* Waits for as many bytes as `want` has; they must be these. */
static void expect_shown(struct follower *f, const char *want)
{
    char shown[4096] = "";
    size_t size = 0;
    time_t deadline = time(NULL) + 30;

    while (size < strlen(want) && time(NULL) < deadline) {
        struct pollfd p = { .fd = f->from, .events = POLLIN };
        if (poll(&p, 1, 1000) > 0) {
            ssize_t n = read(f->from, shown + size, strlen(want) - size);
            cr_assert_gt(n, 0);
            size += (size_t)n;
        }
    }
    cr_expect_str_eq(shown, want);
}

static void append(const char *path, const char *text)
{
    FILE *out = fopen(path, "a");

    cr_assert_not_null(out);
    fputs(text, out);
    fclose(out);
}

static void stop_following(struct follower *f)
{
    kill(f->child, SIGKILL);
    waitpid(f->child, NULL, 0);
    close(f->from);
    unlink(f->log);
    free(f->log);
}

#define HELD(n) LINE("0" n, n, "c", "event_held", "")
#define SHOWN(n) "16:04:0" n ".123456  c  held  request request-" n " /label/" n "/  payload " n "\n"

Test(events_command, a_followed_file_is_shown_as_it_grows)
{
    struct follower f = follow(HELD("1"));

    expect_shown(&f, SHOWN("1"));
    append(f.log, HELD("2"));
    expect_shown(&f, SHOWN("2"));
    append(f.log, "{\"ts\":\"2025-11-22T16:04:05.123456Z\",\"msg\":\"event_he"); /* a line that comes in two pieces */
    append(f.log, "ld\",\"id\":\"x\",\"channel\":\"c\"}\n");
    expect_shown(&f, "16:04:05.123456  c  held\n");
    stop_following(&f);
}

Test(events_command, a_followed_file_may_be_rotated)
{
    struct follower f = follow(HELD("1"));
    char *rotated;

    cr_assert(asprintf(&rotated, "%s.1", f.log) > 0);
    expect_shown(&f, SHOWN("1"));
    cr_assert_eq(rename(f.log, rotated), 0);
    append(rotated, HELD("2")); /* a writer that has not opened the new one yet */
    expect_shown(&f, SHOWN("2"));
    append(f.log, HELD("3"));
    expect_shown(&f, SHOWN("3"));
    unlink(rotated);
    free(rotated);
    stop_following(&f);
}

Test(events_command, a_followed_file_may_be_emptied_in_place)
{
    struct follower f = follow(HELD("1") HELD("2"));

    expect_shown(&f, SHOWN("1") SHOWN("2"));
    cr_assert_eq(truncate(f.log, 0), 0);
    append(f.log, HELD("3"));
    expect_shown(&f, SHOWN("3"));
    stop_following(&f);
}

Test(events_command, of_a_large_file_only_the_end_is_shown_before_it_is_followed)
{
    char *content = calloc(1, 1 << 20);

    for (int i = 0; i < 2000; i++)
        strcat(content, HELD("1"));
    strcat(content, HELD("2"));
    struct follower f = follow(content);
    append(f.log, HELD("3"));
    char shown[4096];
    size_t lines = 0;
    bool is_at_the_end = false;
    FILE *in = fdopen(dup(f.from), "r");
    while (!is_at_the_end && fgets(shown, sizeof shown, in) != NULL) {
        lines++;
        cr_expect_eq(strncmp(shown, "16:04:0", 7), 0, "%s", shown);
        is_at_the_end = strstr(shown, "payload 3") != NULL;
    }
    cr_expect(is_at_the_end);
    cr_expect_gt(lines, 100);
    cr_expect_lt(lines, 1000);
    fclose(in);
    free(content);
    stop_following(&f);
}
