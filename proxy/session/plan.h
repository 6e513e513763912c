/* How a client's statement travels to the server: as what, and what its replies stand for.
 *
 * A plan is a list of steps. A CLIENT step is a statement of the client's own; an OURS step is one that pgatomic adds or puts in its
 * place (BEGIN ahead of a request's first statement, SAVEPOINT for a client's BEGIN); a LOCAL step never reaches the
 * server. A string of several statements is never split (R13): its steps become one Query, and its replies find their step by
 * counting. In the extended protocol, where a step of ours is a few messages under private names, the plan of an Execute is the
 * same list.
 *
 * Reading SQL proposes, replies decide (E2): the effect of a step happens when the server has completed it, and then the session's
 * transaction is `after`. After an error the steps that are left never happened. */
#ifndef PROXY_SESSION_PLAN_H
#define PROXY_SESSION_PLAN_H

#include "config/config.h"
#include "protocol/buffer.h"
#include "protocol/statement.h"
#include "proxy/events/event.h"
#include "proxy/session/txn.h"

enum client_transaction {
    CLIENT_NONE,
    CLIENT_LAZY,  /* the client was told BEGIN; the server has heard nothing yet */
    CLIENT_OPEN,  /* SAVEPOINT_CLIENT stands on the server */
    CLIENT_JOINED /* nested = join: it is just part of the request */
};

/* R9: the savepoint around one Query, or the messages up to a Sync. */
enum unit_savepoint {
    UNIT_NONE,
    UNIT_SET,
    UNIT_DONE,       /* its unit succeeded; the RELEASE rides with the next write */
    UNIT_EXEMPT,     /* the unit handles savepoints of its own */
    UNIT_DONE_EXEMPT /* so it does, and that of an earlier one still stands beneath the client's transaction */
};

/* Where a session stands between statements. Small, plain, copied freely. */
struct state {
    const struct route *route; /* the rules in force; NULL: autocommit */
    enum route_mode mode;
    bool marked;      /* in a marked request */
    bool outer;       /* sandbox: the transaction that is never committed is open */
    bool wrapper;     /* the request's transaction (in a sandbox: its savepoint) is open */
    bool stale_begin; /* the server still holds a client's empty BEGIN from before the request */
    enum unit_savepoint unit;
    bool read_only_sent; /* required: the server's default was switched by us */
    enum client_transaction client;
    struct statement_modes modes;       /* of a client transaction that is LAZY */
    enum statement_isolation isolation; /* the wrapper's; DEFAULT: as the server's default has it */
};

enum undo { UNDO_NONE, UNDO_UNIT, UNDO_CLIENT, UNDO_WRAPPER, UNDO_PLAIN };

enum step_kind { STEP_CLIENT, STEP_OURS, STEP_LOCAL };

enum effect {
    EFFECT_NONE,
    EFFECT_REQUEST_BEGIN,    /* name: the label; the mark's request begins */
    EFFECT_REQUEST_OPEN,     /* the wrapper's BEGIN: an unmarked request begins, unless one has */
    EFFECT_REQUEST_COMMIT,   /* COMMIT of the wrapper, or of a request that never opened one */
    EFFECT_REQUEST_ROLLBACK, /* discard */
    EFFECT_CLIENT_BEGIN,     /* a virtual client transaction begins here */
    EFFECT_CLIENT_COMMIT,
    EFFECT_CLIENT_ROLLBACK,
    EFFECT_PLAIN_COMMIT,    /* the client's own COMMIT, or PREPARE TRANSACTION; its tag tells whether it was one */
    EFFECT_PLAIN_ROLLBACK,  /* discard */
    EFFECT_SAVEPOINT,       /* name */
    EFFECT_RELEASE,         /* name */
    EFFECT_ROLLBACK_TO,     /* name, discard */
    EFFECT_HOLD,            /* name: channel, payload: both in UTF-8 */
    EFFECT_SETTING,         /* name: the setting, payload: the statement */
    EFFECT_SETTINGS_AGAIN,  /* what a rolled back request had set is set again */
    EFFECT_IMPLICIT_COMMIT, /* sandbox: the end of an implicit transaction */
    EFFECT_CURSOR,          /* name: a cursor that DECLARE opened */
    EFFECT_PREPARE,         /* name, payload: the body of a SQL-level PREPARE */
    EFFECT_DEALLOCATE,      /* name */
    EFFECT_DEALLOCATE_ALL,
    EFFECT_RESET_ALL,
    EFFECT_DISCARD_ALL,
    EFFECT_FAILED_SEEN, /* the client was told ROLLBACK for a failed request */
    EFFECT_REQUEST_OVER /* a request that had timed out, and whose client knows it now */
};

