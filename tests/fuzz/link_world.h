/* Two clients with their links, two pooled servers, and the shell between them, which keeps the bargain of link.h as proxy/pool/pooled.c does.
 *
 * What must hold, whatever is said, is checked here as it happens; what must hold at the end, by the fuzz target. */
#ifndef TESTS_FUZZ_LINK_WORLD_H
#define TESTS_FUZZ_LINK_WORLD_H

#include "proxy/link/link.h"
#include "tests/fuzz/link_postgres.h"

enum { SIDES = 2, NOBODY = -1 };

struct upstream {
    struct small_postgres v;
    struct link_server *record;
    int owner; /* the side that has it, or NOBODY */
};

struct side {
    struct link *link;
    struct upstream *upstream;
    struct buffer backlog; /* for a server that it waits for */
    struct buffer kept;    /* the server's bytes that nobody is done with */
    struct buffer shown;   /* what the session got, up to the last whole message */
    struct buffer rest;    /* of the message that the client has begun */
    size_t said, messages; /* to the link */
    size_t asked, ready;   /* ReadyForQuery */
    size_t listening;      /* answers that the listener owes */
    bool uncertain;        /* how many it gets: an error may skip a Query, COPY a Sync */
    unsigned type, row;    /* of the column: as it was described last, and as it was when the last row came */
    bool outdated;         /* it was told that a statement's columns have changed */
    bool in_pipeline;
    bool gone, pinned;
    bool cut_short; /* it has gone in the middle of a message */
};

struct world {
    struct statements *statements;
    struct parameters *base;
    struct actions out;
    struct side sides[SIDES];
    struct upstream upstreams[SIDES];
    unsigned rules, turn, piece;
    bool lied, strange;
    size_t size, sent;
};

enum { KEEPS_SERVER = 1, PREPARES_UNNAMED = 2, HAS_LISTENER = 4, HAS_BASE = 8 };

void world_init(struct world *w, unsigned rules, size_t input_size);
void world_free(struct world *w);
/* Nobody has lied, and the client has said nothing but what a session would let it say. */
static inline bool world_is_honest(const struct world *w)
{
    return !w->lied && !w->strange;
}

/* --- clients ---------------------------------------------------------------------------------------- */

/* The client says a message, of which the last `held_back` bytes come with the next. */
void world_say(struct world *w, struct side *s, struct buffer *made_take, size_t held_back);
/* It goes; another takes its place when its server is free again. */
void world_leave(struct world *w, struct side *s);
/* The next client of that side, with these settings of its own. */
void world_replace_link(struct world *w, struct side *s, struct parameters *base);
/* A server is to be had: that number, if the client waits and it is free. */
void world_attach(struct world *w, struct side *s, unsigned number);
/* The client's wait for a server has ended without one. */
void world_refuse(struct side *s);
void world_cancel(struct world *w, struct side *s);
void world_hear_channel(struct world *w, struct side *s, bool ok);

/* --- servers ---------------------------------------------------------------------------------------- */

/* The server reads all that it was sent; `choices` is its luck. */
void world_answer(struct upstream *u, struct span choices);
/* So many bytes of its answers arrive. */
void world_arrive(struct world *w, struct upstream *u, size_t size);
/* Of those on their way, a byte is another one. */
void world_lie(struct world *w, struct side *s, unsigned at, unsigned value);
/* The server is lost, and the client with it, as its session would have it. */
void world_lose_server(struct world *w, struct side *s);
/* All that is under way arrives. */
void world_settle(struct world *w);

#endif
