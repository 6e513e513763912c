/* The prepared statements and portals that mean something to a session.
 *
 * Ordinary ones are the server's business and are not kept here; so for almost every client these lists are empty, and a look-up costs
 * a comparison. What is kept is whatever a rule speaks of: transaction control, marks, notifications, session commands.
 *
 * A Parse is believed before its ParseComplete, and undone when an error makes the server skip it: names_undo().
 *
 * Lists are short, and stay so: who is about to add to one that has NAMES_MAX entries refuses (names_are_many). */
#ifndef PROXY_SESSION_NAMES_H
#define PROXY_SESSION_NAMES_H

#include "protocol/statement.h"

enum { NAMES_MAX = 1000, NAMES_BYTES_MAX = 16 * 1024 * 1024 /* of the texts of statements */ };

enum { PREPARED_TYPES_MAX = 3 }; /* no statement that is kept here has more parameters */

struct prepared {
    struct prepared *next;
    char *name; /* "": the unnamed statement */
    char *text; /* owned; `statement` points into it */
    size_t text_size;
    struct statement statement;
    uint32_t types[PREPARED_TYPES_MAX]; /* of its parameters, as Parse declared them; 0: not declared */
    bool on_server;                     /* false: answered by pgatomic, the server has never heard of it */
    bool confirmed;                     /* its ParseComplete was seen */
    bool closing;                       /* a Close is out: gone, unless an error makes the server skip it */
    uint64_t unit;                      /* the one (up to a Sync) in which it was parsed */
    uint64_t closed_in;                 /* that in which it is closed */
    int references;
};

/* What a portal of a special statement was bound to: its parameters, decoded to UTF-8 where they are events. */
struct portal {
    struct portal *next;
    char *name; /* "": the unnamed portal */
    struct prepared *prepared;
    enum statement_kind kind; /* a set_config is a mark or none, depending on what was bound */
    uint16_t result_format;   /* 0 text, 1 binary */
    bool on_server;
    bool known;           /* the values below could be read */
    struct buffer values; /* first the value of args[0], then that of args[1] */
    size_t first_size;    /* bytes of the first */
    bool done;            /* its one row was given */
    uint64_t unit;        /* the one (up to a Sync) in which it was bound */
};

/* A named portal or a cursor of the client's inside a wrapper, to be closed when its own transaction would have ended. */
struct cursor {
    struct cursor *next;
    char *name;
    bool in_client; /* opened in a client transaction */
    bool at_sync;   /* a protocol portal opened outside one: goes at the next Sync (R14) */
};

struct names {
    struct prepared *prepared; /* newest first */
    struct portal *portals;
    struct cursor *cursors;
    size_t prepared_count, portal_count, cursor_count, prepared_bytes;
};

/* One of the lists is as long as it may be, or holds as much. */
static inline bool names_are_many(const struct names *n)
{
    return n->prepared_bytes >= NAMES_BYTES_MAX || n->prepared_count >= NAMES_MAX || n->portal_count >= NAMES_MAX ||
           n->cursor_count >= NAMES_MAX;
}

void names_free(struct names *n);

/* Parses nothing: `statement` was found in `text`, which is copied. An unnamed one takes the place of the older. */
struct prepared *names_prepare(struct names *n, struct span name, struct span text, const struct sql_options *options);
/* NULL: an ordinary statement, or none. */
struct prepared *names_find(const struct names *n, struct span name);
void names_forget(struct names *n, struct span name);
void names_forget_all(struct names *n);
/* The server has dropped the statement, or with NULL all of them: those of which it has spoken. What it has yet to answer was parsed
 * behind that, and stays. */
void names_deallocate(struct names *n, const struct span *name);
/* A Close is on its way, in `unit`, of whatever has the name: of one that is not confirmed, and of what it may not have replaced. The
 * newest of them, even if it was to be closed already; NULL: there is none. */
struct prepared *names_close(struct names *n, struct span name, uint64_t unit);
/* And it is done: with p goes what was closed together with it. */
void names_forget_one(struct names *n, struct prepared *p);
/* An error in `unit`: what was parsed there and not confirmed, or bound there, does not exist; what was to be closed there does. */
void names_undo(struct names *n, uint64_t unit);
/* Its ParseComplete was seen: what it shadowed is gone. */
void names_confirm(struct names *n, struct prepared *p);
void prepared_release(struct prepared *p);

struct portal *names_bind(struct names *n, struct span name, struct prepared *prepared);
struct portal *names_portal(const struct names *n, struct span name);
void names_unbind(struct names *n, struct span name);
/* Those of the units before `unit`. */
void names_unbind_before(struct names *n, uint64_t unit);
void names_unbind_all(struct names *n);

void names_add_cursor(struct names *n, struct span name, bool in_client, bool at_sync);
void names_drop_cursor(struct names *n, struct span name);

#endif
