/* The log, read back: what became of each event.
 *
 * Lines of the JSON log come in, and lines for a person go out: either one for each step as it comes, or one for each event with all of
 * its steps, in the order in which the events were first heard of. */
#ifndef PROXY_OPS_STORY_H
#define PROXY_OPS_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What to show; NULL: all. */
struct story_filter {
    const char *channel; /* a glob */
    const char *state;   /* the last one: held, released, discarded, delivered, retry or dead */
    const char *request; /* its id, or the front of it */
};

struct stories;

struct stories *stories_new(const struct story_filter *filter, bool each_step, FILE *out);
/* One line of the log, with or without its line break. False: it is not of the JSON log. Lines about other things than events are passed
 * over. Memory stays bounded: when many stories are open, the oldest is printed and forgotten, and an event of which
 * more is heard after that gets a second line. */
bool stories_read(struct stories *s, const char *line, size_t size);
/* Prints the stories that are open, and frees everything. */
void stories_finish(struct stories *s);

bool story_is_state(const char *name);

#endif
