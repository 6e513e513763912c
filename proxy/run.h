/* `pgatomic run`: from a config to a proxy that listens, and back. */
#ifndef PROXY_RUN_H
#define PROXY_RUN_H

#include "config/config.h"

/* Runs in the foreground until SIGTERM (drain) or SIGINT (stop now) has done its work; SIGHUP reads the config's file again. The exit
 * status: 0 done, 1 it could not run. Takes the caller's reference to `config_take`. */
int run_proxy(struct config *config_take, bool require_upstream);

#endif
