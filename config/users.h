/* The users file: who may log in, and what a password is compared with.
 *
 *     user "app"    { password = "${APP_PASSWORD}" }
 *     user "report" { password = "SCRAM-SHA-256$4096:c2FsdA==$…:…" }      # as pg_authid.rolpassword has it
 *
 * At most 5000 of them. Read like a config file: same language, same errors, but no word of it is repeated in one. */
#ifndef CONFIG_USERS_H
#define CONFIG_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct users;

/* NULL when the file has errors: they are written to `errors`, one a line, as FILE:LINE: text. */
struct users *users_read(const char *file, FILE *errors);
/* What stands for the password of `name`: in plain, or one of the two forms in which PostgreSQL keeps it, "SCRAM-SHA-256$…" and "md5…".
 * NULL: nobody of that name. Secret; lives as long as `u`. */
const char *users_password(const struct users *u, const char *name);
/* It is the form "md5…", with which nobody can log in by SCRAM. */
bool users_password_is_md5(const char *password);
/* All of them, in the order of their names. */
size_t users_count(const struct users *u);
const char *users_name(const struct users *u, size_t index);
/* How many iterations most of their SCRAM verifiers have; 0: there is none. */
unsigned users_usual_iterations(const struct users *u);
/* Most of them have a plain or md5 password, and no verifier. */
bool users_are_mostly_plain(const struct users *u);
void users_free(struct users *u); /* NULL: nothing */

#endif