/* A range of plan.bytes. */
struct range {
    size_t at, size;
};

struct step {
    enum step_kind kind;
    enum effect effect;
    bool swallow;            /* nothing of its replies reaches the client */
    bool fails;              /* `reply` is an ErrorResponse: the string, or the messages up to Sync, end here */
    enum undo undo;          /* what has to be rolled back when it fails */
    struct range sql;        /* OURS */
    struct range reply;      /* messages in place of CommandComplete (OURS, CLIENT) or of everything (LOCAL) */
    struct range refusal;    /* what takes the place of the server's ErrorResponse */
    bool refusal_is_success; /* it is no error for the client */
    bool chains;             /* PLAIN_COMMIT, PLAIN_ROLLBACK: AND CHAIN */
    struct range name, payload;
    const struct channel *channel;
    struct range id;  /* HOLD: of a durable event, as its row has it (E8) */
    bool is_notify;   /* HOLD: its reply is the tag NOTIFY, and no row */
    bool written;     /* HOLD: its row is written in the same place, not ahead of COMMIT */
    struct range row; /* OURS: the id of the first row that it writes */
    bool rides;       /* OURS: nothing depends on whether it succeeds but its transaction (E9) */
    bool asks_xid;    /* OURS: its one row is the number of the transaction */
    enum discard_reason discard;
    struct state after;
};

/* A piece of the rewritten string that is the client's own. */
struct segment {
    size_t server_at, size;
    size_t client_characters; /* characters of the client's string before it */
};

struct plan {
    struct plan *next;   /* in the list of free ones */
    struct buffer bytes; /* what ranges point into */
    struct buffer text; /* simple protocol: the string as the server gets it; empty when it is the client's own bytes */
    struct step *steps;
    size_t step_count, step_capacity, at;
    struct segment *segments;
    size_t segment_count, segment_capacity;
    size_t prefix;         /* characters put ahead of the client's own string, when that follows unchanged */
    struct txn savepoints; /* as they will stand behind the first `replayed` steps */
    size_t replayed;
    bool replays;    /* `savepoints` is being kept */
    bool open_ended; /* `text` does not end in a semicolon */
    bool out;        /* sent, so its steps count as under way */
    bool controls;   /* replies must be in before anything else is decided */
};

void plan_reset(struct plan *p);
/* It has grown beyond what is worth keeping for the next one. */
bool plan_is_large(const struct plan *p);
void plan_free(struct plan *p);

struct step *plan_add(struct plan *p, enum step_kind kind);
/* Copies into plan.bytes. */
struct range plan_keep(struct plan *p, struct span s);
static inline struct span plan_span(const struct plan *p, struct range r)
{
    return r.size > 0 ? span_make(p->bytes.data + r.at, r.size) : (struct span){ 0 };
}
/* Simple protocol: the client's own slice, or a statement of ours, behind what plan.text already holds. */
void plan_append_client(struct plan *p, struct span slice, size_t client_characters);
void plan_append_ours(struct plan *p, struct span sql);

/* Where the client would see an error that the server reports at character `position` (from 1) of the string it got; 0: nowhere. */
size_t plan_client_position(const struct plan *p, const struct encoding *encoding, size_t position);

#endif
