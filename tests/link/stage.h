/* Where links are tried: a few clients, a few servers, and the bytes between them.
 *
 * The stage plays the shell's part of link.h's bargain, for clients `a`, `b`, … and servers `1`, `2`, …; what they are sent piles up
 * until the story asks for it. Bytes travel as `cut` says, and nothing may depend on that. */
#ifndef TESTS_LINK_STAGE_H
#define TESTS_LINK_STAGE_H

#include "proxy/link/link.h"

enum { STAGE_CLIENTS = 4, STAGE_SERVERS = 4 };

enum { CUT_NOWHERE = 0, CUT_EVERYWHERE = 1 /* n above it: once, behind the first n - 1 bytes */ };

struct stage_server {
    struct link_server *server;
    struct buffer got; /* from links */
};

struct stage_client {
    struct link *link;
    struct stage_server *at; /* NULL: no server is attached */
    struct parameters *base;
    struct link_start start;
    const char *pinned;  /* why; NULL: it is not */
    struct buffer input; /* from its server, what nobody is done with */
    struct buffer got;   /* what its session is handed */
};

struct stage {
    struct statements *statements;
    struct stage_client clients[STAGE_CLIENTS];
    struct stage_server servers[STAGE_SERVERS];
    struct actions actions;
    size_t cut;
};

void stage_open(struct stage *s, size_t cut);
void stage_close(struct stage *s);

/* `start`: its kind; statements, base and on_pinned are the stage's. `settings` is taken. */
void stage_add_client(struct stage *s, struct stage_client *c, struct link_start start,
                      struct parameters *settings_take);
void stage_attach(struct stage *s, struct stage_client *c, struct stage_server *to);
void stage_detach(struct stage_client *c);
/* Its link sleeps and wakes up, when the config has come to say otherwise of every new client; false: it may not sleep. */
bool stage_sleep(struct stage_client *c);
bool stage_end(struct stage *s, struct stage_client *c);
void stage_cancelled(struct stage *s, struct stage_client *c);
void stage_client_sends(struct stage *s, struct stage_client *c, struct span bytes);
/* To whichever client it is attached to; false: none. */
bool stage_server_sends(struct stage *s, struct stage_server *from, struct span bytes);

#endif
