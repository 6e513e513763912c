/* The inside of the console: admin.c (the conversation and its statements) and admin_extended.c (the extended protocol), and nobody
 * else. */
#ifndef PROXY_OPS_ADMIN_PART_H
#define PROXY_OPS_ADMIN_PART_H

#include "proxy/ops/admin.h"
#include "proxy/ops/admin_order.h"
#include "proxy/ops/census.h"

/* A prepared statement, or a portal. */
struct admin_named {
    struct admin_named *next;
    char kind; /* 'S' or 'P' */
    char *name, *text;
    uint64_t binary;    /* of a portal: bit n: column n is wanted in binary */
    struct buffer rows; /* of a portal: what an Execute with a limit has left over, from `rows_at` on */
    size_t rows_at;
    bool suspended;
};

struct admin {
    struct client *client;
    char *user;
    struct admin_named *names;
    size_t name_count;
    struct buffer out;

    struct admin_command command; /* of the statement under way */
    uint64_t binary;              /* how its columns are wanted */
    bool describes;               /* simple protocol: its rows come with their description */
    struct admin_named *portal;   /* extended protocol: that is executed */
    uint32_t max_rows;            /* of it; 0: all */
    struct snapshot_question *question;
    struct census *census;
    struct admin_order *order;
    bool pausing;
    bool busy;

    char *query; /* simple protocol: the string under way; NULL: none */
    size_t query_at;
    bool query_empty;
    bool skipping; /* extended protocol: to the next Sync, after an error */
};

/* --- admin.c -------------------------------------------------------------------------------------------- */

/* Runs a->command: done at once, or busy from now on. */
void admin_execute(struct admin *a);
void admin_complete(struct admin *a, const char *tag);
/* What follows is not run: the rest of the string, or what comes up to the next Sync. */
void admin_fail(struct admin *a, const char *sqlstate, const char *message);
/* It cannot be done, whatever the state of things. */
void admin_fail_as_read(struct admin *a, const struct admin_command *c);

/* --- admin_extended.c ----------------------------------------------------------------------------------- */

/* The bodies of messages. False: they are malformed. */
bool admin_on_parse(struct admin *a, struct span body);
bool admin_on_bind(struct admin *a, struct span body);
bool admin_on_describe(struct admin *a, struct span body);
bool admin_on_execute(struct admin *a, struct span body);
bool admin_on_close(struct admin *a, struct span body);
/* As many rows as the Execute under way wants, of those that its portal keeps: DataRow messages. */
void admin_send_rows(struct admin *a, struct admin_named *portal);
void admin_forget_names(struct admin *a);

#endif
