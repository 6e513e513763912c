/* HTTP, for people and machines that watch: metrics, health, the newest events, the live page. It changes nothing and knows no users: who
 * can reach the address may read. On the first worker's loop.
 *
 *     GET /              the live page (/page.css, /page.js, /state.json)
 *     GET /metrics       Prometheus' text format
 *     GET /events        the newest events as JSON
 *     GET /healthz       200: the process is alive
 *     GET /readyz        200: clients would be served; 503 and why not
 */
#ifndef PROXY_OPS_HTTP_H
#define PROXY_OPS_HTTP_H

#include "config/config.h"
#include "proxy/net/loop.h"

/* Serves as `config` says, instead of as before; nothing when it says that HTTP is off. False: the address could not be had, `error` says
 * why, and the one before stays. */
bool http_open(struct loop *l, struct config *config, char *error, size_t error_size);
/* The socket on which it listens; -1: it is off. */
int http_descriptor(void);
/* From now on clients are being sent away: not ready. */
void http_drain(void);
/* Answers what is asked, and ends. */
void http_close(void);

#endif
