/* Between the session and the model, for scenarios in which servers are shared: a link, a few models, and a neighbour who uses them, too.
 *
 * The session must not notice: whatever server its next transaction runs on, the oracle, which knows of one server alone, says what its
 * client sees. */
#ifndef TESTS_SIMULATION_POOLED_H
#define TESTS_SIMULATION_POOLED_H

#include "proxy/link/link.h"
#include "tests/simulation/backend.h"
#include "tests/simulation/random.h"
#include "tests/simulation/shell.h"

enum { POOLED_SERVERS = 3 };

struct pooled_server {
    struct link_server *server;
    struct backend *model;
};

struct pooled {
    struct chance chance;
    struct statements *statements;
    struct parameters *nothing;
    struct link *link, *neighbour;
    bool prepares_unnamed; /* the link does */
    bool sleepy;           /* and it sleeps, and wakes up, whenever it may */
    struct pooled_server servers[POOLED_SERVERS];
    struct pooled_server *at; /* NULL: no server is attached */
    struct actions actions;
    struct buffer to_model; /* never cleared */
    struct buffer input;    /* of the link, from the model */
};

/* A setting with a dot in its name is known to a server from its first SET on, whosever that is. This one knows them all. */
void pooled_know_settings(struct backend *model);

void pooled_open(struct pooled *p, struct committed *kept, uint64_t seed);
void pooled_close(struct pooled *p);

/* From the session. True: another server has been attached for that. */
bool pooled_client_sends(struct pooled *p, struct span bytes);
/* From the attached server; what comes of it goes to the session. */
void pooled_server_sends(struct pooled *p, struct span bytes, struct shell *shell);
/* Nothing is on its way anywhere. The server may be left then. */
void pooled_rest(struct pooled *p);
/* The client has gone, when so much of the server's output had been handed over: NULL, or what is wrong with the server that it leaves. */
const char *pooled_end(struct pooled *p, size_t heard);

#endif
