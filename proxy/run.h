/* `pgatomic run`: from a config to a proxy that listens, and back. */
#ifndef PROXY_RUN_H
#define PROXY_RUN_H

#include "config/config.h"

struct run_options {
    bool require_upstream; /* at the start */
    bool takeover;         /* in the place of a pgatomic that listens there (P12) */
};

/* Runs in the foreground until SIGTERM (drain), SIGINT (stop now) or a takeover has done its work; SIGHUP reads the config's file again, and the
 * rest is in run.c. The exit
 * status: 0 done, 1 it could not run. Takes the caller's reference to `config_take`. */
int run_proxy(struct config *config_take, const struct run_options *options);

#endif
