/* What a login has shown: enough to log into the upstream in the same name.
 *
 * Secret in every form. The owner wipes it; it never reaches a log. */
#ifndef PROXY_AUTH_CREDENTIALS_H
#define PROXY_AUTH_CREDENTIALS_H

#include "protocol/scram.h"

enum credentials_kind {
    CREDENTIALS_NONE,     /* nothing: good for an upstream that asks for nothing */
    CREDENTIALS_PASSWORD, /* the password itself: good for whatever asks for one */
    CREDENTIALS_MD5,      /* "md5" and 32 hex digits: good for md5 alone */
    CREDENTIALS_SCRAM     /* the keys behind one verifier: good where the upstream keeps the same verifier */
};

/* A zeroed one is CREDENTIALS_NONE. */
struct credentials {
    enum credentials_kind kind;
    char *text; /* PASSWORD and MD5; NULL otherwise */
    struct scram_keys keys;
};

/* The password, or the md5 form of one. `to` held nothing. */
void credentials_set_text(struct credentials *to, enum credentials_kind kind, struct span text);
/* What is kept of a user: the password, or the md5 form of one; of a SCRAM verifier there is nothing to log in with. `to` held nothing. */
void credentials_set_secret(struct credentials *to, struct span secret);
void credentials_set_keys(struct credentials *to, const struct scram_keys *keys);
/* `to` held nothing. */
void credentials_copy(struct credentials *to, const struct credentials *from);
/* Overwrites what it held; it is CREDENTIALS_NONE then. */
void credentials_wipe(struct credentials *c);
/* Two logins with these may share servers. In constant time for equal kinds. */
bool credentials_equal(const struct credentials *a, const struct credentials *b);

#endif
