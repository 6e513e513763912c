/* md5 passwords, as PostgreSQL keeps and asks for them.
 *
 *     kept     "md5" + hex(MD5(password + user))
 *     sent     "md5" + hex(MD5(hex of the kept one + salt))
 *
 * Whoever has what is kept can log in with it. */
#ifndef PROTOCOL_PASSWORD_H
#define PROTOCOL_PASSWORD_H

#include "protocol/span.h"

enum { PASSWORD_MD5_SIZE = 35 /* and a NUL */, PASSWORD_SALT_SIZE = 4 };

/* "md5" and 32 lower-case hex digits. */
bool password_is_md5(struct span text);
/* What is kept for a password. False: this machine's OpenSSL does no MD5 (FIPS). */
bool password_md5_kept(char out[PASSWORD_MD5_SIZE + 1], struct span password, struct span user);
/* The answer to `salt`. `kept` is what password_is_md5() takes. */
bool password_md5_sent(char out[PASSWORD_MD5_SIZE + 1], struct span kept, const char salt[PASSWORD_SALT_SIZE]);

/* In a time that depends on the size of `b` alone. */
bool password_equal(struct span a, struct span b);

#endif
