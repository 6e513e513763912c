/* A queue with a way out for everybody in it. */
#include "proxy/pool/strangers.h"

void strangers_init(struct strangers *all)
{
    *all = (struct strangers){ .last = &all->first };
}

void stranger_join(struct stranger *s, struct strangers *all, struct client *c)
{
    *s = (struct stranger){ .among = all, .link = all->last, .client = c };
    *s->link = s;
    all->last = &s->next;
    all->count++;
}

void stranger_leave(struct stranger *s)
{
    struct strangers *all = s->among;
    if (all == NULL)
        return;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    else
        all->last = s->link;
    all->count--;
    s->among = NULL;
}

struct client *strangers_surplus(const struct strangers *all, size_t limit)
{
    return all->count > limit ? all->first->client : NULL;
}
