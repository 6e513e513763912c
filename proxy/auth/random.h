/* The kernel's random numbers, for logins. */
#ifndef PROXY_AUTH_RANDOM_H
#define PROXY_AUTH_RANDOM_H

#include "proxy/auth/auth.h"

extern const struct auth_random auth_random_kernel;

/* Of the salts of users who are not known: the same as long as the process. Random, unless it was derived before. */
struct span auth_mock_key(void);
/* Makes it of something that nobody can guess and that other processes, before, behind or beside this one, have too; unless it has been made
 * already. */
void auth_mock_key_derive(struct span secret);

#endif
