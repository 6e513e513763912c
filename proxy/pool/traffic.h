/* What goes between a client and its server once they talk: bytes in, frames to the session, its actions performed. */
#ifndef PROXY_POOL_TRAFFIC_H
#define PROXY_POOL_TRAFFIC_H

#include <stdint.h>

#include "protocol/span.h"

struct client;

/* No message of the upstream is longer than what PostgreSQL can allocate. */
enum { TRAFFIC_SERVER_LIMIT = 0x3fffffff };

/* CLIENT_SESSION or CLIENT_RAW has begun in the middle of the server's `input`, of which `used` bytes have been looked at. */
void traffic_begin(struct client *c, struct span input, size_t used);

/* In CLIENT_SESSION: */
void traffic_on_client_input(struct client *c);
void traffic_on_server_input(struct client *c);
void traffic_on_deadline(struct client *c, uint64_t deadline_us);
void traffic_shut_down(struct client *c);
/* Closes the server without waiting for anything; its request and events are settled. */
void traffic_cut(struct client *c);
/* It may be closed now, for nothing of its would be lost. */
bool traffic_is_between_requests(const struct client *c);

/* In CLIENT_RAW: */
void traffic_pass_client_input(struct client *c);
void traffic_pass_server_input(struct client *c);

/* Performs and clears the worker's actions. */
void traffic_perform(struct client *c);

/* --- for pooled.c -------------------------------------------------------------------------------- */

struct actions;

/* Hands the session bytes that are, or stand for, a server's; how many it has taken. To be performed, unless nothing has to be: ordinary
 * replies that are the `last` of their batch leave at once. */
size_t traffic_hear(struct client *c, struct span bytes, bool last);
/* A batch of the server's, or a wait, has ended: performs, if there is something to perform. */
void traffic_end_hearing(struct client *c);
/* No server is to be had for what the session has said: it is told, and what comes of that is performed. */
void traffic_refuse(struct client *c, const char *sqlstate, const char *message);
/* Something has changed: what the session would not take is offered again, and all is performed. */
void traffic_resume(struct client *c);
/* Closes the server. To be performed. */
void traffic_lose_server(struct client *c, const char *words);
/* Sends the actions' bytes. */
void traffic_send_to_server(struct client *c, const struct actions *a);

#endif
