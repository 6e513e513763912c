/* Each order is a question to all workers (worker.h): most of them have nothing to do. */
#include "proxy/ops/admin_order.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/ops/process.h"
#include "proxy/pool/client.h"

struct admin_order {
    struct admin_command command;
    void (*on_done)(void *context, const struct admin_outcome *outcome); /* NULL: nobody waits */
    void *context;
    bool found;    /* the client of KILL */
    char *refusal; /* why it could not be done */
    char *notice;  /* what has not come true of it */
};

static void kill_client(struct admin_order *o, struct worker *w)
{
    for (struct client *c = w->clients; c != NULL; c = client_next(c))
        if (c->id == o->command.id && c->state != CLIENT_CLOSING) {
            o->found = true;
            client_shut_down(c);
            return;
        }
}

static void act_for_process(struct admin_order *o)
{
    const struct process_orders *process = process_orders();
    if (o->command.verb == ADMIN_RELOAD)
        o->refusal = process->reload(&o->notice);
    else if (o->command.verb == ADMIN_SET_ROUTE_MODE)
        o->refusal = process->set_route_mode(o->command.name, o->command.mode);
    else if (o->command.verb == ADMIN_SHUTDOWN)
        process->stop();
    else if (o->command.verb == ADMIN_SHUTDOWN_WAIT)
        process->drain();
}

static void act(void *context, struct worker *w)
{
    struct admin_order *o = context;
    if (o->command.verb == ADMIN_KILL)
        kill_client(o, w);
    else if (&w->loop == workers_first_loop())
        act_for_process(o);
}

static struct admin_outcome outcome_of(const struct admin_order *o, char text[64])
{
    if (o->command.verb == ADMIN_KILL && !o->found) {
        snprintf(text, 64, "there is no client with the id %llu", (unsigned long long)o->command.id);
        return (struct admin_outcome){ "42704", text, NULL };
    }
    return (struct admin_outcome){ o->command.verb == ADMIN_RELOAD ? "F0000" : "42704", o->refusal, o->notice };
}

static void on_asked(void *context)
{
    struct admin_order *o = context;
    char text[64];
    struct admin_outcome outcome = outcome_of(o, text);
    if (o->on_done != NULL)
        o->on_done(o->context, &outcome);
    free(o->refusal);
    free(o->notice);
    free(o);
}

struct admin_order *admin_order_give(struct worker *home, const struct admin_command *command,
                                     void (*on_done)(void *context, const struct admin_outcome *outcome), void *context)
{
    struct admin_order *o = or_abort(malloc(sizeof *o));
    *o = (struct admin_order){ .command = *command, .on_done = on_done, .context = context };
    if (workers_ask(&home->loop, act, on_asked, o))
        return o;
    free(o);
    return NULL;
}

void admin_order_forget(struct admin_order *o)
{
    if (o != NULL)
        o->on_done = NULL;
}
