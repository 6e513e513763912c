/* Runs transcripts: each file once as it is, and again with the bytes of either side cut at every offset, and byte by byte.
 *
 *   transcripts FILE...          a line for each test; the exit status tells whether all held
 *
 * A cut must make no difference to anything that a transcript asserts, which is why it asserts nothing else. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/simulation/block.h"
#include "tests/simulation/shell.h"
#include "tests/transcripts/notation.h"
#include "tests/transcripts/script.h"

#define START_US UINT64_C(1700000000000000)

enum { NO_CUT = -1, EVERY_BYTE = -2 };

/* One run of a script. */
struct run {
    const struct script *script;
    const struct step *step; /* now */
    struct shell shell;
    struct backend *model; /* NULL: the script plays the server itself */
    struct committed database;
    size_t model_given, model_taken;   /* of shell.to_server, of model->output */
    size_t server_seen, client_seen;   /* of shell.to_server, of shell.to_client: by the script */
    size_t events_seen, requests_seen; /* of shell.told */
    const char *refusal;               /* SQLSTATE and words for all that is for a server; NULL: there is one */
    long cut[2];                       /* by speaker: an offset, NO_CUT or EVERY_BYTE */
    size_t sent[2];                    /* bytes so far, by speaker */
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void fail(struct run *r, const char *format, ...)
{
    if (r->failed)
        return;
    r->failed = true;
    fprintf(stderr, "%s:%u: ", r->script->file, r->step->line);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    for (int i = 0; i < 2; i++)
        if (r->cut[i] != NO_CUT)
            fprintf(stderr, "    (with the bytes of the %s cut at %ld; -2 is everywhere)\n", i ? "server" : "client",
                    r->cut[i]);
}

/* --- moving bytes -------------------------------------------------------------------------------- */

static void let_model_work(struct run *r);

/* Hands in `bytes`, in pieces if the cut falls among them; all that comes of a piece happens before the next. */
static void deliver(struct run *r, enum speaker from, struct span bytes)
{
    while (bytes.size > 0) {
        size_t piece = bytes.size, at = r->sent[from];
        long cut = r->cut[from];
        if (cut == EVERY_BYTE)
            piece = 1;
        else if (cut != NO_CUT && (size_t)cut > at && (size_t)cut < at + bytes.size)
            piece = (size_t)cut - at;
        r->sent[from] += piece;
        if (from == FROM_CLIENT)
            shell_client_sends(&r->shell, span_make(bytes.data, piece));
        else
            shell_server_sends(&r->shell, span_make(bytes.data, piece));
        bytes = span_make(bytes.data + piece, bytes.size - piece);
        if (from == FROM_CLIENT)
            let_model_work(r);
    }
}

/* All that the session says is said to nobody. */
static void refuse(struct run *r)
{
    char sqlstate[6] = { 0 };
    const char *start = strchr(r->refusal, '"') + 1, *end = strrchr(r->refusal, '"');
    memcpy(sqlstate, r->refusal, 5);
    while (session_is_busy(r->shell.session) && !r->shell.closed)
        shell_refused(&r->shell, sqlstate, span_make(start, (size_t)(end - start)));
    r->model_given = r->shell.to_server.size;
}

/* Until neither the model nor the session has anything more to say. */
static void let_model_work(struct run *r)
{
    if (r->refusal)
        refuse(r);
    if (!r->model)
        return;
    struct buffer *asked = &r->shell.to_server, *answered = &r->model->output;
    while (r->model_given < asked->size || r->model_taken < answered->size) {
        size_t given = r->model_given;
        r->model_given = asked->size;
        backend_receive(r->model, span_make(asked->data + given, asked->size - given));
        size_t taken = r->model_taken;
        r->model_taken = answered->size;
        if (!r->shell.closed && taken < answered->size)
            deliver(r, FROM_SERVER, span_make(answered->data + taken, answered->size - taken));
    }
    if (r->shell.closed)
        backend_disconnect(r->model);
}

/* --- steps --------------------------------------------------------------------------------------- */

static void speak(struct run *r, enum speaker from)
{
    struct notes n = { 0 };
    struct buffer bytes = { 0 };
    if (!notes_read_text(&n, from, span_of(r->step->text)))
        fail(r, "%s", n.error);
    notes_build(&n, from, &bytes);
    if (!r->failed)
        deliver(r, from, buffer_span(&bytes));
    buffer_free(&bytes);
    notes_free(&n);
}

/* What `out` holds beyond *seen has to be what the step says. */
static void expect(struct run *r, enum speaker from, const struct buffer *out, size_t *seen)
{
    struct notes want = { 0 }, got = { 0 };
    struct buffer text = { 0 };
    size_t at = 0;
    if (!notes_read_text(&want, from, span_of(r->step->text)))
        fail(r, "%s", want.error);
    if (!notes_read_bytes(&got, from, span_make(out->data + *seen, out->size - *seen)))
        fail(r, "cannot be read: %s", got.error);
    *seen = out->size;
    if (!r->failed && !notes_match(&want, &got, &at)) {
        notes_print(&got, &text);
        fail(r, "message %zu is not as it should be\n    want %s\n    got  %.*s", at + 1, r->step->text, (int)text.size,
             text.data);
    }
    buffer_free(&text);
    notes_free(&want);
    notes_free(&got);
}

static bool is_event(const struct told *t)
{
    return t->kind == ACTION_EVENT_HELD || t->kind == ACTION_PUBLISH || t->kind == ACTION_EVENTS_DISCARDED;
}

/* As a transcript would say it, without the word in front. */
static void print_told(const struct run *r, const struct told *t, struct buffer *out)
{
    const char *name = told_name(&r->shell, t), *payload = told_payload(&r->shell, t);
    switch (t->kind) {
    case ACTION_EVENT_HELD:
        buffer_format(out, "held %s \"%s\"", name, payload);
        break;
    case ACTION_PUBLISH:
        buffer_format(out, "released %s \"%s\"%s", name, payload, t->sandbox ? " sandbox" : "");
        break;
    case ACTION_EVENTS_DISCARDED:
        buffer_format(out, "discarded %s %s \"%s\"", discard_reason_name(t->discard), name, payload);
        break;
    case ACTION_REQUEST_BEGUN:
        buffer_format(out, "begun %s \"%s\"", name, payload);
        break;
    case ACTION_REQUEST_COMMITTED:
        buffer_format(out, "committed %s \"%s\"", name, payload);
        break;
    case ACTION_REQUEST_ROLLED_BACK:
        buffer_format(out, "rolled_back %s %s \"%s\"", discard_reason_name(t->discard), name, payload);
        break;
    case ACTION_COMMIT_UNKNOWN:
        buffer_append_text(out, "commit_unknown");
        break;
    case ACTION_TIMED_OUT:
        buffer_format(out, "timed_out %s %s", payload, name);
        break;
    case ACTION_COMMIT_FAILED:
    case ACTION_ASK_OUTCOME:
    case ACTION_TO_SERVER:
    case ACTION_TO_CLIENT:
    case ACTION_CANCEL_SERVER:
    case ACTION_SET_TIMER:
    case ACTION_CLOSE:
        buffer_append_text(out, "commit_failed");
        break;
    }
}

/* The next thing told at or after *seen that is an event (or is not); NULL: none. */
static const struct told *next_told(struct run *r, bool event, size_t *seen)
{
    while (*seen < r->shell.told_count) {
        const struct told *t = &r->shell.told[(*seen)++];
        if (is_event(t) == event)
            return t;
    }
    return NULL;
}

/* The step names what was told next; what it leaves out at the end is open. */
static void expect_told(struct run *r, bool event, size_t *seen, const char *want)
{
    const struct told *t = next_told(r, event, seen);
    struct buffer got = { 0 };
    if (t)
        print_told(r, t, &got);
    buffer_append_u8(&got, 0);
    size_t size = strlen(want);
    if (strncmp(got.data, want, size) != 0 || (got.data[size] != '\0' && got.data[size] != ' '))
        fail(r, "want %s %s\n    got        %s", event ? "event" : "request", want, t ? got.data : "nothing");
    buffer_free(&got);
}

static void expect_words(struct run *r, const struct buffer *got)
{
    if (!span_is(buffer_span(got), r->step->text))
        fail(r, "want \"%s\", got \"%.*s\"", r->step->text, (int)got->size, got->data);
}

static void expect_table(struct run *r)
{
    struct buffer got = { 0 };
    for (size_t i = 0; i < r->database.rows.count; i++)
        buffer_format(&got, i ? " %d" : "%d", ((struct row *)log_at(&r->database.rows, i))->id);
    expect_words(r, &got);
    buffer_free(&got);
}

static void expect_notes(struct run *r, const struct log *notes)
{
    struct buffer got = { 0 };
    for (size_t i = 0; i < notes->count; i++) {
        const struct note_row *n = log_at(notes, i);
        buffer_format(&got, i ? " %s \"%s\"" : "%s \"%s\"", n->channel, n->payload);
    }
    expect_words(r, &got);
    buffer_free(&got);
}

/* "30s", "250ms", "5min" */
static uint64_t duration_us(const char *text)
{
    char *unit;
    uint64_t n = strtoull(text, &unit, 10);
    return strcmp(unit, "ms") == 0 ? n * 1000 : strcmp(unit, "min") == 0 ? n * 60000000 : n * 1000000;
}

static void lose_server(struct run *r)
{
    const char *start = strchr(r->step->text, '"'), *end = strrchr(r->step->text, '"');
    if (r->model)
        backend_disconnect(r->model);
    if (start && end > start)
        shell_server_lost(&r->shell, span_make(start + 1, (size_t)(end - start - 1)));
    else
        shell_server_lost(&r->shell, span_of("server closed the connection"));
}

static void cancel(struct run *r)
{
    if (r->shell.cancels == 0) {
        fail(r, "no cancel was asked for");
        return;
    }
    if (r->model) {
        backend_cancel(r->model);
        let_model_work(r);
    }
    shell_cancelled(&r->shell);
    let_model_work(r);
}

static enum session_outcome outcome_of(const char *word)
{
    if (strcmp(word, "committed") == 0)
        return OUTCOME_COMMITTED;
    return strcmp(word, "rolled_back") == 0 ? OUTCOME_ROLLED_BACK : OUTCOME_UNKNOWN;
}

static void perform(struct run *r)
{
    const struct step *step = r->step;
    switch (step->kind) {
    case STEP_CLIENT_SENDS:
        speak(r, FROM_CLIENT);
        break;
    case STEP_SERVER_SENDS:
        speak(r, FROM_SERVER);
        break;
    case STEP_CLIENT_GETS:
        expect(r, FROM_SERVER, &r->shell.to_client, &r->client_seen);
        break;
    case STEP_SERVER_GETS:
        expect(r, FROM_CLIENT, &r->shell.to_server, &r->server_seen);
        break;
    case STEP_CLIENT_LOST:
        shell_client_lost(&r->shell);
        let_model_work(r);
        break;
    case STEP_SERVER_LOST:
        lose_server(r);
        break;
    case STEP_SHUT_DOWN:
        shell_shut_down(&r->shell);
        let_model_work(r);
        break;
    case STEP_NO_SERVER:
        if (r->model && r->model->rules->status(r->model) != 'I')
            fail(r, "the server is in a transaction");
        r->refusal = step->text;
        let_model_work(r);
        break;
    case STEP_SERVER_BACK:
        r->refusal = NULL;
        break;
    case STEP_TIME:
        shell_time(&r->shell, r->shell.now_us + duration_us(step->text));
        let_model_work(r);
        break;
    case STEP_FINISH:
        backend_wake(r->model);
        let_model_work(r);
        break;
    case STEP_CANCELLED:
        cancel(r);
        break;
    case STEP_CLOSED:
        if (!r->shell.closed)
            fail(r, "the session has not closed");
        break;
    case STEP_EVENT:
        expect_told(r, true, &r->events_seen, step->text);
        break;
    case STEP_REQUEST:
        expect_told(r, false, &r->requests_seen, step->text);
        break;
    case STEP_COMMIT_FAILED:
        expect_told(r, false, &r->requests_seen, "commit_failed");
        break;
    case STEP_COMMIT_UNKNOWN:
        expect_told(r, false, &r->requests_seen, "commit_unknown");
        break;
    case STEP_ASKED:
        if (strcmp(r->shell.asked, step->text) != 0)
            fail(r, "asked \"%s\"", r->shell.asked);
        break;
    case STEP_OUTCOME:
        shell_outcome(&r->shell, outcome_of(step->text));
        break;
    case STEP_TABLE:
        expect_table(r);
        break;
    case STEP_NOTIFIED:
        expect_notes(r, &r->database.notes);
        break;
    case STEP_ROWS:
        expect_notes(r, &r->database.outbox);
        break;
    }
    if (r->shell.fault[0])
        fail(r, "%s", r->shell.fault);
}

/* --- a run --------------------------------------------------------------------------------------- */

static bool mentions(const struct script *s, enum step_kind kind)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->steps[i].kind == kind)
            return true;
    return false;
}

