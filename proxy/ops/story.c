/* Stories are kept in two orders at once: a tree by event id, to find the one that a line goes on with, and a list by age, to
 * print them. The whole of it is bounded in bytes. */
#include "proxy/ops/story.h"
#include "proxy/ops/visible.h"

#include <assert.h>
#include <jansson.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "protocol/buffer.h"

enum {
    MAX_BYTES = 64 << 20,
    MAX_STEPS_BYTES = 4 << 10,
    TIME_OFFSET = sizeof("2026-11-22T") - 1,
    TIME_SIZE = sizeof("16:04:05.123456") - 1
};

static const char state_prefix[] = "event_";

/* An event so far. Strings are owned, and ready to be shown. */
struct story {
    struct story *newer;
    char *id;
    struct buffer opening; /* "16:04:05.123456  celery  " */
    struct buffer steps;   /* "held → released 12.3 ms" */
    struct buffer closing; /* "  request 0192…  /checkout/  {…}" */
    const char *state;
    bool is_cut; /* more steps came than are kept */
    bool is_wanted;
};

struct stories {
    struct story_filter filter;
    bool each_step;
    FILE *out;
    void *by_id;
    struct story *oldest, *newest;
    size_t bytes;
};

static const char *const states[] = { "held", "released", "discarded", "delivered", "retry", "dead", NULL };

/* The name as it stands in the list; NULL: there is no such state. */
static const char *find_state(const char *name)
{
    const char *const *state = states;

    while (*state != NULL && strcmp(*state, name) != 0)
        state++;
    return *state;
}

bool story_is_state(const char *name)
{
    return find_state(name) != NULL;
}

/* --- words --------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));
    return text != NULL ? text : "";
}

static void append_word(struct buffer *b, const char *text)
{
    if (*text != '\0') {
        buffer_append_text(b, " ");
        visible_append(b, text);
    }
}

static void append_ms(struct buffer *b, const json_t *line, const char *name)
{
    const json_t *ms = json_object_get(line, name);

    if (json_is_number(ms))
        buffer_format(b, " %.1f ms", json_number_value(ms));
}

static void append_attempt(struct buffer *b, const json_t *line)
{
    json_int_t attempt = json_integer_value(json_object_get(line, "attempt"));

    if (attempt > 1)
        buffer_format(b, " attempt %lld", (long long)attempt);
}

/* "released 12.3 ms", "discarded rollback 3.1 ms", "delivered tasks", "retry tasks attempt 2 connection refused, next in 1840.0 ms" */
static void append_step(struct buffer *b, const char *state, const json_t *line)
{
    buffer_append_text(b, state);
    append_word(b, text_of(line, "sink"));
    append_attempt(b, line);
    append_word(b, text_of(line, "reason"));
    append_ms(b, line, "held_ms");
    if (json_object_get(line, "next_ms") != NULL) {
        buffer_append_text(b, ", next in");
        append_ms(b, line, "next_ms");
    }
}

static void append_opening(struct buffer *b, const json_t *line)
{
    const char *ts = text_of(line, "ts");
    struct buffer time = { 0 };

    if (strlen(ts) > TIME_OFFSET)
        buffer_append(&time, ts + TIME_OFFSET, strnlen(ts + TIME_OFFSET, TIME_SIZE));
    buffer_append_u8(&time, '\0');
    visible_append(b, time.data);
    buffer_free(&time);
    buffer_append_text(b, " ");
    append_word(b, text_of(line, "channel"));
    buffer_append_text(b, "  ");
}

static void append_part(struct buffer *b, const char *before, const char *text)
{
    if (*text != '\0') {
        buffer_append_text(b, before);
        visible_append(b, text);
    }
}

static void append_closing(struct buffer *b, const json_t *line)
{
    append_part(b, "  request ", text_of(line, "request"));
    append_part(b, " ", text_of(line, "label"));
    append_part(b, "  ", text_of(line, "payload"));
}

