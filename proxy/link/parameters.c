#include "proxy/link/parameters.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "protocol/memory.h"

struct parameters {
    atomic_uint references;
    size_t count, size;
    struct parameter list[]; /* in the order of their names; the strings are this set's own */
};

/* Most clients and servers have set nothing. Never freed: this is a reference of its own. */
static struct parameters nothing = { .references = 1 };

static struct parameters *new_set(size_t count, size_t size)
{
    struct parameters *p = or_abort(malloc(sizeof *p + count * sizeof p->list[0]));
    atomic_init(&p->references, 1);
    p->count = count;
    p->size = size;
    return p;
}

struct parameters *parameters_none(void)
{
    return parameters_retain(&nothing);
}

struct parameters *parameters_retain(struct parameters *p)
{
    atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
    return p;
}

static void free_words(const struct parameter *p)
{
    free((void *)(uintptr_t)p->name);
    free((void *)(uintptr_t)p->value);
    free((void *)(uintptr_t)p->role);
}

void parameters_release(struct parameters *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < p->count; i++)
        free_words(&p->list[i]);
    free(p);
}

static int compare(const char *name, struct span other)
{
    size_t size = strlen(name);
    int order = strncasecmp(name, other.data, size < other.size ? size : other.size);
    return order != 0 ? order : (size > other.size) - (size < other.size);
}

/* Where `name` stands, or would stand. */
static size_t find(const struct parameters *p, struct span name, bool *found)
{
    size_t low = 0, high = p->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(p->list[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct parameter copy_of(const struct parameter *p)
{
    const char *role = p->role != NULL ? memory_copy_text(p->role) : NULL;
    return (struct parameter){ memory_copy_text(p->name), memory_copy_text(p->value), role };
}

static size_t size_of(const struct parameter *p)
{
    return strlen(p->name) + strlen(p->value);
}

/* With `added` in the place of what stands there, or ahead of it. */
static size_t size_with(const struct parameters *p, size_t place, bool replaces, const struct parameter *added)
{
    return p->size + size_of(added) - (replaces ? size_of(&p->list[place]) : 0);
}

static struct parameters *without(const struct parameters *p, size_t place)
{
    if (p->count == 1)
        return parameters_none();
    struct parameters *made = new_set(p->count - 1, p->size - size_of(&p->list[place]));
    for (size_t i = 0, to = 0; i < p->count; i++)
        if (i != place)
            made->list[to++] = copy_of(&p->list[i]);
    return made;
}

/* Takes what `added` points to. */
static struct parameters *with(const struct parameters *p, size_t place, bool replaces, struct parameter added)
{
    struct parameters *made = new_set(p->count + (replaces ? 0 : 1), size_with(p, place, replaces, &added));
    for (size_t i = 0; i < place; i++)
        made->list[i] = copy_of(&p->list[i]);
    made->list[place] = added;
    for (size_t i = place + (replaces ? 1 : 0), to = place + 1; i < p->count; i++)
        made->list[to++] = copy_of(&p->list[i]);
    return made;
}

/* A set that nobody else holds need not be copied to become another one: a startup packet may bring thousands of settings. */
static bool is_ours_alone(const struct parameters *p)
{
    return atomic_load_explicit(&p->references, memory_order_acquire) == 1 && p != &nothing;
}

/* Takes what `added` points to. */
static struct parameters *put(struct parameters *take, size_t place, bool replaces, struct parameter added)
{
    struct parameters *p = take;
    p->size = size_with(p, place, replaces, &added);
    if (replaces) {
        free_words(&p->list[place]);
    } else {
        p = or_abort(realloc(p, sizeof *p + (p->count + 1) * sizeof p->list[0]));
        memmove(&p->list[place + 1], &p->list[place], (p->count - place) * sizeof p->list[0]);
        p->count++;
    }
    p->list[place] = added;
    return p;
}

static bool same_role(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

struct parameters *parameters_with_role(struct parameters *take, struct span name, struct span value, const char *role)
{
    bool found;
    size_t place = find(take, name, &found);
    if (value.data == NULL
            ? !found
            : found && span_is(value, take->list[place].value) && same_role(take->list[place].role, role))
        return take;
    struct parameters *made;
    if (value.data == NULL) {
        made = without(take, place);
    } else {
        struct parameter added = { memory_copy_span(name), memory_copy_span(value),
                                   role != NULL ? memory_copy_text(role) : NULL };
        if (is_ours_alone(take))
            return put(take, place, found, added);
        made = with(take, place, found, added);
    }
    parameters_release(take);
    return made;
}

struct parameters *parameters_with(struct parameters *take, struct span name, struct span value)
{
    return parameters_with_role(take, name, value, NULL);
}

bool parameters_equal(const struct parameters *a, const struct parameters *b)
{
    if (a == b)
        return true;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcasecmp(a->list[i].name, b->list[i].name) != 0 || strcmp(a->list[i].value, b->list[i].value) != 0)
            return false;
    return true;
}

size_t parameters_count(const struct parameters *p)
{
    return p->count;
}

size_t parameters_size(const struct parameters *p)
{
    return p->size;
}

const struct parameter *parameters_at(const struct parameters *p, size_t i)
{
    return &p->list[i];
}

const char *parameters_value(const struct parameters *p, struct span name)
{
    bool found;
    size_t place = find(p, name, &found);
    return found ? p->list[place].value : NULL;
}
