/* What a text means besides what it says (P4).
 *
 * PostgreSQL reads a literal, and finds the type of a parameter or the table behind a name, when a statement is prepared: '01/02/2024'::date is a
 * day of January or of February from then on. So a prepared text is the same to two clients only if the settings that decide
 * such things are, and 'now' is the same to nobody. */
#ifndef PROXY_LINK_MEANING_H
#define PROXY_LINK_MEANING_H

#include "protocol/sql_lexer.h"
#include "proxy/link/parameters.h"

/* Whether that setting decides what a text means. How a text is cut into words is not its business: see struct sql_options. */
bool meaning_depends_on(struct span name);
/* Appends those of the settings that do, with their values: sets that decide alike append the same. */
void meaning_append_settings(const struct parameters *settings, struct buffer *out);
/* Whether a literal in it may stand for the moment in which it is read: 'now', 'today', and so on. */
bool meaning_is_of_the_moment(struct span text, const struct sql_options *options);

#endif