/* --- one story ----------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    return strcmp(((const struct story *)a)->id, ((const struct story *)b)->id);
}

static size_t story_bytes(const struct story *s)
{
    return sizeof *s + s->opening.capacity + s->steps.capacity + s->closing.capacity;
}

static struct story *story_new(const struct story_filter *filter, const json_t *line)
{
    struct story *s = calloc(1, sizeof *s);
    assert(s != NULL);
    const char *channel = text_of(line, "channel"), *request = text_of(line, "request");

    s->id = strdup(text_of(line, "id"));
    assert(s->id != NULL);
    append_opening(&s->opening, line);
    append_closing(&s->closing, line);
    s->is_wanted = (filter->channel == NULL || glob_matches(filter->channel, channel, strlen(channel))) &&
                   (filter->request == NULL || strncmp(filter->request, request, strlen(filter->request)) == 0);
    return s;
}

static void story_free(struct story *s)
{
    free(s->id);
    buffer_free(&s->opening);
    buffer_free(&s->steps);
    buffer_free(&s->closing);
    free(s);
}

static void story_add(struct story *s, const char *state, const json_t *line)
{
    s->state = state;
    if (s->steps.size > MAX_STEPS_BYTES) {
        s->is_cut = true;
        return;
    }
    if (s->steps.size > 0)
        buffer_append_text(&s->steps, " → ");
    append_step(&s->steps, state, line);
}

static void put(const struct buffer *b, FILE *out)
{
    if (b->size > 0)
        fwrite(b->data, 1, b->size, out);
}

static void story_print(const struct stories *all, const struct story *s)
{
    if (!s->is_wanted || (all->filter.state != NULL && strcmp(all->filter.state, s->state) != 0))
        return;
    put(&s->opening, all->out);
    put(&s->steps, all->out);
    if (s->is_cut)
        fprintf(all->out, " → … → %s", s->state);
    put(&s->closing, all->out);
    putc('\n', all->out);
}

/* --- all of them --------------------------------------------------------------------------------- */

struct stories *stories_new(const struct story_filter *filter, bool each_step, FILE *out)
{
    struct stories *s = calloc(1, sizeof *s);
    assert(s != NULL);

    s->filter = *filter;
    s->each_step = each_step;
    s->out = out;
    return s;
}

static void print_oldest(struct stories *all)
{
    struct story *s = all->oldest;

    story_print(all, s);
    all->oldest = s->newer;
    if (all->oldest == NULL)
        all->newest = NULL;
    all->bytes -= story_bytes(s);
    tdelete(s, &all->by_id, compare_ids);
    story_free(s);
}

static struct story *find_or_open(struct stories *all, const json_t *line)
{
    struct story *fresh = story_new(&all->filter, line);
    struct story **found = tsearch(fresh, &all->by_id, compare_ids);
    assert(found != NULL);

    if (*found != fresh) {
        story_free(fresh);
        return *found;
    }
    if (all->newest != NULL)
        all->newest->newer = fresh;
    else
        all->oldest = fresh;
    all->newest = fresh;
    all->bytes += story_bytes(fresh);
    return fresh;
}

static void keep_step(struct stories *all, const char *state, const json_t *line)
{
    struct story *s = find_or_open(all, line);

    all->bytes -= story_bytes(s);
    story_add(s, state, line);
    all->bytes += story_bytes(s);
    while (all->bytes > MAX_BYTES)
        print_oldest(all);
}

static void print_step(struct stories *all, const char *state, const json_t *line)
{
    struct story *s = story_new(&all->filter, line);

    story_add(s, state, line);
    story_print(all, s);
    story_free(s);
}

/* False: an event line that does not say which event, or what became of it. */
static bool take_event(struct stories *all, const char *state_name, const json_t *line)
{
    const char *state = find_state(state_name);

    if (state == NULL || *text_of(line, "id") == '\0')
        return false;
    if (all->each_step)
        print_step(all, state, line);
    else
        keep_step(all, state, line);
    return true;
}

bool stories_read(struct stories *s, const char *line, size_t size)
{
    json_t *object = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
    const char *msg = text_of(object, "msg");
    bool is_understood = *msg != '\0';

    if (strncmp(msg, state_prefix, strlen(state_prefix)) == 0)
        is_understood = take_event(s, msg + strlen(state_prefix), object);
    json_decref(object);
    return is_understood;
}

void stories_finish(struct stories *s)
{
    while (s->oldest != NULL)
        print_oldest(s);
    free(s);
}
