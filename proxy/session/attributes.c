#include "proxy/session/attributes.h"

#include <search.h>
#include <stdint.h>
#include <string.h>

#include "protocol/memory.h"

struct shared {
    struct request_attributes words; /* comes first, so that the tree can be searched for what has only that */
    size_t references;
    char text[]; /* what `words` points into */
};

static int compare_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return (a != NULL) - (b != NULL);
    return strcmp(a, b);
}

static int compare(const void *one, const void *other)
{
    const struct request_attributes *a = one, *b = other;
    int order = compare_text(a->application, b->application);
    order = order != 0 ? order : compare_text(a->database, b->database);
    order = order != 0 ? order : compare_text(a->user, b->user);
    return order != 0 ? order : compare_text(a->label, b->label);
}

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* Moves `*to` behind the copy. */
static const char *copy_text(char **to, const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = *to;
    *to = stpcpy(copy, text) + 1;
    return copy;
}

static struct shared *new_shared(const struct request_attributes *words)
{
    size_t size = size_of(words->database) + size_of(words->user) + size_of(words->application) + size_of(words->label);
    struct shared *made = or_abort(calloc(1, sizeof *made + size));
    char *to = made->text;
    made->words.database = copy_text(&to, words->database);
    made->words.user = copy_text(&to, words->user);
    made->words.application = copy_text(&to, words->application);
    made->words.label = copy_text(&to, words->label);
    return made;
}

const struct request_attributes *attributes_share(struct shared_attributes *all, const struct request_attributes *words)
{
    if (all == NULL)
        return &new_shared(words)->words;
    struct shared **found = tfind(words, &all->tree, compare);
    struct shared *s = found != NULL ? *found : new_shared(words);
    if (found == NULL)
        or_abort(tsearch(s, &all->tree, compare));
    s->references++;
    return &s->words;
}

void attributes_release(struct shared_attributes *all, const struct request_attributes *take)
{
    struct shared *s = (struct shared *)(uintptr_t)take;
    if (all != NULL && --s->references > 0)
        return;
    if (all != NULL)
        tdelete(take, &all->tree, compare);
    free(s);
}
