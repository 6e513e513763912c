/* From a StartupMessage for a pool to the first ReadyForQuery: pgatomic authenticates the client and greets it (P3, P9).
 *
 *     client                      pgatomic                                        a server of the pool
 *     StartupMessage          ->
 *                             <-  NegotiateProtocolVersion, if it asked for more than there is
 *                             <-  Authentication…, as the client's method says
 *     password, SASL…         ->
 *                                 the client's settings, unless it is known      ->
 *                                 what a server says to them                     <-
 *                             <-  AuthenticationOk, ParameterStatus…, BackendKeyData, ReadyForQuery */
#ifndef PROXY_POOL_POOLED_LOGIN_H
#define PROXY_POOL_POOLED_LOGIN_H

#include "protocol/message.h"

struct client;
struct pooled_login;

/* The client's StartupMessage has been read, and its database has a pool, or is the console. pooled_login_start() follows when the client's input has been
 * kept, unless it was refused. */
void pooled_login_begin(struct client *c, const struct message_startup *m);
void pooled_login_start(struct client *c);
void pooled_login_free(struct pooled_login *l); /* NULL: nothing */

/* The server that it has for its greeting has said something. */
void pooled_login_on_server_input(struct client *c);
/* It has got one. */
void pooled_login_on_granted(struct client *c);

#endif
