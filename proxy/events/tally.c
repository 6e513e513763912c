/* Two lists that only grow, at the front: whoever reads one walks what was there when he began, without a lock. */
#include "proxy/events/tally.h"

#include <pthread.h>
#include <string.h>

#include "protocol/memory.h"

static struct tally *_Atomic sinks;
static struct tally *_Atomic channels;
static pthread_mutex_t growing = PTHREAD_MUTEX_INITIALIZER;

static struct tally *find(struct tally *first, const char *name)
{
    while (first != NULL && strcmp(first->name, name) != 0)
        first = first->next;
    return first;
}

static struct tally *grow(struct tally *_Atomic *list, const char *name)
{
    pthread_mutex_lock(&growing);
    struct tally *first = atomic_load_explicit(list, memory_order_relaxed), *t = find(first, name);
    if (t == NULL) {
        t = or_abort(calloc(1, sizeof *t));
        t->next = first;
        t->name = memory_copy_text(name);
        atomic_store_explicit(list, t, memory_order_release);
    }
    pthread_mutex_unlock(&growing);
    return t;
}

static struct tally *find_or_grow(struct tally *_Atomic *list, const char *name)
{
    struct tally *t = find(atomic_load_explicit(list, memory_order_acquire), name);
    return t != NULL ? t : grow(list, name);
}

struct tally *tally_sink(const char *name)
{
    return find_or_grow(&sinks, name);
}

struct tally *tally_channel(const char *pattern)
{
    return find_or_grow(&channels, pattern);
}

const struct tally *tally_sinks(void)
{
    return atomic_load_explicit(&sinks, memory_order_acquire);
}

const struct tally *tally_channels(void)
{
    return atomic_load_explicit(&channels, memory_order_acquire);
}
