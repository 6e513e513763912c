/* The kernel's random numbers, for logins. */
#ifndef PROXY_AUTH_RANDOM_H
#define PROXY_AUTH_RANDOM_H

#include "proxy/auth/auth.h"

extern const struct auth_random auth_random_kernel;

/* The same as long as the process: of the salts of users who are not known. */
struct span auth_mock_key(void);

#endif
