/* What `pgatomic --version` prints, and what a client finds in ParameterStatus. */
#ifndef PROXY_VERSION_H
#define PROXY_VERSION_H

#define PGATOMIC_VERSION "0.1.0"

#endif
