#include "proxy/pool/asleep.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/pool/login.h"
#include "proxy/pool/pooled.h"
#include "proxy/session/session.h"

/* AWAKE_MOST: of a worker, whether they do something or not, before any has to sleep; what they cost is bounded by that. The others are
 * looked at a few in a turn. */
enum { AWAKE_MOST = 100, LOOKED_AT_MOST = 16 };

/* Its names, settings and prepared statements are in there, in whatever form the link and the session keep them. */
struct client_asleep {
    struct pool *pool;
    struct cancel_key *key;
    struct link_asleep link;
    struct session_asleep session;
};

/* With its event, its key and its name that is all of an idle client, and there may be ten thousand of them. */
_Static_assert(sizeof(struct client) + sizeof(struct client_asleep) <= 456, "an idle client has to stay small");

/* What is known only while something goes on, so that nothing of it has to be kept. */
static bool is_still(const struct client *c)
{
    bool quiet = c->cancel == NULL && c->question == NULL && c->deadline_us == 0 && c->deferred.size == 0;
    bool between = c->stream.left == 0 && !c->stream.whole && c->replies.left == 0;
    bool sound = conn_is_open(&c->conn) && !c->conn.broken && !c->conn.ending;
    bool listened_to = !(c->held | c->terminated | c->deaf | c->lost);
    return quiet && between && sound && listened_to && c->conn.in.size == 0 && conn_queued(&c->conn) == 0;
}

bool client_sleep(struct client *c)
{
    if (c->state != CLIENT_SESSION || c->worker->phase != WORKER_RUNNING || !is_still(c))
        return false;
    if (!pooled_may_sleep(c) || !session_may_sleep(c->session))
        return false;
    struct client_asleep *a = or_abort(malloc(sizeof *a));
    a->pool = c->pooled->pool;
    a->key = c->pooled->key;
    pooled_sleep(c, &a->link);
    session_sleep(c->session, &a->session);
    c->session = NULL;
    client_end_timer(c);
    c->asleep = a;
    client_log(c, LOG_DEBUG, "client state", "asleep");
    return true;
}

void client_wake(struct client *c)
{
    struct client_asleep *a = c->asleep;
    struct session_start start = login_session_start(c);
    c->asleep = NULL;
    c->session = session_wake(&a->session, &start);
    pooled_wake(c, a->pool, a->key, &a->link);
    free(a);
    client_log(c, LOG_DEBUG, "client state", "awake");
}

/* Who has spoken since it was looked at last is let be. */
void clients_doze(struct worker *w)
{
    if (w->awake_count <= AWAKE_MOST)
        return;
    size_t spare = w->awake_count - AWAKE_MOST;
    for (size_t n = spare < LOOKED_AT_MOST ? spare : LOOKED_AT_MOST; n > 0; n--) {
        struct client *c = pooled_next_awake(w);
        if (!c->has_stirred)
            client_sleep(c);
        c->has_stirred = false;
    }
}

bool client_tell_facts(const struct client *c, struct session_facts *out)
{
    if (c->asleep != NULL)
        session_tell_facts_asleep(&c->asleep->session, out);
    else if (c->session != NULL)
        session_tell_facts(c->session, out);
    return c->asleep != NULL || c->session != NULL;
}
