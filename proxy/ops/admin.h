/* The admin console: a database called "pgatomic" on the same addresses as all others, for the users in `admin_users`.
 *
 * It speaks the simple and the extended protocol, as far as psql and drivers need for statements without parameters. What it answers is
 * gathered from all workers; until an answer has come, its client is not read from. */
#ifndef PROXY_OPS_ADMIN_H
#define PROXY_OPS_ADMIN_H

#include "config/config.h"
#include "protocol/buffer.h"

struct admin;
struct client;

/* Whether a client that asks for this database asks for the console. It exists when there are admin_users. */
bool admin_is_console(const struct config *c, const char *database);

/* Whose users its own are, where users are asked for: the first that has a connection to ask on, else the first of all. */
const struct database *admin_database(const struct config *c);
/* With passthrough pgatomic knows no passwords, and nobody else can be asked: then the system has to vouch for the peer. */
bool admin_is_vouched_for(const struct client *c);
/* The client has asked for the console, and shown who it is: it is let in, as CLIENT_ADMIN, or refused. What it is told begins with what
 * stands in `said`. */
void admin_begin(struct client *c, struct buffer *said);
/* Drops what is under way; NULL: nothing. */
void admin_free(struct admin *a);

/* In CLIENT_ADMIN: */
void admin_on_client_input(struct client *c);
/* An answer is on its way. */
bool admin_is_busy(const struct admin *a);

#endif
