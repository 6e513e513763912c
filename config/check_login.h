/* Who may come in, and how: authentication, TLS, pools and HTTP. */
#ifndef CONFIG_CHECK_LOGIN_H
#define CONFIG_CHECK_LOGIN_H

#include "config/errors.h"
#include "config/storage.h"
#include "config/tree.h"

/* Refuses logins that could never succeed, or would not be what they seem. */
void check_login(struct config_storage *s, struct tree *file, struct config_errors *errors);
/* PostgreSQL itself authenticates some of the clients: `file`, which `c` was read from, says so, or nothing. */
bool check_login_passes_through(const struct config *c, struct tree *file);

#endif
