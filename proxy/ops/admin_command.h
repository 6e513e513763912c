/* What an administrator may type: one statement of the console, understood. */
#ifndef PROXY_OPS_ADMIN_COMMAND_H
#define PROXY_OPS_ADMIN_COMMAND_H

#include "config/config.h"
#include "protocol/buffer.h"
#include "proxy/ops/admin_table.h"

enum admin_verb {
    ADMIN_EMPTY, /* nothing but white space and comments */
    ADMIN_POLITE, /* what drivers say on their own (BEGIN, SET client_encoding, DISCARD ALL, …): answered, and nothing else */
    ADMIN_SHOW, /* table */
    ADMIN_RELOAD,
    ADMIN_PAUSE,          /* name: the database; "": all of them */
    ADMIN_RESUME,         /* likewise */
    ADMIN_RECONNECT,      /* likewise */
    ADMIN_KILL,           /* id: of the client */
    ADMIN_SHUTDOWN,       /* now */
    ADMIN_SHUTDOWN_WAIT,  /* when each client is between requests */
    ADMIN_SET_ROUTE_MODE, /* name: the route; mode */
    ADMIN_UNKNOWN,        /* other consoles have it; name: what takes its place here */
    ADMIN_WRONG           /* name: why */
};

enum { ADMIN_NAME_SIZE = 200, ADMIN_TAG_SIZE = 32 };

struct admin_command {
    enum admin_verb verb;
    const struct admin_table *table;
    char name[ADMIN_NAME_SIZE];
    uint64_t id;
    enum route_mode mode;
    char tag[ADMIN_TAG_SIZE]; /* of CommandComplete */
};

/* The statement that begins at *at, which moves behind its semicolon. False: there is none left. */
bool admin_command_next(struct span text, size_t *at, struct admin_command *out);

#endif
