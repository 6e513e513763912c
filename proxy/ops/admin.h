/* The admin console: a database called "pgatomic" on the same addresses as all others, for the users in `admin_users`, who may give orders,
 * and those in `stats_users`, who may look.
 *
 * It speaks the simple and the extended protocol, as far as psql and drivers need for statements without parameters. What it answers is
 * gathered from all workers; until an answer has come, its client is not read from. */
#ifndef PROXY_OPS_ADMIN_H
#define PROXY_OPS_ADMIN_H

#include "config/config.h"
#include "protocol/buffer.h"

struct admin;
struct client;

#define ADMIN_DATABASE "pgatomic"

/* Whether a client that asks for this database asks for the console. It exists when there is somebody to use it. */
bool admin_is_console(const struct config *c, const char *database);

/* Whose users its own are, where users are asked for: the first that has a connection to ask on, else the first of all. */
const struct database *admin_database(const struct config *c);
/* With passthrough pgatomic knows no passwords, and nobody else can be asked: then the system has to vouch for the peer. */
bool admin_is_vouched_for(const struct client *c);
/* The client has asked for the console, and shown who it is: it is let in, as CLIENT_ADMIN, or refused. What it is told begins with what
 * stands in `said`. */
void admin_begin(struct client *c, struct buffer *said);
/* The client goes: what is under way is dropped, and a PAUSE that has not come true yet is taken back. */
void admin_abandon(struct admin *a);
void admin_free(struct admin *a); /* NULL: nothing */

/* In CLIENT_ADMIN: */
const char *admin_user(const struct admin *a);
void admin_on_client_input(struct client *c);
/* False while an answer is on its way, but for one that may take long: then it is looked whether the client is still there. */
bool admin_wants_input(const struct admin *a);

#endif