/* Nothing that the script speaks of may be left unsaid. */
static void expect_nothing_left(struct run *r)
{
    struct buffer text = { 0 };
    const struct buffer *client = &r->shell.to_client;
    if (r->client_seen < client->size) {
        notes_print_bytes(FROM_SERVER, span_make(client->data + r->client_seen, client->size - r->client_seen), &text);
        fail(r, "the client was also sent %.*s", (int)text.size, text.data);
    }
    for (int event = 0; event < 2; event++) {
        size_t *seen = event ? &r->events_seen : &r->requests_seen;
        const struct told *t = next_told(r, event, seen);
        if (!t || !mentions(r->script, event ? STEP_EVENT : STEP_REQUEST))
            continue;
        buffer_clear(&text);
        print_told(r, t, &text);
        fail(r, "also: %s %.*s", event ? "event" : "request", (int)text.size, text.data);
    }
    buffer_free(&text);
    if (r->shell.closed && !shell_is_settled(&r->shell))
        fail(r, "closed, but an event is neither released nor discarded, or a request has not ended");
}

static bool is_on(const struct script *s, const char *key, bool usual)
{
    const char *value = script_startup(s, key);
    return value ? strcmp(value, "on") == 0 : usual;
}

static void open_shell(struct run *r)
{
    char words[5][200] = { "shop", "app", "", "", "UTF8" };
    static const char *const keys[] = { "database", "user", "application", "label", "encoding" };
    for (int i = 0; i < 5; i++) {
        const char *value = script_startup(r->script, keys[i]);
        if (value)
            snprintf(words[i], sizeof words[i], "%s", value);
    }
    struct session_start start = { .config = r->script->config,
                                   .who = { words[3][0] ? words[3] : NULL, words[2], words[0], words[1] },
                                   .client_encoding = span_of(words[4]),
                                   .client = "127.0.0.1:50000",
                                   .standard_conforming_strings = is_on(r->script, "standard_conforming_strings", true),
                                   .default_read_only = is_on(r->script, "read_only", false) };
    shell_open(&r->shell, &start, START_US);
}

