/* Bounds for the connections of an evhttp: how many there are, and how long each takes.
 *
 * evhttp's own timeout starts anew with each byte, so whoever sends a byte now and then stays for ever. Here the time for a whole request
 * head is bounded, and that in which an answer has to be made and taken. When there are too many connections, the one
 * whose time would be up first makes room for the newest. */
#ifndef PROXY_OPS_HTTP_GUARD_H
#define PROXY_OPS_HTTP_GUARD_H

#include <event2/http.h>

#include "proxy/net/loop.h"

enum { HTTP_CONNECTIONS_MOST = 64, HTTP_HEAD_S = 10, HTTP_ANSWER_S = 30 };

struct http_guard;

/* Watches over the connections that `http` accepts from now on. */
struct http_guard *http_guard_new(struct loop *l, struct evhttp *http);
/* This request was read: its connection gets time for the answer, and then for another head. */
void http_guard_on_request(struct http_guard *g, struct evhttp_request *request);
/* After evhttp_free(). */
void http_guard_free(struct http_guard *g);

#endif
