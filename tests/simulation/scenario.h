/* The worlds that the simulator's clients live in: rules, channels, and what the clients like to do. */
#ifndef TESTS_SIMULATION_SCENARIO_H
#define TESTS_SIMULATION_SCENARIO_H

#include "config/config.h"
#include "tests/simulation/client.h"

struct scenario {
    const char *name;
    const char *rules; /* of the connection's own route, as in a config file */
    struct client_habits habits;
    bool patient; /* waits for every answer */
    bool sandbox; /* nothing is ever committed */
    bool durable; /* all events are rows of the outbox, and transactions with events are asked for their number */
    bool pooled;  /* transactions run on whichever server is free */
    struct config *config;
};

/* Reads the rules of all scenarios; exits when one has errors. */
void scenario_read_all(void);
unsigned scenario_count(void);
const struct scenario *scenario_get(unsigned i);
void scenario_free_all(void);

#endif