/* False: an assertion did not hold, and was printed unless `quiet`. */
static bool run_script(const struct script *s, bool quick, long cut_client, long cut_server, size_t sent[2])
{
    struct run r = { .script = s, .cut = { cut_client, cut_server } };
    open_shell(&r);
    r.shell.quick = quick;
    r.shell.sleepy = cut_client != NO_CUT || cut_server != NO_CUT;
    if (!mentions(s, STEP_SERVER_SENDS))
        r.model = block_new(&r.database);
    for (size_t i = 0; i < s->count && !r.failed; i++) {
        r.step = &s->steps[i];
        perform(&r);
    }
    if (!r.failed)
        expect_nothing_left(&r);
    memcpy(sent, r.sent, sizeof r.sent);
    shell_close(&r.shell);
    if (r.model)
        block_free(r.model);
    committed_free(&r.database);
    return !r.failed;
}

/* Whole and in pieces, the session's long way and its short way; in pieces it sleeps whenever it may. */
static bool run_all_cuts(const struct script *s)
{
    size_t sent[2], ignored[2];
    bool ok = run_script(s, false, NO_CUT, NO_CUT, sent) && run_script(s, true, NO_CUT, NO_CUT, ignored);
    for (int quick = 0; ok && quick < 2; quick++) {
        for (long at = 1; ok && at < (long)sent[FROM_CLIENT]; at++)
            ok = run_script(s, quick, at, NO_CUT, ignored);
        for (long at = 1; ok && at < (long)sent[FROM_SERVER]; at++)
            ok = run_script(s, quick, NO_CUT, at, ignored);
    }
    return ok && run_script(s, true, NO_CUT, EVERY_BYTE, ignored) &&
           run_script(s, true, EVERY_BYTE, EVERY_BYTE, ignored);
}

int main(int count, char **files)
{
    unsigned failures = 0;
    for (int i = 1; i < count; i++) {
        struct script s;
        script_read(&s, files[i]);
        bool ok = s.count > 0 && run_all_cuts(&s);
        printf("%s %s\n", ok ? "ok  " : "FAIL", s.name);
        failures += !ok;
        script_free(&s);
    }
    printf("%u passed, %u failed\n", (unsigned)count - 1 - failures, failures);
    return failures > 0;
}
