/* Lists of letters, and the memory of what failed.
 *
 * The thread that finds out that a letter failed and the loop that hands letters over do not see each other's doings at once: when
 * the loop hears of a failure, it may have handed over more of that channel, which must not be published ahead of it. Each report of failures
 * has a number, each letter says which report was known when it came, and a channel's failure forbids what came without knowing. */
#include "proxy/events/amqp_letter.h"

#include "protocol/memory.h"

void letters_init(struct letters *list)
{
    *list = (struct letters){ .last = &list->first };
}

void letters_add(struct letters *list, struct letter *letter_take)
{
    letter_take->next = NULL;
    *list->last = letter_take;
    list->last = &letter_take->next;
}

struct letter *letters_take_first(struct letters *list)
{
    struct letter *letter = list->first;
    list->first = letter->next;
    if (list->first == NULL)
        list->last = &list->first;
    return letter;
}

void letters_move(struct letters *from, struct letters *to)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    letters_init(from);
}

void letter_free(struct letter *letter)
{
    if (letter->owner_free != NULL)
        letter->owner_free(letter->owner);
    free(letter->returned);
    free(letter->reason);
    free(letter);
}

void letters_free(struct letters *list)
{
    while (list->first != NULL)
        letter_free(letters_take_first(list));
}

/* --- failures -------------------------------------------------------------------------------------- */

struct failed_channel {
    struct failed_channel *next;
    uint64_t report;
    char name[];
};

static bool keeps_order(const struct letter *letter)
{
    return letter->delivery->event->channel->ordering == ORDERING_CHANNEL;
}

void failures_add(struct failures *f, const struct letter *letter, uint64_t report)
{
    const char *name = letter->delivery->event->name;
    struct failed_channel **c = &f->first;
    if (!keeps_order(letter))
        return;
    while (*c != NULL && strcmp((*c)->name, name) != 0)
        c = &(*c)->next;
    if (*c == NULL) {
        size_t size = strlen(name) + 1;
        *c = or_abort(malloc(sizeof **c + size));
        (*c)->next = NULL;
        memcpy((*c)->name, name, size);
    }
    (*c)->report = report;
}

bool failures_forbid(const struct failures *f, const struct letter *letter)
{
    if (f->first == NULL || !keeps_order(letter))
        return false;
    for (const struct failed_channel *c = f->first; c != NULL; c = c->next)
        if (c->report > letter->seen && strcmp(c->name, letter->delivery->event->name) == 0)
            return true;
    return false;
}

void failures_forget(struct failures *f, uint64_t seen)
{
    for (struct failed_channel **c = &f->first; *c != NULL;) {
        struct failed_channel *old = *c;
        if (old->report > seen) {
            c = &old->next;
            continue;
        }
        *c = old->next;
        free(old);
    }
}
